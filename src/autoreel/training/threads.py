"""How many threads train: one or all, whichever takes a step sooner, now and again while the training goes on.

On two cores of which another program keeps one busy, two threads that wait for each other can be three times slower
than one. Such a neighbour comes and goes, so that one measurement at the start holds for minutes, not for an hour.

    steps     2 2 2 2 2 2 [1 1] 2 2 2 2 2 2 2 [1 1] 1 1 1 1 1 1 1 [2] 1 1 1 ...
    a look at the other number: real steps, of which none is lost; ended early where the first is much slower
"""

from __future__ import annotations

import contextlib
import statistics
from collections import deque
from collections.abc import Callable, Iterator

import torch

from autoreel.training.checkpoint import capture, restore
from autoreel.training.measure import step_seconds
from autoreel.training.stage import Stage

LOOK_EVERY_S = 90.0
TRIAL_STEPS = 2
RECENT_STEPS = 5  # of the number in use, whose median is compared
HOPELESS = 1.3  # times the time of the number in use: a second step would tell nothing new
GAIN = 0.9  # a change must save a tenth, or noise would change it all the time

Took = Callable[[int, float], None]


def fastest_threads(stage: Stage) -> tuple[int, dict[int, float]]:
    """One thread or all of them, whichever takes a step sooner.

    Args:
        stage: it takes a few real steps, and is put back into its state afterwards.

    Returns:
        The number of threads, and the seconds per step of each number that was tried.
    """
    available = torch.get_num_threads()
    before = capture(stage, copy=True)
    seconds: dict[int, float] = {}
    try:
        for threads in (available, 1):
            torch.set_num_threads(threads)
            seconds[threads] = step_seconds(stage)
    finally:
        torch.set_num_threads(available)
        restore(stage, before)
    return min(seconds, key=lambda threads: seconds[threads]), seconds


class ThreadWatch:
    """Looks now and then whether the other number of threads has become the faster one, on real steps.

    Only for a budget of time: with another number of threads sums are added up in another order, and a training by
    steps promises to be bit for bit the same after a stop.

    Args:
        available: threads that there are.
        threads: in use.
        changed: told the number and the seconds per step of both, when it has changed.
        every_s: seconds between two looks.
    """

    def __init__(
        self, available: int, threads: int, changed: Callable[[int, dict[int, float]], None],
        every_s: float = LOOK_EVERY_S,
    ) -> None:  # fmt: skip
        self.threads = threads
        self._other = 1 if threads > 1 else available
        self._changed, self._every_s = changed, every_s
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)
        self._trial: list[float] = []
        self._next_s = every_s

    def before_step(self, elapsed_s: float) -> None:
        """Begin a look when it is due.

        Args:
            elapsed_s: seconds of training that have passed.
        """
        if not self._trial and elapsed_s >= self._next_s and len(self._recent) == RECENT_STEPS:
            torch.set_num_threads(self._other)

    def after_step(self, elapsed_s: float, took_s: float) -> None:
        """Take note of a step, and end a look.

        Args:
            elapsed_s: seconds of training that have passed.
            took_s: seconds that the step took.
        """
        if torch.get_num_threads() == self.threads:
            self._recent.append(took_s)
            return
        usual = statistics.median(self._recent)
        self._trial.append(took_s)
        if len(self._trial) < TRIAL_STEPS and took_s < HOPELESS * usual:
            return
        best = min(self._trial)
        if best < GAIN * usual:
            seconds = {self.threads: usual, self._other: best}
            self.threads, self._other = self._other, self.threads
            self._recent.clear()
            self._changed(self.threads, seconds)
        torch.set_num_threads(self.threads)
        self._trial.clear()
        self._next_s = elapsed_s + self._every_s


@contextlib.contextmanager
def threads_given_back() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
