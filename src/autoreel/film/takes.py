"""Chooses between takes: for every new shot several are sketched as latents, and those are kept whose motion fits.

Footage often stands still for long (an empty road, a person waiting), and a model makes as much of that as there was.
Latents tell how much moves at a fraction of the cost of pictures; those that are chosen need only be painted.

    sketched   |..........====.....|    motion along one take
                     |==shot==|         the part of it that is shown

Every batch has the same shape, filled up where it has to be: a matrix product of fewer rows may be added up in another
order, and a take must be the same to the last bit whatever is made beside it (a film is made again from its record).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoreel.film.layout import Layout, Placed
from autoreel.film.made import FilmRun
from autoreel.film.pace import Pace
from autoreel.film.storyboard import Storyboard

Latents = NDArray[np.float32]
Floats = NDArray[np.float64]
Group = Sequence[tuple[str | None, int, int]]  # label, seed, frames
Report = Callable[[str], None]

TAKES_PER_SHOT = 3
CHAPTER = 24  # shots chosen together: memory does not grow with the film
ROWS_AT_ONCE = 384  # numbers' places of latent frames sketched side by side: beyond, a core gains nothing from more
AT_ONCE_ELSEWHERE = 12  # takes side by side on a graphics card
SLACK = 1.25  # how much longer than its shot a take is made, so that its dull beginning may be left out
TARGET, BY_ENERGY = 0.65, 0.35  # motion that is looked for in quiet music, and what loud music adds to it
MOST = 1.5  # of the usual motion; what moves more is as bad as this much
COST_OF_MOTION, COST_OF_NEIGHBOUR, COST_OF_LIKENESS, COST_OF_SKIPPING = 4.0, 0.6, 0.25, 0.04
COST_OF_STANDING = 1.5  # of a shot that stands still throughout
COST_OF_STANDING_S, UNSEEN_S = 1.0, 0.7  # of a second in which nothing moves, beyond a pause that nobody notices
DULL = 0.3  # a share of the usual motion: what has less stands still
LONG, LONG_S = 0.5, 1.2  # of a shot, and seconds: one that stands still as long at a stretch is given more takes
MORE_SLACK = 1.6  # of those: the longest shot too can leave out a dull beginning then
MORE_ROUNDS = 2  # so many times at most
MAX_KEPT_BYTES = 256 << 20


@dataclass(frozen=True)
class Take:
    """New footage as latents.

    Args:
        label, seed: what it was made with.
        latents: float32 (n, C, h, w), normalised.
        num_frames: of the model, that they stand for.
    """

    label: str | None
    seed: int
    latents: Latents
    num_frames: int


Takes = Mapping[tuple[str | None, int], Take]


@dataclass(frozen=True)
class _Part:
    """A stretch of a take as long as a shot.

    Args:
        take: of which.
        skip: frames before it.
        motion: how much moves in it on average.
        steps: how much moves from each of its latent frames to the next.
        look: what it looks like on average.
    """

    take: Take
    skip: int
    motion: float
    steps: Floats
    look: Floats


def choose_takes(
    board: Storyboard, layout: Layout, run: FilmRun, energy: Sequence[float], *, seed: int = 0,
    report: Report | None = None,
) -> tuple[Storyboard, Takes]:  # fmt: skip
    """Give every shot of new footage the take whose motion fits its music and whose look is not that of its neighbours.

    Args:
        board: with shots in it of which any take would do.
        layout: of that storyboard.
        run: that makes them.
        energy: in [0, 1], of the music under each shot.
        seed: of the seeds that are tried.
        report: told in a line how far it is.

    Returns:
        The storyboard with the seeds and beginnings that were chosen, and those takes. No take is used twice.
    """
    chance = random.Random(seed)
    new = [placed for placed in layout.placed if placed.shot.verb == "generate"]
    tried = iter(chance.sample(range(2**31), TAKES_PER_SHOT * len(new) * (1 + MORE_ROUNDS)))
    shots, kept, kept_bytes = list(board.shots), dict[tuple[str | None, int], Take](), 0
    done, total = 0, TAKES_PER_SHOT * len(new)
    for at in range(0, len(new), CHAPTER):
        chapter = new[at : at + CHAPTER]
        counts = {placed.number: Pace.of(placed, run.rate, layout.rate).num_source for placed in chapter}
        longest, wanting = max(counts.values()), chapter
        takes = list[Take]()
        for number in range(1 + MORE_ROUNDS):
            slack = SLACK if number == 0 else MORE_SLACK
            most = longest if number == 0 else round(longest * MORE_SLACK)
            total += TAKES_PER_SHOT * len(wanting) if takes else 0
            for found in _side_by_side(run, _groups(run, wanting, counts, most, slack, tried)):
                takes += found
                done += len(found)
                if report is not None:
                    report(f"takes: {done} of {total} sketched")
            chosen, usual = _assigned(chapter, counts, takes, energy, run)
            wanting = [placed for placed in chapter if _is_dull(chosen[placed.number], usual, run)]
            if not wanting:
                break
        for number, part in chosen.items():
            shots[number - 1] = shots[number - 1].model_copy(update=_settings(part, run))
            if kept_bytes < MAX_KEPT_BYTES:
                kept[part.take.label, part.take.seed] = part.take
                kept_bytes += part.take.latents.nbytes
    return board.model_copy(update={"shots": tuple(shots)}), kept


def _settings(part: _Part, run: FilmRun) -> dict[str, Any]:
    in_s = round(float(part.skip / run.rate), 3)
    return {"seed": part.take.seed, "in_s": in_s if part.skip else None}


def _groups(
    run: FilmRun, chapter: Sequence[Placed], counts: Mapping[int, int], longest: int, slack: float, tried: Any
) -> list[Group]:
    """Label, seed and length of every take to sketch, in batches."""
    return batched(run, [
        (placed.shot.label, next(tried), min(longest, round(counts[placed.number] * slack)))
        for placed in chapter for _ in range(TAKES_PER_SHOT)
    ])  # fmt: skip


def batched(run: FilmRun, wanted: Group) -> list[Group]:
    """Takes in batches, those of about one length together; takes without a label apart, as they need no guidance."""
    size, batches = at_once(run), list[Group]()
    for has_label in (True, False):
        some = sorted((one for one in wanted if (one[0] is not None) == has_label), key=lambda one: -one[2])
        batches += [some[i : i + size] for i in range(0, len(some), size)]
    return batches


def at_once(run: FilmRun) -> int:
    """How many takes are sketched in a batch; the same for every batch of a run on a machine."""
    if not _on_cpu(run):
        return AT_ONCE_ELSEWHERE
    stride = run.config.strides[1]
    return max(1, -(-ROWS_AT_ONCE // ((run.size[0] // stride) * (run.size[1] // stride) or 1)))


def _side_by_side(run: FilmRun, groups: Sequence[Group]) -> Iterator[list[Take]]:
    with workers(run) as pool:
        yield from pool.map(lambda group: sketched(run, group), groups)


@contextmanager
def workers(run: FilmRun, stop: threading.Event | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads to sketch in, one for every core: matrices this small gain nothing from being split among cores.

    The thread of this block, which paints meanwhile, computes with one core too. (PyTorch keeps the number for each
    thread of Python.) What is still waiting when the block ends is not begun; where it ends with an error, or `stop` is
    set, what is being sketched ends too.
    """
    import torch

    from autoreel.generation.rollout import halt_on

    failed = threading.Event()

    def begin() -> None:
        torch.set_num_threads(1 if on_cpu else threads)
        halt_on(failed, *([] if stop is None else [stop]))

    threads, on_cpu = torch.get_num_threads(), _on_cpu(run)
    pool = ThreadPoolExecutor(num_workers(run), "sketch", begin)
    if on_cpu:
        torch.set_num_threads(1)
    try:
        yield pool
    except BaseException:
        failed.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def num_workers(run: FilmRun) -> int:
    """How many of `workers` there are."""
    from autoreel.models.compute import computing_cores

    return computing_cores() if _on_cpu(run) else 1


def _on_cpu(run: FilmRun) -> bool:
    return bool(getattr(getattr(run, "device", None), "type", "cpu") == "cpu")


def sketched(run: FilmRun, group: Group) -> list[Take]:
    """The takes of a group, made in one batch as long as its longest and as wide as all batches are."""
    longest = max(count for _, _, count in group)
    filled = [*group, *[group[-1]] * (at_once(run) - len(group))]
    made = run.generate_latents([label for label, _, _ in filled], longest, [seed for _, seed, _ in filled])
    return [Take(label, seed, latents, longest) for (label, seed, _), latents in zip(group, made, strict=False)]


def _assigned(
    chapter: Sequence[Placed], counts: Mapping[int, int], takes: Sequence[Take], energy: Sequence[float], run: FilmRun
) -> tuple[dict[int, _Part], float]:
    """A part of a take for each shot's number, and how much usually moves.

    The longest shots choose first, because fewest takes are long enough.
    """
    stride = run.config.strides[0]
    parts = {count: [_parts(take, count, stride) for take in takes] for count in set(counts.values())}
    best = [max(part.motion for part in found) for found in parts[max(counts.values())] if found]
    usual = float(np.percentile(best, 75)) if best else 0.0
    looks = np.array([take.latents.mean(axis=0).ravel() for take in takes])
    spread = float(np.median(np.abs(looks - looks.mean(axis=0)).mean(axis=1))) + 1e-9
    chosen: dict[int, _Part] = {}
    used: set[int] = set()
    for placed in sorted(chapter, key=lambda placed: -counts[placed.number]):
        target = TARGET + BY_ENERGY * energy[placed.number - 1]
        options = []
        for index, found in enumerate(parts[counts[placed.number]]):
            if index in used or takes[index].label != placed.shot.label:
                continue
            for part in found:
                motion = min(MOST, part.motion / usual) if usual > 0 else target
                cost = COST_OF_MOTION * (motion - target) ** 2 + COST_OF_SKIPPING * part.skip / max(1, stride * 4)
                alike = {number: _likeness(part, other, spread) for number, other in chosen.items()}
                share = _standing(part, usual)
                paused_s = share * len(part.steps) * stride / float(run.rate)
                cost += COST_OF_STANDING * share + COST_OF_STANDING_S * max(0.0, paused_s - UNSEEN_S)
                beside = (alike.get(placed.number - 1, 0.0), alike.get(placed.number + 1, 0.0))
                cost += COST_OF_NEIGHBOUR * max(beside) + COST_OF_LIKENESS * max(alike.values(), default=0.0)
                options.append((cost, index, part))
        _, index, part = min(options, key=lambda option: option[:2])
        used.add(index)
        chosen[placed.number] = part
    return chosen, usual


def _is_dull(part: _Part, usual: float, run: FilmRun) -> bool:
    """Whether it stands still so long that another take should be looked for."""
    share = _standing(part, usual)
    return share >= LONG or share * len(part.steps) * run.config.strides[0] / run.rate >= LONG_S


def _standing(part: _Part, usual: float) -> float:
    """The longest stretch of it that stands still, as a share of it."""
    longest = now = 0
    for step in part.steps.tolist():
        now = now + 1 if step < DULL * usual else 0
        longest = max(longest, now)
    return longest / max(1, len(part.steps))


def _likeness(one: _Part, other: _Part, spread: float) -> float:
    """1 for the same picture, 0 for pictures as different as two of this footage usually are, or more."""
    return max(0.0, 1.0 - float(np.abs(one.look - other.look).mean()) / spread)


def _parts(take: Take, count: int, stride: int) -> list[_Part]:
    """The stretches of `count` frames, beginning at every group; none where the take is too short."""
    latents = take.latents
    # The first latent frame stands for one picture, all others for a group: a step from one kind to the other is none.
    steps = np.concatenate([np.zeros(2), np.abs(np.diff(latents[1:], axis=0)).mean(axis=(1, 2, 3))])[: len(latents)]
    parts = []
    for skip in range(0, take.num_frames - count + 1, stride):
        first, last = _group_of(skip, stride), _group_of(skip + count - 1, stride)
        inside = steps[max(2, first + 1) : last + 1]
        motion = float(inside.mean()) if len(inside) else 0.0
        look = latents[first : last + 1].mean(axis=0).ravel().astype(np.float64)
        parts.append(_Part(take, skip, motion, inside, look))
    return parts


def _group_of(frame: int, stride: int) -> int:
    """The latent frame that holds a frame."""
    return 0 if frame == 0 else 1 + (frame - 1) // stride


def painted(run: FilmRun, takes: Takes, label: str | None, seed: int, count: int) -> NDArray[np.uint8] | None:
    """The first `count` frames of a take that was kept; None when there is none, or it is too short."""
    take = takes.get((label, seed))
    if take is None or take.num_frames < count:
        return None
    return run.decode(take.latents[: 1 + _group_of(count - 1, run.config.strides[0])], count)
