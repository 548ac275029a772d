"""Finds the mark of `watermark.py` again, in files that were cut, scaled and packed by others.

    pictures 64 x 64, the means of eighths of a second     (this grid is the mark's own: scaling changes nothing)
      --> what a second does not share with its neighbours (a still scene goes, the mark stays: each second has another)
      --> smooth places count more, frequencies alike      (there the mark is large against the picture)
      --> correlation with the signs of every second a film may have

The public key's signs know nothing of a clean film. So whatever its pictures are, the correlation T of independent
signs with numbers of norm 1 has P(T >= t) <= 3.178 Q(t), where Q is the normal tail (Bentkus and Dzindzalieta 2015);
the threshold is this bound over all places that are tried.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoreel.media.decode import FrameChunk
from autoreel.media.watermark import (
    GRID,
    GROUP_BITS,
    NUM_GROUPS,
    PERIOD,
    box_mean,
    carriers,
    cosines,
    group_signs,
    sync_signs,
)

FALSE_FINDS = 1e-6  # at most, for one clean film
WRONG_ID = 1e-3  # at most, for one group of a run's id
EIGHTHS = 8
_LATE = 2  # eighths of a second by which an encoder lets an old pattern stand
_BLOCK_S = 60
_MARGIN_S = 2  # neighbours that a second is compared with, and theirs
_FLOOR = 5.0  # squared levels: below it a place is not trusted more
_TRUST = 0.75
_OUTLIER = 2.5
_BAND_WIDTH = 3
_FAINT = 0.02  # of a frequency: below it there is nothing to make alike
_USUAL = 0.7
_SWITCH = 5.0  # logarithm of how much rarer a change between marked and not is than none

Eighth = tuple[NDArray[np.float32], int]  # sum of pictures, their number

Features = NDArray[np.float32]  # (seconds, places)


@dataclass(frozen=True)
class Found:
    """A mark in a film.

    Args:
        score: T of the whole film; of a clean one it passes t with a probability of at most 3.178 Q(t).
        false_find: a bound on how probable such a score is in a clean film, with all that was tried.
        start_s: the time in the original at which this film begins, below 0 where something was put before it.
        identity: 24 bits of the run's hash; None where the mark is too weak to read them, 0 for no run.
        seconds: of this film, (from, to), in which the mark was found.
    """

    score: float
    false_find: float
    start_s: float
    identity: int | None
    seconds: tuple[tuple[float, float], ...]


def find(chunks: Iterable[FrameChunk]) -> Found | None:
    """Look for the mark.

    Args:
        chunks: all pictures of a film in order, decoded to GRID x GRID with `fit="stretch"`.

    Returns:
        None where none is found.
    """
    return search(observe(chunks))


@dataclass(frozen=True)
class Observed:
    """What is left of a film: numbers in which a mark would be seen.

    Args:
        phases: for each eighth of a second at which the original's seconds may begin, (seconds, places of the mark),
            those of the searched part first. Row i of phase p is the time from i - 1 + p / 8 to i + p / 8 seconds.
        duration_s: of the film.
    """

    phases: tuple[Features, ...]
    duration_s: float


def observe(chunks: Iterable[FrameChunk]) -> Observed:
    """Reduce a film to what the search looks at. Memory: 15 KB for each second."""
    rows: list[list[Features]] = [[] for _ in range(EIGHTHS)]
    waiting: list[Eighth] = [_NOTHING] * (EIGHTHS * (1 + _MARGIN_S))
    num_eighths, length = 0, EIGHTHS * (_BLOCK_S + 2 * _MARGIN_S + 1)
    for eighth in _eighths(chunks):
        num_eighths += 1
        waiting.append(eighth)
        if len(waiting) == length:
            _reduce(waiting, _BLOCK_S, rows)
            del waiting[: EIGHTHS * _BLOCK_S]
    left = -(-(len(waiting) - EIGHTHS * (1 + _MARGIN_S)) // EIGHTHS) + 1
    _reduce(waiting, left, rows)
    return Observed(tuple(np.concatenate(parts) for parts in rows), num_eighths / EIGHTHS)


def search(observed: Observed) -> Found | None:
    """Look for the mark in what was observed; None where none is found."""
    num_sync = len(carriers()[0])
    # Half of the allowed false finds are for a film that was not cut, where there are few places to look.
    whole: list[tuple[float, float, int, int]] = []
    for phase in range(_LATE + 1):
        score = float(_scores(observed.phases[phase][:, :num_sync])[-1])
        whole.append((2 * (_LATE + 1) * tail(score), score, phase, PERIOD - 1))
    best = min(whole)
    if best[0] > FALSE_FINDS:
        for phase, features in enumerate(observed.phases):
            scores = _scores(features[:, :num_sync])
            shift = int(scores.argmax())
            score = float(scores[shift])
            best = min(best, (2 * PERIOD * EIGHTHS * tail(score), score, phase, shift))
    chance, score, phase, shift = best
    if chance > FALSE_FINDS:
        return None
    features = observed.phases[phase]
    seconds = np.arange(len(features)) + shift
    marked = _marked(features[:, :num_sync], seconds)
    if shift == PERIOD - 1 and phase <= _LATE:
        start_s, phase = 0.0, 0  # the encoder was late, not the film
    else:
        start_s = shift + 1 - phase / EIGHTHS  # row 0 lies before the film
        start_s -= PERIOD * (start_s > PERIOD - observed.duration_s)
    return Found(
        score, chance, start_s, _identity(features[:, num_sync:], seconds, marked),
        _spans(marked, phase, observed.duration_s),
    )  # fmt: skip


def tail(score: float) -> float:
    """A bound on the probability that independent signs, summed with weights of norm 1, reach a score."""
    return 3.178 * math.erfc(score / math.sqrt(2)) / 2


def _eighths(chunks: Iterable[FrameChunk]) -> Iterator[Eighth]:
    """Pictures summed over eighths of a second, in a row without gaps."""
    at, total, count, first_s = 0, np.zeros((GRID, GRID), np.float32), 0, None
    for chunk in chunks:
        colours = chunk.frames.reshape(-1, 3).astype(np.float32)
        lights = (colours @ np.array([0.2126, 0.7152, 0.0722], np.float32)).reshape(chunk.frames.shape[:3])
        for light, pts_s in zip(lights, chunk.pts_s, strict=True):
            first_s = float(pts_s) if first_s is None else first_s
            eighth = math.floor((float(pts_s) - first_s) * EIGHTHS + 1e-4)
            while at < eighth:
                yield total, count
                at, total, count = at + 1, np.zeros((GRID, GRID), np.float32), 0
            total, count = total + light, count + 1
    if count:
        yield total, count


def _reduce(waiting: list[Eighth], num_seconds: int, rows: list[list[Features]]) -> None:
    """Add features of `num_seconds` seconds to each phase; `waiting` begins a margin and a second before the first."""
    needed = EIGHTHS * (num_seconds + 2 * _MARGIN_S + 1)
    padded = waiting + [_NOTHING] * (needed - len(waiting))
    sums, counts = np.stack([total for total, _ in padded]), np.array([count for _, count in padded])
    for phase in range(EIGHTHS):
        part = slice(phase, phase + needed - EIGHTHS)
        count = counts[part].reshape(-1, EIGHTHS).sum(1)
        total = sums[part].reshape(-1, EIGHTHS, GRID, GRID).sum(1)
        means = total / np.maximum(count, 1)[:, None, None]
        rows[phase].append(features_of(means, count > 0)[_MARGIN_S : _MARGIN_S + num_seconds])


def features_of(means: NDArray[np.float32], seen: NDArray[np.bool_]) -> Features:
    """Numbers in which the mark of each second would be seen.

    Args:
        means: of the light of seconds in a row, (seconds, GRID, GRID).
        seen: whether there are pictures of a second.

    Returns:
        (seconds, places), of about unit size; 0 where nothing was seen.
    """
    fine = (means - box_mean(means, 9)) * seen[:, None, None]
    before, after = _share_of_neighbours(fine, seen)
    rest = fine.copy()
    rest[1:] -= before[1:, None, None] * fine[:-1]
    rest[:-1] -= after[:-1, None, None] * fine[1:]
    trusted = rest / (box_mean(rest * rest, 7) + _FLOOR) ** np.float32(_TRUST) * seen[:, None, None]
    # A neighbour was taken away with its own mark, so what is left speaks for that as well: the adjoint.
    signal = trusted.copy()
    signal[:-1] -= before[1:, None, None] * trusted[1:]
    signal[1:] -= after[:-1, None, None] * trusted[:-1]
    matrix, (sync, groups) = cosines(), carriers()
    spectrum = (matrix @ signal @ matrix.T).reshape(len(means), -1)
    places = np.concatenate([sync, *groups])
    found: Features = spectrum[:, places] * seen[:, None]
    ring = np.hypot(*np.divmod(places, GRID)).astype(np.int64) // _BAND_WIDTH
    for number in np.unique(ring):
        size = np.sqrt((found[:, ring == number] ** 2).mean(1, keepdims=True))
        found[:, ring == number] /= size + np.float32(_FAINT)
    return np.clip(found, -_OUTLIER, _OUTLIER)


def _share_of_neighbours(
    fine: NDArray[np.float32], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How much of the second before and after to take away, so that least is left: nothing across a cut."""
    before, after = np.zeros(len(fine), np.float32), np.zeros(len(fine), np.float32)
    least = np.median(np.abs(fine).reshape(len(fine), -1), axis=1)
    none = np.zeros_like(fine[:1])
    earlier, later = np.concatenate([none, fine[:-1]]), np.concatenate([fine[1:], none])
    has_earlier, has_later = np.append(False, seen[:-1]), np.append(seen[1:], False)
    for share, other, there in ((1.0, 0.0, has_earlier), (0.0, 1.0, has_later), (0.5, 0.5, has_earlier & has_later)):
        rest = np.median(np.abs(fine - share * earlier - other * later).reshape(len(fine), -1), axis=1)
        rest /= math.sqrt(1 + share**2 + other**2)
        better = there & (rest < least)
        least = np.where(better, rest, least)
        before, after = np.where(better, share, before), np.where(better, other, after)
    return before.astype(np.float32), after.astype(np.float32)


def _scores(features: Features) -> NDArray[np.float64]:
    """T for every shift: row i taken as the original's second i + shift, (PERIOD,)."""
    sums, signs = np.zeros(PERIOD), _all_signs()
    for begin in range(0, len(features), 256):
        block = features[begin : begin + 256] @ signs.T
        for row, values in enumerate(block, start=begin):
            sums += np.roll(values, -row)
    return sums / max(1e-9, float(np.linalg.norm(features)))


@functools.cache
def _all_signs() -> Features:
    return np.stack([sync_signs(second) for second in range(PERIOD)])


def _marked(features: Features, seconds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which seconds carry the mark: the likeliest row of states, where each second alone may be too faint to tell."""
    signs = _all_signs()[seconds % PERIOD]
    scores = (features * signs).sum(1) / np.maximum(np.linalg.norm(features, axis=1), 1e-9)
    marked: NDArray[np.bool_] = scores >= scores.mean()
    for _ in range(5):
        # Not every shot lets as much of it through: half of what is usual is taken for the mark too.
        level = max(1.0, _USUAL * float(scores[marked].mean())) if marked.any() else 1.0
        marked = _likeliest(level * scores - level**2 / 2)
    return marked


def _likeliest(gain: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The best row of two states (Viterbi): each second in the state adds its gain, each change costs `_SWITCH`."""
    off, on = 0.0, float(gain[0])
    came: list[tuple[bool, bool]] = []
    for value in gain[1:]:
        came.append((on - _SWITCH > off, off - _SWITCH <= on))
        off, on = max(off, on - _SWITCH), max(on, off - _SWITCH) + float(value)
    states = [on > off]
    for from_on_to_off, stays_on in reversed(came):
        states.append(stays_on if states[-1] else from_on_to_off)
    return np.array(states[::-1])


def _identity(features: Features, seconds: NDArray[np.int64], marked: NDArray[np.bool_]) -> int | None:
    """The run's id out of the groups behind the searched part; None when one of them cannot be read."""
    value, begin = 0, 0
    for group in range(NUM_GROUPS):
        places = len(carriers()[1][group])
        part = features[marked, begin : begin + places]
        begin += places
        rows = np.zeros(1 << GROUP_BITS)
        for row, second in zip(part, seconds[marked], strict=True):
            rows += group_signs(int(second), group) @ row
        rows /= max(1e-9, float(np.linalg.norm(part)))
        likeliest = int(rows.argmax())
        if (1 << GROUP_BITS) * tail(float(rows[likeliest])) > WRONG_ID:
            return None
        value = value << GROUP_BITS | likeliest
    return value


def _spans(marked: NDArray[np.bool_], phase: int, duration_s: float) -> tuple[tuple[float, float], ...]:
    """Marked seconds that follow each other, as times of the film."""
    spans: list[tuple[float, float]] = []
    for row in np.flatnonzero(marked):
        begin = max(0.0, float(row - 1 + phase / EIGHTHS))
        end = min(duration_s, float(row + phase / EIGHTHS))
        if spans and begin <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        elif begin < end:
            spans.append((begin, end))
    return tuple(spans)


_NOTHING: Eighth = (np.zeros((GRID, GRID), np.float32), 0)
