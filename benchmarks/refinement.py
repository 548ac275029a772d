"""How a codec drifts when it encodes what it decoded itself, before its refinement and after it.

    python benchmarks/refinement.py RUN [STORE] [--budget 2m] [--out RESULT.md]

The run is copied; its codec (and its prior, where it has one) are taken as they are, the refinement is trained within
the budget, and PSNR against the original is printed after 1, 2, 5 and 10 generations, each stored as bytes in between,
over windows of the test side that do not overlap. STORE is the footage; the run's own `footage/` when left out.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from codec_quality import hardware
from parts import commit

from autoreel.data.loader import ClipLoader
from autoreel.data.store import FootageStore
from autoreel.evaluation.metrics import frame_psnr
from autoreel.models.codec import Codec
from autoreel.models.opening import own_codec
from autoreel.runs import RunFolder
from autoreel.training.budget import Budget
from autoreel.training.refine_stage import generations
from autoreel.training.train import begin, train

TIMES = (1, 2, 5, 10)


def drift(codec: Codec, store: FootageStore, split: str, num_frames: int, limit: int) -> dict[int, tuple[float, int]]:
    """Mean PSNR in dB, and the number of windows, after each of `TIMES`."""
    found: dict[int, list[float]] = {times: [] for times in TIMES}
    for batch in ClipLoader(store, split, num_frames, 4, 0).clips(limit):
        made = generations(codec.eval(), batch.frames, TIMES, torch.device("cpu"))
        for times, clips in made.items():
            found[times] += [float(frame_psnr(a, b).mean()) for a, b in zip(batch.frames, clips, strict=True)]
    return {times: (float(np.mean(values)), len(values)) for times, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("store", type=Path, nargs="?")
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    store = FootageStore.open(given.store or given.run / "footage")
    split = "test" if store.split("test") else "validation" if store.split("validation") else "train"
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch) / "run"
        left_out = shutil.ignore_patterns("checkpoints", "samples", "footage", "latents*")
        shutil.copytree(given.run, copied, ignore=left_out)
        run = RunFolder.open(copied)
        has_prior = "prior.safetensors" in run.manifest.weights
        frames = run.config.training.codec_frames
        before = drift(own_codec(run, refined=False), store, split, frames, given.windows)
        train(begin(copied, store), store, budget=Budget.parse(given.budget), stage="refine", report=print)
        run = RunFolder.open(copied)
        steps = run.manifest.stages["refine"].step
        after = drift(own_codec(run), store, split, frames, given.windows)
    lines = [
        f"# Refinement, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"`{given.run.name}`, {store.size[1]}x{store.size[0]} px, {before[1][1]} windows of {frames} frames of the "
        f"{split} side; budget {given.budget} ({steps} steps); {hardware()}; commit {commit()}; "
        f"latents from {'the prior' if has_prior else 'N(0, I)'}. PSNR in dB against the original.",
        "",
        "| generations | before | after | gain |",
        "|---|---|---|---|",
        *(f"| {n} | {before[n][0]:.2f} | {after[n][0]:.2f} | {after[n][0] - before[n][0]:+.2f} |" for n in TIMES),
        "",
    ]
    print("\n".join(lines))
    if given.out is not None:
        given.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
