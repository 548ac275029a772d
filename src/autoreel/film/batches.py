"""Shots of new footage: sketched as latents side by side, painted in the order in which they are shown.

    sketched   core 1  |1 4 5 9 .......|13 15 ...      a chapter's shots, those of about one length in a batch
               core 2  |2 3 6 7 8 .....|14 16 ...      the next chapter meanwhile
    painted             1 2 3 4 5 6 7 8 9 ...

Frames are as the seed says, to the last bit, whatever else is made: all batches have one shape (takes.py).
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from autoreel.clip import Frames
from autoreel.film.made import FilmRun
from autoreel.film.takes import CHAPTER, Take, Takes, batched, painted, sketched, workers

MAX_SHOT_BYTES = 24 << 20


@dataclass(frozen=True)
class Wanted:
    """A shot of new footage.

    Args:
        number: of the shot in its film.
        label, seed: as given to the model.
        count: frames of the model.
    """

    number: int
    label: str | None
    seed: int
    count: int


def is_short_enough(count: int, size: tuple[int, int]) -> bool:
    """Whether a shot may be held in memory whole; longer ones are streamed."""
    return count * size[0] * size[1] * 3 <= MAX_SHOT_BYTES


def make_shots(
    run: FilmRun, wanted: Sequence[Wanted], takes: Takes | None = None, stop: threading.Event | None = None
) -> Generator[tuple[int, Frames], None, None]:
    """Make shots, or paint the takes that are there; yields the number and frames of each, in order.

    When `stop` is set, what is being sketched ends.
    """
    kept = takes or {}
    if not _missing(wanted, kept):
        yield from ((shot.number, _painted(run, kept, shot)) for shot in wanted)
        return
    chapters = [wanted[i : i + CHAPTER] for i in range(0, len(wanted), CHAPTER)]
    with workers(run, stop) as pool:
        coming = _begin(pool, run, chapters[0], kept) if chapters else {}
        for place, chapter in enumerate(chapters):
            now = coming
            if place + 1 < len(chapters):
                coming = _begin(pool, run, chapters[place + 1], kept)
            for shot in chapter:
                sketch = now.get(shot.number)
                found = kept if sketch is None else {(take.label, take.seed): take for take in sketch.result()}
                yield shot.number, _painted(run, found, shot)


def _painted(run: FilmRun, takes: Takes, shot: Wanted) -> Frames:
    frames = painted(run, takes, shot.label, shot.seed, shot.count)
    assert frames is not None  # a group is made as long as its longest shot
    return frames


def _missing(shots: Sequence[Wanted], kept: Takes) -> list[Wanted]:
    """Those of which no take is kept that is long enough."""
    return [shot for shot in shots if (known := kept.get((shot.label, shot.seed))) is None
            or known.num_frames < shot.count]  # fmt: skip


def _begin(
    pool: ThreadPoolExecutor, run: FilmRun, chapter: Sequence[Wanted], kept: Takes
) -> dict[int, Future[list[Take]]]:
    """Have those sketched that no take is kept of; gives the batch of each shot's number."""
    coming: dict[int, Future[list[Take]]] = {}
    missing = _missing(chapter, kept)
    longest: dict[tuple[str | None, int], int] = {}  # of two shots of one take, the longer one's is made
    for shot in missing:
        longest[shot.label, shot.seed] = max(shot.count, longest.get((shot.label, shot.seed), 0))
    for group in batched(run, [(label, seed, count) for (label, seed), count in longest.items()]):
        future = pool.submit(sketched, run, group)
        made = {(label, seed) for label, seed, _ in group}
        coming |= {shot.number: future for shot in missing if (shot.label, shot.seed) in made}
    return coming
