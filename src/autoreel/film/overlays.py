"""What is written over the pictures of a film: titles and captions."""

from __future__ import annotations

from pathlib import Path

from autoreel.errors import ConfigError, MediaError
from autoreel.film.layout import Layout
from autoreel.film.storyboard import Captions, Storyboard, Title
from autoreel.media.captions import Caption, read_captions
from autoreel.media.layers import TitleLayer, overlay
from autoreel.media.titles import MAX_LETTERS, check_text, render_title
from autoreel.media.yuv420 import Picture


class Overlays:
    """Titles, each set once before anything is rendered, so that a wrong one is known at once; and captions.

    Captions can be many, so each is set when it is first shown. Those that start after the film's end are left out, and
    `notes` tells so in a line.

    Raises:
        ConfigError: titles or captions that cannot be set; all of them.
    """

    def __init__(self, board: Storyboard, layout: Layout, where: str) -> None:
        self._rate = float(layout.rate)
        self._size = (board.canvas.height, board.canvas.width)
        self._set: list[tuple[Title, TitleLayer]] = []
        problems = []
        for number, title in enumerate(board.titles, start=1):
            if title.start_s * self._rate >= layout.num_frames:
                problems.append(f"title {number}: starts at {title.start_s:g} s, after the film's end; "
                                "start it earlier, or make the film longer")  # fmt: skip
                continue
            font = Path(title.font) if title.font is not None else None
            try:
                layer = render_title(title.text, size=self._size, scale=title.size, place=title.place,
                                     color=title.color, font=font)  # fmt: skip
            except ValueError as error:
                problems.append(f"title {number}: {error}")
                continue
            self._set.append((title, layer))
        self._how = board.captions
        self._captions: list[Caption] = []
        self.notes: list[str] = []
        if board.captions is not None:
            problems += self._read(board.captions, float(layout.num_frames / layout.rate))
        self._shown: tuple[Caption, TitleLayer] | None = None
        if problems:
            raise ConfigError(problems, where)

    def _read(self, how: Captions, length_s: float) -> list[str]:
        try:
            captions = read_captions(Path(how.file))
            self._captions = [caption for caption in captions if caption.start_s < length_s]
            late = len(captions) - len(self._captions)
            if late:
                end = f"after the film's end at {length_s:g} s"
                self.notes.append(f"captions: {late} of {len(captions)} start {end} and are left out")
            if how.mode == "burnt":
                letters = sorted(set("".join(caption.text for caption in self._captions)))
                for at in range(0, len(letters), MAX_LETTERS):
                    check_text("".join(letters[at : at + MAX_LETTERS]), Path(how.font) if how.font else None)
        except (MediaError, ValueError) as error:
            return [f"[captions]: {error}"]
        return []

    @property
    def captions(self) -> tuple[Caption, ...]:
        """What is said in the film, by time, however it is shown."""
        return tuple(self._captions)

    def track(self, first: int, last: int) -> list[Caption]:
        """The captions that players show, of the frames from `first` to before `last`, with times from there on."""
        if self._how is None or self._how.mode != "track":
            return []
        begin_s, end_s = first / self._rate, last / self._rate
        return [
            Caption(max(0.0, caption.start_s - begin_s), min(end_s, caption.end_s) - begin_s, caption.text)
            for caption in self._captions if caption.end_s > begin_s and caption.start_s < end_s
        ]  # fmt: skip

    def over(self, picture: Picture, frame: int) -> Picture:
        """The picture with what is shown at this frame of the film."""
        at_s = frame / self._rate
        for title, layer in self._set:
            gone_s, left_s = at_s - title.start_s, title.start_s + title.length_s - at_s
            if gone_s >= 0 and left_s > 0:
                edge_s = min(gone_s + 1 / self._rate, left_s)
                picture = overlay(picture, layer, min(1.0, edge_s / title.fade_s) if title.fade_s else 1.0)
        if self._how is not None and self._how.mode == "burnt":
            # Where two overlap, the later one is shown.
            now = [caption for caption in self._captions if caption.start_s <= at_s < caption.end_s]
            if now:
                picture = overlay(picture, self._layer(now[-1], self._how))
        return picture

    def _layer(self, caption: Caption, how: Captions) -> TitleLayer:
        if self._shown is None or self._shown[0] is not caption:
            font = Path(how.font) if how.font is not None else None
            self._shown = caption, render_title(
                caption.text, size=self._size, scale=how.size, place=how.place, color=how.color, font=font
            )
        return self._shown[1]
