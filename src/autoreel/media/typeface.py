"""Several fonts that are used as one: each word in the first that has its letters.

    text      ♪ 你好 سلام ♪              logical order, as it is written down
    seen      |♪ |你好| مالس |♪|         parts of one font and one direction, from left to right

A line that one font has is left to Raqm, which knows the whole of the Unicode bidirectional algorithm. Where a line is
taken apart, its parts are put in order by those of its rules that plain lines need (UAX #9, W1 to W7, N1, N2, L2).
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import ImageDraw, ImageFont

Has = Callable[[int, str], bool]  # whether the font of a number has a sign for a letter


class Part(NamedTuple):
    """What is set in one font and one direction."""

    text: str
    font: int
    is_leftward: bool


@dataclass(frozen=True)
class Face:
    """Fonts at one size.

    Args:
        fonts: the first is the one of most letters, and decides where the line lies.
        has: told the place of one in `fonts`.
    """

    fonts: tuple[ImageFont.FreeTypeFont, ...]
    has: Has = lambda font, letter: True

    def getlength(self, text: str) -> float:
        """The width of a line in pixels."""
        parts = self._parts(text)
        return sum(self.fonts[part.font].getlength(part.text, direction=_direction(part, parts)) for part in parts)

    def draw(self, draw: ImageDraw.ImageDraw, middle: tuple[float, float], text: str) -> None:
        """A line in white, around a point."""
        parts = self._parts(text)
        if len(parts) == 1:
            draw.text(middle, text, fill=255, font=self.fonts[parts[0].font], anchor="mm")
            return
        ascent, descent = self.fonts[0].getmetrics()
        x, y = middle[0] - self.getlength(text) / 2, middle[1] + (ascent - descent) / 2
        for part in parts:
            font, direction = self.fonts[part.font], _direction(part, parts)
            draw.text((x, y), part.text, fill=255, font=font, anchor="ls", direction=direction)
            x += font.getlength(part.text, direction=direction)

    def _parts(self, text: str) -> list[Part]:
        fonts = chosen_fonts(text, len(self.fonts), self.has)
        if len(set(fonts)) < 2:
            return [Part(text, fonts[0] if fonts else 0, False)]
        return in_order(text, fonts)


def _direction(part: Part, parts: Sequence[Part]) -> str | None:
    """What Raqm is told; nothing where it sees the whole line, or none of the line runs to the left."""
    if len(parts) < 2 or not any(one.is_leftward for one in parts):
        return None
    return "rtl" if part.is_leftward else "ltr"


def chosen_fonts(text: str, count: int, has: Has) -> list[int]:
    """The font of each letter: of a whole word where one font has all of it, so that its letters join."""
    fonts: list[int] = []
    for word in re.findall(r"\s+|\S+", text):
        before = fonts[-1] if fonts else 0
        if word.isspace():
            fonts += [before] * len(word)
            continue
        whole = next((font for font in range(count) if all(has(font, c) for c in word if is_drawn(c))), None)
        for c in word:
            if whole is not None:
                fonts.append(whole)
            elif fonts and (not is_drawn(c) or has(fonts[-1], c)):
                fonts.append(fonts[-1])
            else:
                fonts.append(next((font for font in range(count) if has(font, c)), 0))
    return fonts


def is_drawn(c: str) -> bool:
    """Whether a letter needs a sign of its own: not a space, nor a mark that joins another's."""
    return unicodedata.category(c)[0] in "LNPS"


def in_order(text: str, fonts: Sequence[int]) -> list[Part]:
    """A line's parts from left to right.

    Args:
        text: one line.
        fonts: of each letter.
    """
    levels = levels_of(text)
    runs = [list(run) for _, run in itertools.groupby(range(len(text)), lambda at: (fonts[at], levels[at]))]
    for level in range(max(levels), 0, -1):  # L2: the innermost first
        inside = [levels[run[0]] >= level for run in runs]
        turned: list[list[int]] = []
        for is_inside, places in itertools.groupby(range(len(runs)), inside.__getitem__):
            group = [runs[at] for at in places]
            turned += group[::-1] if is_inside else group
        runs = turned
    return [Part("".join(text[at] for at in run), fonts[run[0]], levels[run[0]] % 2 == 1) for run in runs]


def levels_of(text: str) -> list[int]:
    """How deep each letter of a line is embedded: odd ones run to the left (UAX #9 without brackets and embeddings)."""
    kinds = [unicodedata.bidirectional(c) for c in text]
    base = next((int(kind != "L") for kind in kinds if kind in ("L", "R", "AL")), 0)
    start = "R" if base else "L"
    strong = start
    for at, kind in enumerate(kinds):  # W1 to W3
        if kind == "NSM":
            kinds[at] = kinds[at - 1] if at else start
        elif kind in ("L", "R", "AL"):
            strong = kind
        elif kind == "EN" and strong == "AL":
            kinds[at] = "AN"
    for at in range(1, len(kinds) - 1):  # W4: a point or a comma within a number
        before, kind, after = kinds[at - 1 : at + 2]
        if before == after and (kind, before) in (("CS", "EN"), ("CS", "AN"), ("ES", "EN")):
            kinds[at] = before
    kinds = _by_runs(kinds, ("ET",), lambda before, after: "EN" if "EN" in (before, after) else "ON", start)  # W5
    strong = start
    for at, kind in enumerate(kinds):  # W7
        strong = kind if kind in ("L", "R", "AL") else strong
        kinds[at] = "L" if kind == "EN" and strong == "L" else "R" if kind == "AL" else kind
    sides = {"L": "L", "R": "R", "EN": "R", "AN": "R"}
    kinds = _by_runs(  # N1, N2
        [kind if kind in sides else "ON" for kind in kinds], ("ON",),
        lambda before, after: sides[before] if sides[before] == sides[after] else start, start,
    )  # fmt: skip
    inside = {"L": 2 if base else 0, "R": 1, "EN": 2, "AN": 2}  # I1, I2
    return [inside[kind] for kind in kinds]


def _by_runs(kinds: list[str], which: tuple[str, ...], decide: Callable[[str, str], str], edge: str) -> list[str]:
    """Runs of some kinds become what is decided from their neighbours; at the line's ends that is its own direction."""
    result: list[str] = []
    for is_open, group in itertools.groupby(kinds, lambda kind: kind in which):
        run = list(group)
        end = len(result) + len(run)
        before, after = result[-1] if result else edge, kinds[end] if end < len(kinds) else edge
        result += [decide(before, after)] * len(run) if is_open else run
    return result
