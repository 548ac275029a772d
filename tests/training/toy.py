"""A stage small enough to train in a blink: two networks, two kinds of optimizer, dropout, an average.

Run as a program it trains itself in a run folder, so that tests can kill it from outside:

    python -m tests.training.toy RUN STEPS
"""

from __future__ import annotations

import copy
import math
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from autoreel.config import PRESETS, Config
from autoreel.runs import RunFolder
from autoreel.training.budget import Budget
from autoreel.training.loop import Rhythm, run_stage, stop_on_signals
from autoreel.training.progress import Lines
from autoreel.training.stage import Export, NonFiniteError, step_generator

TARGET = torch.tensor([[1.0, -2.0, 0.5, 3.0]])


class ToyStage:
    """Fits a linear map, and a scale for it with another optimizer.

    Args:
        seed: of data and first weights.
        fault: called before each update with the step; it may change the loss that is reported, or give NaN.
    """

    def __init__(self, seed: int = 0, name: str = "codec", fault: Callable[[int, float], float] | None = None) -> None:
        self.name, self.seed = name, seed
        self.fault = fault or (lambda step, loss: loss)
        self.steps: list[int] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))
            self.scale = nn.Linear(1, 1)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        matrices = [p for p in self.model.parameters() if p.ndim == 2]
        vectors = [p for p in self.model.parameters() if p.ndim != 2]
        self._optimizers: dict[str, torch.optim.Optimizer] = {
            "matrices": torch.optim.Muon(matrices, lr=0.01),
            "vectors": torch.optim.AdamW(vectors, lr=0.01),
            "scale": torch.optim.SGD(self.scale.parameters(), lr=0.001, momentum=0.9),
        }
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["base_lr"] = group["lr"]

    def modules(self) -> Mapping[str, nn.Module]:
        return {self.name: self.model, "scale": self.scale, "averaged": self.averaged}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._optimizers

    def step(self, step: int, progress: float) -> dict[str, float]:
        self.steps.append(step)
        x = torch.randn(16, 4, generator=step_generator(self.seed, self.name, step))
        loss = (self.scale(self.model(x)) - x @ TARGET.T).square().mean()
        value = self.fault(step, loss.item())
        if not math.isfinite(value):
            raise NonFiniteError("the toy's loss", value)
        for optimizer in self._optimizers.values():
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * (1 - 0.5 * progress)
        torch.autograd.backward(loss)
        gradients = [p.grad for p in (*self.model.parameters(), *self.scale.parameters()) if p.grad is not None]
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            raise NonFiniteError("the toy's gradient")
        for optimizer in self._optimizers.values():
            optimizer.step()
        with torch.no_grad():
            for average, parameter in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                average.lerp_(parameter, 0.1)
        return {"loss": value}

    def validate(self) -> dict[str, float]:
        with torch.no_grad():
            x = torch.randn(64, 4, generator=step_generator(self.seed, "validation", 0))
            return {"loss": (self.scale(self.averaged(x)) - x @ TARGET.T).square().mean().item()}

    def preview(self, folder: Path, step: int) -> None:
        (folder / f"{self.name}-{step:06d}.txt").write_text("a picture\n")

    def export(self) -> Export:
        return Export({name: value.clone() for name, value in self.averaged.state_dict().items()}, {"stage": self.name})


def toy_config(**training: object) -> Config:
    """The tiny preset on one thread."""
    tiny = PRESETS["tiny"]
    return tiny.model_copy(update={"training": tiny.training.model_copy(update={"threads": 1, **training})})


class StepClock:
    """A clock that a step moves by a second, and nothing else does."""

    def __init__(self, stage: ToyStage) -> None:
        self._stage = stage

    def __call__(self) -> float:
        return 1000.0 + len(self._stage.steps)


def train_toy(run: RunFolder, stage: ToyStage, budget: Budget, checkpoint_every_s: float = 1e9) -> list[str]:
    """Train it; returns the lines a person would have seen."""
    lines: list[str] = []
    rhythm = Rhythm(checkpoint_every_s=checkpoint_every_s, preview_every_s=1e9)
    shown, stop = Lines(lines.append), threading.Event()
    run_stage(stage, run, budget, shown, stop, rhythm=rhythm, clock=StepClock(stage))
    return lines


def main(path: Path, steps: int) -> None:
    """Train until `steps`, saving all the time."""
    torch.set_num_threads(1)
    exists = (path / "run.json").exists()
    run = RunFolder.open(path) if exists else RunFolder.create(path, toy_config())
    with run.lock(), stop_on_signals(print) as stop:
        stage, shown = ToyStage(), Lines(lambda line: print(line, flush=True))
        rhythm = Rhythm(checkpoint_every_s=1.0, preview_every_s=1e9)  # after every step, on this clock
        run_stage(stage, run, Budget(steps=steps), shown, stop, rhythm=rhythm, clock=StepClock(stage))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
