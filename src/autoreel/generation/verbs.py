"""The verbs: each lays out a timeline, has it filled, and paints it, piece by piece, several takes side by side.

    animate          #(#)|....                    a picture, held for a group that is seen and not shown
    continue   lead  ####|....                    lead: the given clip, painted while it is read
    between    lead  ####|....~|#### tail         ~: the end's first group made anew, to fit what was made; shown while
    loop       (###) ####|....~| back to (###)       it fades into what is known: neither side of a joint jumps

A frame that stands alone says little of what groups of its scene look like to the codec: what was made after one alone
was another picture (of persons never seen 12 levels away, on average, where neighbours lie 3 apart). So it is held.

What the prior cannot say of the last known frame (somebody it never saw, a stain on the wall) would be gone with the
first frame it makes. So that frame is made anew too, and the difference is added to what follows, ever less of it, and
least where something moves, which would leave a pale shadow.

Frames are uint8, chunks of what is given (n, H, W, 3) of any size, chunks of what is made (B, n, H, W, 3), B takes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autoreel.clip import Frames
from autoreel.data.loader import there_and_back
from autoreel.errors import UsageError
from autoreel.generation import timeline as rows
from autoreel.generation.coding import FrameCodec, Known, shared
from autoreel.generation.timeline import Timeline

RETAKE_LEVEL = 0.8  # how much the prior makes anew of a known frame to show what it takes it for
CARRIED_OVER = 4  # latent frames over which the difference fades
STILL = 0.5  # mean squared change of a place's latents at which a third of it is left; most places stay below 0.1
END_GROUPS = 3  # of a known end that are shown to the prior: two at a time, and the first is made anew
PICTURES_AT_ONCE = 16

Fill = Callable[[Sequence[Timeline]], Iterator[Tensor]]
"""Fills timelines of one layout side by side: `roll_out` with a prior and a way to sample."""


@dataclass(frozen=True)
class Maker:
    """What a verb works with.

    Args:
        codec: between frames and latents.
        fill: fills timelines; may say at once that it cannot.
        window: latent frames the prior sees at once.
        takes: label number and seed of each.
    """

    codec: FrameCodec
    fill: Fill
    window: int
    takes: Sequence[tuple[int, int]]

    def made(self, row: Timeline) -> Iterator[Tensor]:
        """The latents of all takes of a row, (B, C, n, h, w)."""
        return self.fill([row.of(label, seed) for label, seed in self.takes])

    def made_after(self, row: Timeline, num_known: int) -> Iterator[Tensor]:
        """The latents of what follows the known beginning of a row, which carries over what the prior cannot say."""
        *_, retake = self.made(rows.retake(row, num_known, RETAKE_LEVEL))
        unsaid = row.latents[:, num_known - 1 : num_known].to(retake.device) - retake
        place = 1 - num_known
        for piece in self.made(row):
            places = torch.arange(place, place + piece.shape[2])
            share = (1 - places / (CARRIED_OVER + 1)).clamp(min=0).view(1, 1, -1, 1, 1).to(piece.device)
            place += piece.shape[2]
            following = places > 0
            if bool(following.any()):
                change = (piece - retake).square().mean(1, keepdim=True)
                yield (piece + share * torch.exp(-change / STILL) * unsaid)[:, :, following]

    def alike(self, frames: Frames) -> Frames:
        """Frames that are the same in every take."""
        return np.broadcast_to(frames, (len(self.takes), *frames.shape))


def generate(maker: Maker, num_frames: int) -> Iterator[Frames]:
    """New footage."""
    row = rows.generate(maker.codec.latents_for(num_frames), maker.codec.shape)
    return maker.codec.paint(maker.made(row), num_frames)


def animate(maker: Maker, picture: Frames, num_frames: int) -> Iterator[Frames]:
    """A picture (H, W, 3) starts to move."""
    if picture.ndim != 3:
        raise UsageError(f"one picture (H, W, 3) is needed, not {picture.shape}")
    if maker.codec.latents_for(num_frames) == 1:
        return map(maker.alike, maker.codec.rebuilt([picture[None]]))
    return continue_(maker, [picture[None]], num_frames - 1)


def continue_(maker: Maker, clip: Iterable[Frames], num_frames: int) -> Iterator[Frames]:
    """What happens after a clip; the clip comes first, as the codec sees it."""
    new = maker.codec.groups_for(num_frames)

    def frames(given: Iterator[Frames]) -> Iterator[Frames]:
        known = yield from _lead(maker, given)
        row = rows.continue_(known.latents, new, known.left_out)
        yield from _after(maker, known, row, num_frames)

    return _from_a_still_too(frames, maker.codec, clip)


def between(maker: Maker, start: Iterable[Frames], end: Iterable[Frames], num_frames: int) -> Iterator[Frames]:
    """What happens between two clips; both are shown too, as the codec sees them."""
    new = maker.codec.groups_for(num_frames)

    def frames(given: Iterator[Frames]) -> Iterator[Frames]:
        head, following = _beginning(maker.codec, iter(end))
        known = yield from _lead(maker, given)
        row = rows.between(known.latents, new, _as_end(maker.codec, head), left_out=known.left_out)
        to_the_joint = (new + 1) * maker.codec.stride
        made = _after(maker, known, row, to_the_joint)
        tail = map(maker.alike, maker.codec.rebuilt(itertools.chain([head], following)))
        yield from _joined(made, tail, new * maker.codec.stride, maker.codec.stride)

    return _from_a_still_too(frames, maker.codec, start)


def loop(maker: Maker, clip: Iterable[Frames], num_frames: int) -> Iterator[Frames]:
    """A clip and a way back to its start.

    It begins one group into the clip and ends with that group, led over to: repeated, it has no seam.
    """
    codec, new = maker.codec, maker.codec.groups_for(num_frames)

    def frames() -> Iterator[Frames]:
        head, following = _beginning(codec, iter(clip))
        if len(head) <= codec.stride:
            raise UsageError(f"a clip of {len(head)} frames is too short to loop; {codec.stride + 1} are the least")
        lead = _lead(maker, itertools.chain([head], following))
        held: list[Frames] = []  # the first group, until it is come back to
        known = yield from _without_beginning(lead, codec.stride, held)
        row = rows.between(known.latents, new, _as_end(codec, head), left_out=known.left_out)
        made = _after(maker, known, row, (new + 1) * codec.stride)
        yield from _joined(made, iter(held), new * codec.stride, codec.stride)

    return frames()


def vary(maker: Maker, clip: Iterable[Frames], strength: float) -> Iterator[Frames]:
    """The same scene, another take."""
    if not 0 <= strength <= 1:
        raise UsageError(f"strength {strength} must lie between 0 and 1")

    def frames() -> Iterator[Frames]:
        known, num_frames = maker.codec.encode(clip)
        yield from maker.codec.paint(maker.made(rows.vary(known[0], strength)), num_frames)

    return frames()


def morph(codec: FrameCodec, start: Frames, end: Frames, num_frames: int) -> Iterator[Frames]:
    """One clip turns into another: a walk between their latents, both playing, there and back where they are short."""
    num = codec.latents_for(num_frames)
    one, other = (codec.encode([clip[there_and_back(len(clip), num_frames)]])[0] for clip in (start, end))
    share = torch.linspace(0, 1, num).view(1, 1, -1, 1, 1)
    return codec.paint([mixed(one, other, share)], num_frames)


def slow(codec: FrameCodec, clip: Iterable[Frames], factor: float) -> Iterator[Frames]:
    """A clip in slow motion: every frame a picture of its own, and that strip of latents resampled in time.

    A group's latent holds the motion inside it, so a strip of groups would only stutter.
    """
    if not 1 <= factor <= 64:
        raise UsageError(f"factor {factor:g} must lie between 1 (as it is) and 64")

    def frames() -> Iterator[Frames]:
        made = 0  # output frame k shows the time k / factor
        for place, (before, picture) in enumerate(_neighbours(codec, clip)):
            due = []
            while made / factor <= place:
                due.append(mixed(before, picture, torch.tensor(max(0.0, made / factor - (place - 1)))))
                made += 1
            for first in range(0, len(due), PICTURES_AT_ONCE):
                yield codec.paint_pictures(torch.cat(due[first : first + PICTURES_AT_ONCE]))[None]

    return frames()


def mixed(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """A point on the way between latents (B, C, n, h, w), about as far spread as they are.

    The plain mean of two unlike latents lies nearer to the middle of all latents than either, where pictures are dull:
    it is stretched to the deviation that lies as far between theirs, but never by more than unrelated ones need.
    """
    point = torch.lerp(one, other, share)
    spread = [x.std((1, 3, 4), keepdim=True) for x in (one, other, point)]
    wanted = torch.lerp(spread[0], spread[1], share)
    return point * (wanted / spread[2].clamp(min=1e-6)).clamp(max=math.sqrt(2))


def _lead(maker: Maker, clip: Iterable[Frames]) -> Generator[Frames, None, Known]:
    repainted = maker.codec.repainted(clip, maker.window)
    while True:
        try:
            yield maker.alike(next(repainted))
        except StopIteration as ended:
            known: Known = ended.value
            return known


def _after(maker: Maker, known: Known, row: Timeline, num_frames: int) -> Iterator[Frames]:
    """What is made after a lead, painted as one stream with it."""
    made = maker.made_after(row, known.latents.shape[1])
    return maker.codec.paint(made, num_frames, shared(known.decoding, len(maker.takes)))


def _beginning(codec: FrameCodec, clip: Iterator[Frames]) -> tuple[Frames, Iterator[Frames]]:
    """The frames of a clip that decide how it is come to, at least one group of them, and what follows them."""
    wanted = END_GROUPS * codec.stride
    head: Frames = np.empty((0, *codec.size, 3), np.uint8)
    while len(head) < wanted and (chunk := next(clip, None)) is not None:
        head = np.concatenate([head, codec.fitted(chunk)])
    if not len(head):
        raise UsageError("there is no frame to come to")
    held = max(0, codec.stride - len(head))  # a still, or hardly more: its last frame is held
    return np.concatenate([head, np.repeat(head[-1:], held, axis=0)]), clip


def _as_end(codec: FrameCodec, head: Frames) -> Tensor:
    """Latents (C, n, h, w) of a known end; a still before it is its past, so that no frame stands alone."""
    whole = len(head) // codec.stride * codec.stride
    return codec.encode_with_past(head[: min(whole, END_GROUPS * codec.stride)])


def _without_beginning(
    lead: Generator[Frames, None, Known], count: int, held: list[Frames]
) -> Generator[Frames, None, Known]:
    """The lead without its first `count` frames, which are held."""
    left = count
    while True:
        try:
            chunk = next(lead)
        except StopIteration as ended:
            known: Known = ended.value
            return known
        if left:
            held.append(chunk[:, :left])
        chunk, left = chunk[:, left:], max(0, left - chunk.shape[1])
        if chunk.shape[1]:
            yield chunk


def _from_a_still_too(
    verb: Callable[[Iterator[Frames]], Iterator[Frames]], codec: FrameCodec, clip: Iterable[Frames]
) -> Iterator[Frames]:
    """What a verb makes of a clip; a still is held for a group, which is not shown."""
    chunks = (chunk for chunk in clip if len(chunk))
    first, second = next(chunks, None), next(chunks, None)
    given = [chunk for chunk in (first, second) if chunk is not None]
    if len(given) == 1 and len(given[0]) == 1:
        yield from _without(verb(iter([_held(codec, given[0])])), 1, 1 + codec.stride)
    else:
        yield from verb(itertools.chain(given, chunks))


def _held(codec: FrameCodec, still: Frames) -> Frames:
    """A still (1, H, W, 3), and once more for each frame of a group."""
    return np.repeat(codec.fitted(still), 1 + codec.stride, 0)


def _without(chunks: Iterator[Frames], begin: int, end: int) -> Iterator[Frames]:
    """What is painted but for the frames from `begin` to `end`."""
    place = 0
    for chunk in chunks:
        places = np.arange(place, place + chunk.shape[1])
        place += chunk.shape[1]
        kept = (places < begin) | (places >= end)
        if kept.any():
            yield chunk if kept.all() else chunk[:, kept]


def _joined(made: Iterator[Frames], tail: Iterator[Frames], before: int, over: int) -> Iterator[Frames]:
    """What was made and what is known, one after the other: from frame `before` on they fade over `over` frames."""
    place, ends = 0, []
    for chunk in made:
        cut = min(max(0, before - place), chunk.shape[1])
        place += chunk.shape[1]
        if cut:
            yield chunk[:, :cut]
        ends.append(chunk[:, cut:])
    ending = np.concatenate(ends, 1)
    place = 0
    for chunk in tail:
        faded = ending[:, place : place + chunk.shape[1]]
        count = faded.shape[1]
        if count:
            share = (np.arange(place, place + count, dtype=np.float32) + 1).reshape(-1, 1, 1, 1) / (over + 1)
            blend = (1 - share) * faded + share * chunk[:, :count]
            yield np.rint(blend).astype(np.uint8)
        if count < chunk.shape[1]:
            yield chunk[:, count:]
        place += chunk.shape[1]


def _neighbours(codec: FrameCodec, clip: Iterable[Frames]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each frame as a picture's latents (1, C, 1, h, w), the one before it first; the first is its own."""
    before = None
    for chunk in clip:
        for first in range(0, len(chunk), PICTURES_AT_ONCE):
            for picture in torch.split(codec.encode_pictures(chunk[first : first + PICTURES_AT_ONCE]), 1):
                yield (picture if before is None else before), picture
                before = picture
