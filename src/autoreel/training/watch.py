"""When training has left the good path: a pure judgement on the losses it is shown."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Any

MAX_SKIPS = 3  # non-finite steps in a row
SPIKE_FACTOR = 5.0  # times the rolling median
SPIKE_STEPS = 20  # in a row
MAX_REWINDS = 3
RECOVERY_STEPS = 50  # good ones after the first time of going back; then the full rate is tried again
HISTORY = 200  # losses the median is taken over
ENOUGH = 20  # losses before the median means anything


class Watch:
    """Counts what is wrong in a row; part of the training state.

    A single non-finite step is skipped and forgotten. MAX_SKIPS of them in a row, or SPIKE_STEPS losses in a row over
    SPIKE_FACTOR times the rolling median, call for going back to a state from before `trouble_since`.

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
        self.lost = 0  # steps that left no update in the weights: left out, or gone back behind

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

    def see(self, step: int, loss: float) -> None:
        """A step was taken.

        Args:
            step: its number.
            loss: finite. A loss that can be negative has no meaningful multiple of its median and is not judged.
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

    def skip(self, step: int) -> None:
        """A step was not taken, because its loss or gradient was not finite."""
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

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "losses": list(self.losses), "skips": self.skips, "spikes": self.spikes,
            "trouble_since": self.trouble_since, "rewinds": self.rewinds,
            "good_steps": self.good_steps, "lost": self.lost,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Watch:
        """The inverse of `state`."""
        watch = cls()
        watch.losses.extend(state["losses"])
        watch.skips, watch.spikes = state["skips"], state["spikes"]
        watch.trouble_since, watch.rewinds = state["trouble_since"], state["rewinds"]
        watch.good_steps, watch.lost = state.get("good_steps", 0), state.get("lost", 0)  # older checkpoints do not say
        return watch

    def _is_spike(self, loss: float) -> bool:
        if len(self.losses) < ENOUGH:
            return False
        median = statistics.median(self.losses)
        return median > 0 and loss > SPIKE_FACTOR * median

    def _trouble(self, step: int) -> None:
        if self.trouble_since is None:
            self.trouble_since = step
