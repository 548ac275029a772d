"""Losses that are not finite or far too high, put into real training: none may reach a checkpoint or spoil the result.

The fault is put into the output of one layer of the network, so that what follows from it (the loss, the gradients,
the step that is left out or taken) is training's own. NaN makes a loss that is not finite, a factor
one that is far too high.
"""

from __future__ import annotations

import copy
import json
import math
import random
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from benchmarks.fault_campaigns.report import Findings
from torch import nn

from autoreel.config import CodecConfig, Config, DataConfig, DiscriminatorConfig, PriorConfig, TrainingConfig
from autoreel.data.prepare import prepare
from autoreel.data.sample import render_sample_footage
from autoreel.data.store import FootageStore
from autoreel.errors import AutoreelError
from autoreel.models.codec import Codec
from autoreel.runs import RunFolder
from autoreel.training.budget import Budget
from autoreel.training.checkpoint import capture, restore
from autoreel.training.codec_stage import CodecStage
from autoreel.training.loop import Rhythm, run_stage
from autoreel.training.prior_stage import PriorStage
from autoreel.training.progress import Lines
from autoreel.training.refine_stage import RefineStage
from autoreel.training.stage import Export
from autoreel.training.upscale_stage import UpscaleStage

STEPS = 900
SAVE_EVERY = 60
SPIKE = 1e4
MILD = {"codec": 50.0, "prior": 3.5, "refine": 30.0, "upscale": 25.0}  # high losses that are learned from all the same
LATE = 15  # steps before the end at which those begin
MEASURED_STEPS = 90  # whose batches tell the loss at the end
CLOSE = 0.02  # of the loss without faults
LAYERS = {"codec": "decoder", "prior": "velocity", "refine": "head", "upscale": "conv_out"}  # whose output is disturbed
SIDES = (32, 64)  # pixels of the footage, and of the larger one that the upscaler learns from
SMALL = Config(
    data=DataConfig(height=SIDES[0], width=SIDES[0]),
    codec=CodecConfig(latent_channels=4, widths=(8, 16, 16), encoder_depths=(1, 1, 1), decoder_depths=(1, 1, 1)),
    discriminator=DiscriminatorConfig(width=8),
    prior=PriorConfig(width=32, depth=2, heads=1, patch=1, window=3, steps=2),
    training=TrainingConfig(codec_batch=2, codec_frames=5, prior_batch=8, upscale_batch=2, threads=1),
)
Footage = tuple[FootageStore, FootageStore | None]  # the second one is twice as large; only the upscaler needs it
AnyStage = CodecStage | PriorStage | RefineStage | UpscaleStage


class Faulty:
    """A stage whose network is disturbed at given steps.

    Args:
        stage: the stage.
        faults: factor on a layer's output by step; NaN for a loss that is not finite.
    """

    def __init__(self, stage: AnyStage, faults: Mapping[int, float]) -> None:
        self._stage, self._faults = stage, dict(faults)
        self.name, self.seed = stage.name, stage.seed
        self.num_taken = 0

    def modules(self) -> Mapping[str, nn.Module]:
        return self._stage.modules()

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._stage.optimizers()

    def step(self, step: int, progress: float) -> dict[str, float]:
        self.num_taken += 1
        factor = self._faults.get(step)
        network = self._stage.modules()[self.name]
        layer = network.get_submodule(LAYERS[self.name])
        hook = None
        if factor is not None:
            hook = layer.register_forward_hook(lambda module, given, out: out * factor)
        try:
            metrics = self._stage.step(step, progress)
        finally:
            if hook is not None:
                hook.remove()
        return metrics

    def validate(self) -> dict[str, float]:
        return {}

    def preview(self, folder: Path, step: int) -> None:
        return None

    def export(self) -> Export:
        return self._stage.export()


class Watching(Lines):
    """Counts the times training went back."""

    def __init__(self) -> None:
        super().__init__(lambda line: None)
        self.num_rewinds = 0

    def note(self, text: str) -> None:
        self.num_rewinds += "back to the state of step" in text


def train(
    name: str, work: Path, footage: Footage, codec: Codec, faults: Mapping[int, float]
) -> dict[str, Any]:
    """Train one stage to the end with faults in it.

    Args:
        name: of the stage.
        work: a folder for the run.
        footage: what it learns from.
        codec: what the stages after the codec's begin with.
        faults: as `Faulty` takes them.

    Returns:
        loss: of what it leaves (`loss_of`); rewinds; unsound: what is not finite in a checkpoint
        or the result, and checkpoints of a state in trouble.
    """
    store, larger = footage
    with tempfile.TemporaryDirectory(dir=work) as folder:
        run = RunFolder.create(Path(folder) / "run", SMALL)
        torch.manual_seed(0)
        if name == "codec":
            stage: AnyStage = CodecStage(SMALL, store, torch.device("cpu"))
        elif name == "refine":
            stage = RefineStage(SMALL, copy.deepcopy(codec), None, store, torch.device("cpu"))
        elif larger is not None:
            stage = UpscaleStage(SMALL, copy.deepcopy(codec), store, larger, torch.device("cpu"))
        else:
            stage = PriorStage.open(run, store, codec, torch.device("cpu"), Budget(steps=STEPS))
        faulty, shown, unsound = Faulty(stage, faults), Watching(), list[str]()
        seen: set[str] = set()

        def clock() -> float:  # called all the time: every checkpoint is looked at while it is there
            for path in run.path("checkpoints").glob(f"{name}-*/state.safetensors"):
                if path.parent.name not in seen:
                    seen.add(path.parent.name)
                    unsound.extend(f"{path.parent.name}: {what}" for what in _unsound(path))
            return float(faulty.num_taken)

        error = ""
        try:
            rhythm = Rhythm(checkpoint_every_s=SAVE_EVERY, preview_every_s=1e9)
            run_stage(faulty, run, Budget(steps=STEPS), shown, threading.Event(), rhythm=rhythm, clock=clock)
        except AutoreelError as caught:
            error = f"{type(caught).__name__}: {caught}"
        unsound += [n for n, value in capture(stage).tensors.items() if not bool(torch.isfinite(value.float()).all())]
        return {
            "loss": loss_of(stage), "rewinds": shown.num_rewinds, "unsound": unsound, "error": error,
            "checkpoints": len(seen),
        }  # fmt: skip


def loss_of(stage: AnyStage) -> float:
    """The mean loss of what a stage leaves, its averaged weights, on the same batches whatever its training met.

    The losses of the last steps would compare batches too: after a rewind the same step is another update.
    """
    modules = stage.modules()
    modules[stage.name].load_state_dict(modules["averaged"].state_dict())
    state, losses = capture(stage, copy=True), []
    for step in range(MEASURED_STEPS):
        losses.append(stage.step(step, 1.0)["loss"])  # taken before the update, which is taken back
        restore(stage, state)
    return sum(losses) / len(losses)


def _unsound(path: Path) -> list[str]:
    from safetensors.torch import load_file

    try:
        found = load_file(path)
        watch = json.loads((path.parent / "state.json").read_text().partition("\n")[2])["watch"]
    except FileNotFoundError:  # let go of while it was looked at
        return []
    unsound = [f"{n} is not finite" for n, value in found.items() if not bool(torch.isfinite(value.float()).all())]
    return [*unsound, "saved in trouble"] if watch["trouble_since"] is not None else unsound


def plans(count: int, seed: int, stage: str) -> dict[str, dict[int, float]]:
    """Which faults at which steps, by name."""
    rng = random.Random(seed)
    steps = rng.sample(range(STEPS - 10), min(count, STEPS // 8))
    found: dict[str, dict[int, float]] = {
        f"NaN at {len(steps)} steps": {step: math.nan for step in steps},
        f"a spike at {len(steps)} steps": {step: SPIKE for step in steps},
    }
    for step in sorted(rng.sample(range(25, STEPS - 40), max(1, count // 20))):
        found[f"three NaN from step {step}"] = {step + n: math.nan for n in range(3)}
    for step in sorted(rng.sample(range(25, STEPS - 60), max(1, count // 20))):
        found[f"a spike of 20 steps from step {step}"] = {step + n: SPIKE for n in range(20)}
    found[f"high losses in the last {LATE} steps"] = {STEPS - LATE + n: MILD[stage] for n in range(LATE)}
    found[f"high losses in the last {LATE} steps and beyond"] = {STEPS - LATE + n: MILD[stage] for n in range(2 * LATE)}
    return found


def prepare_sample(work: Path, seed: int, detail: int, side: int) -> FootageStore:
    """The sample footage at a size.

    Args:
        work: where it is put.
        seed: of what is in it.
        detail: pixels a side it is rendered with; the same clips serve every size.
        side: pixels a side of the store.
    """
    clips = work / f"clips-{detail}"
    if not clips.exists():
        render_sample_footage(clips, seed=seed, kinds=("travel",), clips_per_kind=4, clip_s=1.6, size=(detail, detail))
    return prepare([clips], work / f"store-{detail}-{side}", DataConfig(height=side, width=side)).store


def campaign(count: int, seed: int, stages: tuple[str, ...] = tuple(LAYERS)) -> Findings:
    """Every plan on each stage, against the same training without faults."""
    findings = Findings("-".join(["spikes", *(stages if len(stages) < len(LAYERS) else ())]))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        small, large = SIDES
        stores: dict[str, Footage] = {"": (prepare_sample(work, seed, small, small), None)}
        if "upscale" in stages:
            stores["upscale"] = prepare_sample(work, seed, large, small), prepare_sample(work, seed, large, large)
        torch.manual_seed(0)
        codec = Codec(SMALL.codec).eval()
        rows: list[tuple[object, ...]] = []
        findings.tables.append((("stage", "faults", "final loss", "change", "rewinds", "checkpoints seen"), rows))
        for name in stages:
            footage = stores.get(name, stores[""])
            whole = train(name, work, footage, codec, {})["loss"]
            rows.append((name, "none", f"{whole:.5f}", "", 0, ""))
            for plan, faults in plans(count, seed, name).items():
                found = train(name, work, footage, codec, faults)
                change = found["loss"] / whole - 1
                counts = (found["rewinds"], found["checkpoints"])
                rows.append((name, plan, f"{found['loss']:.5f}", f"{change:+.1%}", *counts))
                print(*rows[-1], found["error"], flush=True)
                if found["unsound"]:
                    findings.problems.append(f"{name}, {plan}: {found['unsound'][:3]}")
                if found["error"]:
                    findings.problems.append(f"{name}, {plan}: {found['error']}")
                elif not change <= CLOSE:
                    findings.problems.append(f"{name}, {plan}: final loss {change:+.1%}")
    return findings
