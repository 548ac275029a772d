"""The commands that learn from footage: prepare and train."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from autoreel.commands.notes import note
from autoreel.commands.options import (
    Backbone,
    Device,
    Family,
    Fit,
    Judge,
    Out,
    parse_budget,
    parse_changes,
    parse_size,
    parsed,
    wishes_of,
)
from autoreel.errors import AutoreelError, UsageError


def prepare(
    *footage: Path,
    out: Out,
    preset: Literal["tiny", "small", "base"] = "tiny",
    size: str | None = None,
    fit: Fit = "crop",
    fps: float | None = None,
) -> None:
    """Cut footage into shots of the model's size, into a folder that training reads.

    Args:
        footage: Folders and files with video; the names of sub-folders become labels.
        out: The folder for the prepared footage.
        preset: The size it is for: tiny (64 px), small (128 px), base (256 px).
        size: Another size: 256x256, width and height.
        fit: What to do with footage of another shape: crop, or letterbox.
        fps: Frames per second; the footage's own when left out.
    """
    from autoreel import preflight
    from autoreel.config import PRESETS, DataConfig, from_mapping

    problems: list[AutoreelError] = [] if footage else [UsageError("give a folder of footage")]
    problems += preflight.check_training(fps, None)
    pixels = parsed(problems, parse_size, size) if size is not None else None
    preflight.insist(problems + preflight.check_footage(footage) + preflight.check_folder(out))
    changed = {"fit": fit, "fps": fps} | ({} if pixels is None else {"width": pixels[0], "height": pixels[1]})
    data = from_mapping(DataConfig, {**PRESETS[preset].data.model_dump(), **changed}, "prepare")
    from autoreel.data.prepare import prepare as prepare_footage

    prepare_footage(footage, out, data, report=note)
    print(out)


def train(
    *footage: Path,
    run: Annotated[Path, Parameter(name=["--run", "-r"])],
    budget: str | None = None,
    steps: int | None = None,
    stage: Literal["all", "codec", "prior", "refine", "upscale"] = "all",
    large: Path | None = None,
    preset: str = "auto",
    family: Family | None = None,
    backbone: Backbone | None = None,
    discriminator: Judge | None = None,
    config: Path | None = None,
    changes: Annotated[list[str] | None, Parameter(name="--set", negative_iterable="")] = None,
    fit: Fit | None = None,
    fps: float | None = None,
    seed: int | None = None,
    start: Annotated[str | None, Parameter(name=["--start", "--from"])] = None,
    codec: str | None = None,
    device: Device = "auto",
) -> None:
    """Train a model. The same command goes on where it was stopped.

    Args:
        footage: A folder that `autoreel prepare` made; or folders and files with video. None: what the run began with.
        run: The run folder: a new one, or one to go on with.
        budget: Time for training: 20m (when left out), 90s, 1h.
        steps: A number of updates instead of a time.
        stage: codec, prior, or all (both); or refine: the encoder on generated video, so that re-encoding drifts less;
            or upscale: what enlarges frames with --upscale learned.
        large: With --stage upscale: a folder that `autoreel prepare --size` made of the same footage, at twice or four
            times the size.
        preset: Size of the model: tiny (64 px), small (128 px), base (256 px), or auto, what this machine can train.
            Prepared footage keeps its own size.
        family: What the codec is: gan, ae, vae, or vae-gan, which is taken when left out.
        backbone: What it is built of: resnet (taken when left out), or transformer.
        discriminator: Of gan and vae-gan: conv, which judges patches (taken when left out), or fc, whole pictures.
        config: A config file instead of a preset.
        changes: Any field of a config, as often as you like: --set codec.latent_channels=16 --set
            objective.adversary=hinge.
        fit: What to do with footage of another shape: crop, or letterbox.
        fps: Frames per second; the footage's own when left out.
        seed: Of the training.
        start: What the codec starts from: starter (it comes with the program), scratch, or the folder of a run; starter
            when left out, where there is one of this codec's layout.
        codec: A pretrained codec instead of one of its own: diffusers:FOLDER.
        device: Where to compute.
    """
    from autoreel import preflight
    from autoreel.data.store import INDEX_NAME, FootageStore

    store_path = footage[0] if len(footage) == 1 else None if footage else run / "footage"
    is_prepared = store_path is not None and os.path.isfile(store_path / INDEX_NAME)
    problems = [] if is_prepared else preflight.check_footage(footage)
    if not footage and not is_prepared:
        problems.append(UsageError("give a folder of footage, or one that `autoreel prepare` made"))
    problems += preflight.check_wishes(preset, config) + preflight.check_folder(run)
    problems += preflight.check_training(fps, seed) + preflight.check_start(start, codec)
    if steps is not None and budget is not None:
        problems.append(UsageError("--steps and --budget both say how long to train; leave one out"))
    if (large is not None) != (stage == "upscale"):
        problems.append(UsageError(
            "--stage upscale and --large go together: --large is the same footage at twice or four times the size, "
            "which `autoreel prepare --size` makes"
        ))  # fmt: skip
    amount = parsed(problems, parse_budget, f"{steps} steps" if steps is not None else budget or "20m")
    fields = parsed(problems, parse_changes, changes or [])
    preflight.insist(problems)
    assert amount is not None  # or there would have been a problem
    from autoreel.training.begin import open_run, prepare_into
    from autoreel.training.train import begin
    from autoreel.training.train import train as train_run

    larger = FootageStore.open(large) if large is not None else None
    wishes = wishes_of(preset, config, fit, fps, seed, start, codec, family, backbone, discriminator, fields)
    if is_prepared and store_path is not None:
        store = FootageStore.open(store_path)
        folder = open_run(run, wishes, amount, data=store.config, device=device, report=note)
    else:
        folder = open_run(run, wishes, amount, device=device, report=note)
        store = prepare_into(folder, footage, report=note)
    train_run(begin(folder.root, store), store, budget=amount, stage=stage, device=device, larger=larger)
    print(run)
