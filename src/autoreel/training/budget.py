"""How long to train: minutes or steps, the share of each stage, and the preset that fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoreel.durations import parse_duration_s
from autoreel.errors import UsageError

# The codec steps below which a preset's result is not worth looking at; the smallest is taken in any case. They are
# estimates: these presets compress twice as hard as `tiny` for the same number of clips a step, whose prototype
# stood at 22.6 dB after 100 steps and 25.4 dB after 300 of real footage; one of 128 px was still blurred after 400.
NEEDED_STEPS: dict[str, int] = {"small": 1500, "base": 6000}
# Below it the prior of the smallest preset has made too few steps on two cores for pictures with shapes in them: after
# 100 steps there were colours and patches only.
SHORTEST_S = {"cpu": 300.0, "cuda": 60.0}
LONG_S = 600.0
# Nothing takes a step of a larger preset in less; where less would be needed there is nothing to measure.
QUICKEST_STEP_S = {"cpu": 0.1, "cuda": 0.01}


@dataclass(frozen=True)
class Budget:
    """Seconds of training or a number of steps; exactly one of them.

    Args:
        seconds: wall time inside the training loop (steps, previews, validation, checkpoints), over all sessions.
        steps: updates.
    """

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.steps is None):
            raise UsageError("a budget is either a time or a number of steps, one of them")
        if (self.seconds is not None and not 0 < self.seconds < float("inf")) or (
            self.steps is not None and self.steps <= 0
        ):
            given = self.seconds if self.steps is None else self.steps
            raise UsageError(f"a budget must be above zero and finite, not {given}")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read "20m", "90s", "1h30m" or "500 steps".

        Raises:
            UsageError: it cannot be read, or is zero.
        """
        plain = text.strip().lower().replace(" ", "")
        if re.fullmatch(r"\d{1,15}steps?", plain):
            return cls(steps=int(plain.rstrip("s").removesuffix("step")))
        try:
            if not plain or plain[-1].isdigit():  # "20" could be minutes or seconds
                raise UsageError("no unit")
            return cls(seconds=parse_duration_s(plain))
        except UsageError:
            message = f"budget {text!r} is not understood; write 90s, 20m, 1h30m or '500 steps'"
            raise UsageError(message) from None

    def share(self, part: float) -> Budget:
        """The part of it that a stage gets; at least one step."""
        if self.steps is not None:
            return Budget(steps=max(1, round(self.steps * part)))
        return Budget(seconds=(self.seconds or 0.0) * part)

    def progress(self, step: int, elapsed_s: float) -> float:
        """The share that has passed, in [0, 1].

        Args:
            step: steps taken.
            elapsed_s: seconds spent, over all sessions.
        """
        passed = step / self.steps if self.steps is not None else elapsed_s / (self.seconds or 1.0)
        return min(1.0, passed)

    def reached(self, step: int, elapsed_s: float) -> bool:
        """Whether it is used up."""
        return self.progress(step, elapsed_s) >= 1.0

    def remaining_s(self, step: int, elapsed_s: float, steps_per_s: float) -> float | None:
        """Seconds until it is used up; None while the speed is not known."""
        if self.seconds is not None:
            return max(0.0, self.seconds - elapsed_s)
        return max(0, (self.steps or 0) - step) / steps_per_s if steps_per_s > 0 else None

    def __str__(self) -> str:
        return f"{self.steps} steps" if self.steps is not None else show_duration(self.seconds or 0.0)


def show_duration(seconds: float) -> str:
    """ "8s", "6m12s", "1h05m": what a person reads at a glance."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def divide(
    budget: Budget, stage: str, codec_share: float, family: str = "vae-gan", *, from_trained: bool = False
) -> dict[str, Budget]:
    """The budget of each stage, in the order they are trained.

    Args:
        budget: the whole.
        stage: "all" divides it; a stage's name gives that stage the whole.
        codec_share: of "all", in (0, 1). Of less than `LONG_S` seconds the codec gets less, down to half of this: its
            linear path shows pictures from the first step on, while the prior begins with noise.
        family: of the codec; a gan, which has no encoder, has no latents to learn a prior of.
        from_trained: the codec begins as a trained one, so that half of its share is enough; the prior gets the rest.

    Raises:
        UsageError: no such stage, or the family does not have it.
    """
    if family == "gan" and stage == "all":
        return {"codec": budget}
    if family == "gan" and stage in ("prior", "refine", "upscale"):
        why = {
            "prior": "no prior: its latents are drawn from N(0, I)", "refine": "no encoder to refine",
            "upscale": "no encoder, so that there are no pairs to learn enlarging from",
        }[stage]  # fmt: skip
        raise UsageError(f"the family gan has {why}; use --stage codec or all")
    if stage == "all":
        if budget.seconds is not None:
            codec_share *= 0.5 + 0.5 * min(1.0, budget.seconds / LONG_S)
        if from_trained:
            codec_share *= 0.5
        return {"codec": budget.share(codec_share), "prior": budget.share(1.0 - codec_share)}
    if stage not in ("codec", "prior", "refine", "upscale"):
        raise UsageError(f"unknown stage {stage!r}; use codec, prior, refine, upscale or all")
    return {stage: budget}


def short_warning(budget: Budget, device_type: str) -> str | None:
    """What a person should know before a training that is too short for pictures; None when it is long enough.

    Args:
        budget: of the whole training.
        device_type: "cpu" or "cuda".
    """
    shortest_s = SHORTEST_S.get(device_type, SHORTEST_S["cpu"])
    if budget.seconds is None or budget.seconds >= shortest_s:
        return None
    return (
        f"a budget of {budget} is too short for good pictures: with less than about {show_duration(shortest_s)} expect "
        "colours and patches; the same command with a larger --budget goes on from there"
    )


def choose_preset(
    budget: Budget,
    codec_share: float,
    measure: Callable[[str], float],
    *,
    quickest_step_s: float = QUICKEST_STEP_S["cpu"],
    presets: Sequence[str] = ("tiny", "small", "base"),
) -> tuple[str, dict[str, float]]:
    """The largest preset that reaches a useful number of codec steps within its share of the budget.

    It goes up from the smallest and stops at the first that does not fit: a larger one needs more steps, and each takes
    longer, so that the dearest measurements are only made on machines that are fast enough for them.

    Args:
        budget: of the whole training. A number of steps says nothing of time, so that the smallest is taken.
        codec_share: in (0, 1).
        measure: seconds per codec step of a preset, from a few real steps.
        quickest_step_s: a preset that needs its steps sooner than this is not measured.
        presets: from the smallest, which is taken when no other fits, up.

    Returns:
        The name, and the seconds per step of those that were measured.
    """
    chosen, measured = presets[0], dict[str, float]()
    for name in presets[1:] if budget.seconds is not None else ():
        needed_step_s = codec_share * (budget.seconds or 0.0) / NEEDED_STEPS[name]
        if needed_step_s < quickest_step_s:
            break
        measured[name] = measure(name)
        if measured[name] > needed_step_s:
            break
        chosen = name
    return chosen, measured
