"""When training has left the good path: a pure judgement on the losses it is shown."""

from __future__ import annotations

import math
import statistics
import sys
from collections import deque
from typing import Any

MAX_SKIPS = 3  # non-finite steps in a row
SPIKE_FACTOR = 5.0  # times the rolling median
SPIKE_STEPS = 20  # in a row
MAX_REWINDS = 3
RECOVERY_STEPS = 50  # good ones after the first time of going back; then the full rate is tried again
HISTORY = 200  # losses the median is taken over
OUTLIER_FACTOR = 100.0  # over it: the step is left out
ENOUGH = 20  # losses before the median means anything
LEAST_SIZE = 1.0  # of a loss below zero, the value of an adversary's game: about as much at a draw, none when it is won
MAX_COUNT = 1 << 53  # of steps


class Watch:
    """Counts what is wrong in a row; part of the training state.

    A single step whose loss is not finite, or over OUTLIER_FACTOR times the median, is skipped and forgotten. MAX_SKIPS
    in a row that are not finite, or SPIKE_STEPS losses in a row over SPIKE_FACTOR times the rolling median, call for
    going back to a state from before `trouble_since`.

    What sent training back once may have been chance, and half the rate for all the rest of it would cost more than the
    trouble did: after RECOVERY_STEPS good steps the rate is given back. A second time it stays low.
    """

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=HISTORY)
        self.skips = 0
        self.spikes = 0
        self.trouble_since: int | None = None
        self.rewinds = 0
        self.good_steps = 0  # since it went back
        self.lost = 0  # steps that left nothing in the weights: left out, gone back behind, or as good as that

    @property
    def may_recover(self) -> bool:
        """Whether the rate may be what it was; asked after each good step."""
        return self.rewinds == 1 and self.good_steps == RECOVERY_STEPS

    @property
    def troubled(self) -> bool:
        """Whether the last step was bad: such a state is not worth saving."""
        return self.trouble_since is not None

    @property
    def must_go_back(self) -> bool:
        """Whether it has been bad for too long."""
        return self.skips >= MAX_SKIPS or self.spikes >= SPIKE_STEPS

    @property
    def most_loss(self) -> float:
        """The loss above which a step is better left out; infinite where too few are known."""
        size = self._size()
        return OUTLIER_FACTOR * size if size is not None else math.inf

    def see(self, step: int, loss: float) -> None:
        """A step was taken.

        Args:
            step: its number.
            loss: finite. One below zero is judged by its size: that of a game goes down without end where it is lost.
        """
        self.skips = 0
        if self._is_spike(loss):
            self.spikes += 1
            self._trouble(step)
        else:
            self.spikes = 0
            self.good_steps += 1
            self.trouble_since = None
            self.losses.append(loss)  # spikes stay out, or they would soon be the median

    def skip(self, step: int, *, outlier: bool = False) -> None:
        """A step was not taken.

        Args:
            step: its number.
            outlier: because of a loss over `most_loss`, not one that is not finite; it counts as a spike.
        """
        if outlier:
            self.spikes += 1
        else:
            self.skips += 1
        self.lost += 1
        self._trouble(step)

    def went_back(self, lost: int) -> None:
        """An earlier state is in place.

        Args:
            lost: how many of all steps so far have left nothing in it.
        """
        self.rewinds += 1
        self.lost = lost
        self.skips = self.spikes = self.good_steps = 0
        self.trouble_since = None

    def recovered(self) -> None:
        """The rate is what it was: what was taken at half of it was half of it."""
        self.lost += RECOVERY_STEPS // 2

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "losses": list(self.losses), "skips": self.skips, "spikes": self.spikes,
            "trouble_since": self.trouble_since, "rewinds": self.rewinds,
            "good_steps": self.good_steps, "lost": self.lost,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Watch:
        """The inverse of `state`.

        Raises:
            ValueError, KeyError, TypeError: `state` cannot have made it.
        """
        most = sys.float_info.max
        if not all(isinstance(loss, int | float) and -most <= loss <= most for loss in state["losses"]):
            raise ValueError("its losses are not finite numbers")
        for name in ("skips", "spikes", "rewinds", "good_steps", "lost", "trouble_since"):
            value = state.get(name, 0)
            if not (type(value) is int and 0 <= value <= MAX_COUNT) and (name != "trouble_since" or value is not None):
                raise ValueError(f"its {name} is no count of steps")
        watch = cls()
        watch.losses.extend(state["losses"])
        watch.skips, watch.spikes = state["skips"], state["spikes"]
        watch.trouble_since, watch.rewinds = state["trouble_since"], state["rewinds"]
        watch.good_steps, watch.lost = state.get("good_steps", 0), state.get("lost", 0)  # older checkpoints do not say
        return watch

    def _is_spike(self, loss: float) -> bool:
        size = self._size()
        return size is not None and abs(loss) > SPIKE_FACTOR * size

    def _size(self) -> float | None:
        """The median of the losses so far, or of their sizes where it is not above zero; None for too few."""
        if len(self.losses) < ENOUGH:
            return None
        median = statistics.median(self.losses)
        return median if median > 0 else max(LEAST_SIZE, statistics.median(map(abs, self.losses)))

    def _trouble(self, step: int) -> None:
        if self.trouble_since is None:
            self.trouble_since = step
