"""A timeline of any length, made frame by frame through a sliding window.

    window of 9, frame 20 is next     [0] . . . [13 14 15 16 17 18 19] -> 20
                 frame 21             [0] . . .             [17 18 19 20] -> 21
                                       |          the latest frames, from four to seven
                                       the first frame stays in view, to go by

Context is lightly noised and the network is told how much (GameNGen, Valevski et al. 2024; Diffusion Forcing): small
errors of what was made are then taken for that noise and not continued.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoreel.generation.sampler import Solver, frame_noise, integrate, level_shift, schedule
from autoreel.generation.timeline import NO_LABEL, Timeline
from autoreel.models.compute import autocast
from autoreel.models.prior import FAR, Prior, PriorCache

FUTURE_SEEN = 2  # known frames after the one being made that are put into the window
# A frame that is made from nothing decides about all that follow, and its path is bent most where all is still noise:
# it has more steps, more of them there. Chosen by the distance to 48 steps of Heun's method.
OPENING_STEPS = 3  # times as many
OPENING_SHIFT, SHIFT = 2.5, 1.25


class Halted(RuntimeError):
    """What was being made in this thread is not wanted any more."""


_thread = threading.local()


def halt_on(*events: threading.Event) -> None:
    """From now on what this thread makes ends between two latent frames when one of the events is set.

    Python interrupts only its first thread, and a batch of takes can be a minute's work.
    """
    _thread.events = events


def check_halted() -> None:
    """Raises Halted when nobody waits for what this thread makes."""
    if any(event.is_set() for event in getattr(_thread, "events", ())):
        raise Halted("stopped")


@dataclass(frozen=True)
class Sampling:
    """How a timeline is filled.

    Args:
        steps: of the solver, for each latent frame.
        guidance: 1 follows the label as trained, above exaggerates it, below weakens it, 0 ignores it (Ho & Salimans
            2022).
        context_noise: level to which frames already there are noised before they are seen.
        guided_above: the label is exaggerated at levels above this one only (Kynkaanniemi et al. 2024): what is left to
            decide below follows from the picture itself, and the answer without the label need not be worked out. A
            label that is weakened is so at every level.
        solver: of the flow's equation.
        dtype: number format of the matrix products.
    """

    steps: int = 4
    guidance: float = 1.5
    context_noise: float = 0.03
    guided_above: float = 0.5
    solver: Solver = "adams"
    dtype: torch.dtype = torch.float32


def roll_out(prior: Prior, timelines: Sequence[Timeline], sampling: Sampling) -> Iterator[Tensor]:
    """Fill timelines of one layout side by side.

    Args:
        prior: the network, on the device to use.
        timelines: of equal length and levels; labels and seeds may differ.
        sampling: how.

    Yields:
        float32 (B, C, n, h, w) on the prior's device, n >= 1 latent frames in order of time, as soon as they are final;
        frames that are known stay exactly as given. As many as the timelines show.
    """
    roll = _Roll(prior, timelines, sampling)
    frame, shown, level = 0, timelines[0].shown, timelines[0].level.tolist()
    while frame < shown:
        check_halted()
        end = frame + 1
        if level[frame] == 0:
            while end < shown and level[end] == 0:
                end += 1
            yield roll.given(range(frame, end))
        else:
            yield roll.make(frame)
        frame = end


def context_of(frame: int, known: Sequence[bool], window: int, left_out: int = 0) -> list[int]:
    """The frames that are seen while `frame` is made, in the order of the sequence.

    The window does not slide with every frame: it grows until it is full, then falls back to its later half. So what
    the network remembers of the frames before stays valid while it grows, and is worked out anew only then.

    Args:
        frame: the one to make; all before it exist.
        known: for every frame of the timeline, whether it is given.
        window: how many frames the network sees at once, `frame` included.
        left_out: frames that are missing after frame 0 (see `Timeline`); the window falls back as if they were there.

    Returns:
        Known frames first (a known future among them), then made ones, each by time. Frame 0 aside, all of them and the
        one to make lie as near to each other as in the windows that are learned from. In windows of 2 and 3 frames they
        may lie one frame further apart: else those of 2 would never see the frame before, those of 3 never a known end.
    """
    span = window - 2  # from the first to the last of a window's frames, frame 0 aside
    reach = range(frame + 1, min(frame + max(2, span), len(known)))
    future = [i for i in reach if known[i]][: min(FUTURE_SEEN, window - 2)]
    room = window - 1 - len(future)
    too_many = frame + left_out - room
    past = list(range(frame))
    if too_many > 0:
        fall = room - room // 2
        latest = range(1 - (-too_many // fall) * fall - left_out, frame)
        past = [0, *latest] if room > 1 else [frame - 1]  # where there is room for one only, it is the latest
    if future:
        past = [i for i in past if i in (0, frame - 1) or i >= future[-1] - span]
    seen = past + future
    return [i for i in seen if known[i]] + [i for i in seen if not known[i]]


def window_times(frames: Sequence[int]) -> list[int]:
    """Places of frames as the network is told them: true, but never further from frame 0 than it was trained for.

    Frame 0 keeps time 0 because it alone stands for a single picture; all others move together.
    """
    later = [i for i in frames if i > 0]
    excess = max(0, min(later) - 1 - FAR) if later else 0
    return [i - excess if i > 0 else 0 for i in frames]


class _Roll:
    """The latest frames, and the keys and values of the context, which most frames share with the one before."""

    def __init__(self, prior: Prior, timelines: Sequence[Timeline], sampling: Sampling) -> None:
        first = timelines[0]
        for other in timelines[1:]:
            same = (other.shown, other.left_out, other.joint) == (first.shown, first.left_out, first.joint)
            if not same or not torch.equal(other.level, first.level):
                raise ValueError("timelines that are made side by side need the same length and the same levels")
        expected = (prior.latent_channels, *prior.latent_size)
        if (first.latents.shape[0], *first.latents.shape[2:]) != expected:
            given = tuple(first.latents.shape)
            raise ValueError(f"latent frames of {expected} are needed, not of {given} (C, T, h, w)")
        self.prior, self.timelines, self.sampling = prior, timelines, sampling
        self.device = next(prior.parameters()).device
        self.made: dict[int, Tensor] = {}  # the first frame and the latest: nobody sees others
        self.level, self.known = first.level.tolist(), first.known
        if first.left_out and not all(self.known[: prior.config.window - 1]):
            raise ValueError(f"frames can be left out only behind the {prior.config.window - 1} latest known ones")
        asked = [t.label if sampling.guidance else NO_LABEL for t in timelines]
        labels = torch.tensor(asked, device=self.device)
        self.guided = sampling.guidance != 1 and bool((labels != NO_LABEL).any())
        # The cache holds the context twice when there is guidance: seen with the label, then without.
        self.labels = torch.cat([labels, torch.full_like(labels, NO_LABEL)]) if self.guided else labels
        self.shift = level_shift(math.prod(expected))
        self.cache: PriorCache = prior.new_cache()
        self.cached: list[int] = []
        self.cached_times: list[int] = []

    def given(self, frames: Sequence[int]) -> Tensor:
        """What is known of frames, (B, C, n, h, w)."""
        return torch.stack([t.latents[:, list(frames)] for t in self.timelines]).float().to(self.device)

    def make(self, frame: int) -> Tensor:
        """Fill one frame of every timeline, (B, C, 1, h, w)."""
        # One autocast for the whole frame: it casts each weight once and no caller's code runs inside it.
        with torch.no_grad(), autocast(self.device, self.sampling.dtype):
            x = self._make(frame)
        self.made[frame] = x
        if frame > self.prior.config.window:  # never the first
            self.made.pop(frame - self.prior.config.window, None)
        return x

    def _make(self, frame: int) -> Tensor:
        left_out = self.timelines[0].left_out
        context = context_of(frame, self.known, self.prior.config.window, left_out)
        *times, time = window_times([self._place(i) for i in (*context, frame)])
        self._remember(context, times)
        start = self.level[frame]
        x = self._noise(frame, "frame")
        if start < 1:
            x = (1 - start) * self.given([frame]) + start * x
        steps = self.sampling.steps * (1 if context else OPENING_STEPS)
        levels = schedule(steps, start, self.shift * (SHIFT if context else OPENING_SHIFT))
        return integrate(lambda x, level: self._velocity(x, level, time), x, levels, self.sampling.solver)

    def _place(self, frame: int) -> int:
        return frame + self.timelines[0].left_out if frame else 0

    def _remember(self, context: list[int], times: list[int]) -> None:
        """Bring the cache to hold exactly `context`; what it holds already is kept when it is the beginning."""
        kept = len(self.cached)
        if context[:kept] != self.cached or times[:kept] != self.cached_times:
            self.cache, kept = self.prior.new_cache(), 0
        new = context[kept:]
        if new:
            level = self.sampling.context_noise
            noise = torch.cat([self._noise(i, "context") for i in new], 2)
            values = torch.cat([self.made[i] if i in self.made else self.given([i]) for i in new], 2)
            seen = (1 - level) * values + level * noise
            seen = torch.cat([seen, seen]) if self.guided else seen
            self._run(seen, torch.full((len(new),), level), times[kept:], self.labels, keep=True)
        self.cached, self.cached_times = context, times

    def _velocity(self, x: Tensor, level: float, time: int) -> Tensor:
        at = torch.tensor([level])
        label_will_do = self.sampling.guidance > 1 and level <= self.sampling.guided_above
        if not self.guided or label_will_do:
            return self._run(x, at, [time], self.labels[: len(x)])
        labelled, free = self._run(torch.cat([x, x]), at, [time], self.labels).chunk(2)
        return free + self.sampling.guidance * (labelled - free)

    def _run(self, x: Tensor, level: Tensor, times: list[int], labels: Tensor, keep: bool = False) -> Tensor:
        batch = len(labels)
        levels = level.to(self.device).expand(batch, -1)
        places = torch.tensor(times, device=self.device, dtype=torch.float32).expand(batch, -1)
        velocity: Tensor = self.prior(x, levels, places, labels, self.cache.first(batch), keep)
        return velocity.float()

    def _noise(self, frame: int, purpose: str) -> Tensor:
        shape = (self.prior.latent_channels, 1, *self.prior.latent_size)
        place = self._place(frame)
        return torch.stack([frame_noise(t.seed, place, purpose, shape) for t in self.timelines]).to(self.device)
