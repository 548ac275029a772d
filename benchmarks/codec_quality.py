"""Held-out reconstruction of a codec trained from scratch within a budget, before the adversary joins and after it.

    python benchmarks/codec_quality.py FOOTAGE --budget 10m [--preset tiny] [--run RUN] [--out RESULT.json]

Run it on an otherwise idle machine: the budget is wall time. Persons, scenes or files of the held-out sides (validation
and test, reported apart) were never trained on.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from parts import commit

from autoreel.clip import Frames, to_frames, to_model
from autoreel.config import PRESETS
from autoreel.data.loader import ClipLoader
from autoreel.data.store import FootageStore
from autoreel.evaluation.metrics import frame_psnr, sharpness_kept, ssim, temporal_psnr
from autoreel.models.codec import Codec
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.runs import RunFolder
from autoreel.training.begin import prepare_into
from autoreel.training.budget import Budget
from autoreel.training.codec_stage import CodecStage
from autoreel.training.train import begin, train


class WatchedStage(CodecStage):
    """Keeps the averaged weights as they were just before the adversary joined."""

    before_adversary: Codec | None = None
    before_adversary_step = 0
    last: WatchedStage | None = None

    def step(self, step: int, progress: float) -> dict[str, float]:
        if self.before_adversary is None and progress >= self.config.training.adversary_start:
            self.before_adversary = copy.deepcopy(self.averaged)
            self.before_adversary_step = step
        return super().step(step, progress)


def build(run: RunFolder, store: FootageStore, device: torch.device, budget: Budget) -> WatchedStage:
    WatchedStage.last = WatchedStage.open(run, store, device)
    return WatchedStage.last


@torch.no_grad()
def measure(codec: Codec, store: FootageStore, split: str, num_frames: int) -> dict[str, float]:
    """Mean over windows that do not overlap; of frame differences, which share of the footage's there is."""
    device = torch.device("cpu")
    codec = codec.to(device).eval()
    found: list[tuple[float, ...]] = []
    changes: list[np.ndarray] = []
    for batch in ClipLoader(store, split, num_frames, 4, 0).clips():
        with autocast(device, matrix_dtype(device)):
            made = to_frames(codec.decode(codec.encode(to_model(batch.frames)).mode()))
        for a, b in zip(batch.frames, made, strict=True):
            found.append((float(frame_psnr(a, b).mean()), ssim(a, b), temporal_psnr(a, b), sharpness_kept(a, b)))
            changes.append(np.stack([frame_changes(clip, codec.temporal_stride) for clip in (a, b)]))
    names = ("psnr_db", "ssim", "temporal_psnr_db", "sharpness_kept")
    footage, ours = np.mean(changes, 0)
    pairs = zip(("changes_inside", "changes_where_groups_meet"), ours, footage, strict=True)
    shares = {name: float(a / b) for name, a, b in pairs if b > 0}  # of still footage there is none
    return {**dict(zip(names, np.mean(found, 0).tolist(), strict=True)), **shares, "windows": len(found)}


def frame_changes(frames: Frames, stride: int) -> np.ndarray:
    """Mean differences of neighbouring frames, of 255: inside groups of `stride` frames, and where two of them meet.

    The first frame stands alone, so that what follows it is left out.
    """
    change = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean((1, 2, 3))
    meet = np.arange(len(change)) % stride == 0
    kinds = (change[~meet] if stride > 1 else change, change[meet][1:])
    return np.array([kind.mean() if len(kind) else 0.0 for kind in kinds])


def hardware() -> str:
    """The processor's name and cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), name
        )
    return f"{name}, {torch.get_num_threads()} threads, {matrix_dtype(torch.device('cpu'))}".replace("torch.", "")


def use_threads(count: int) -> int:
    """Compute with so many threads, here and in the programs that are started; 0 leaves that to torch.

    Returns:
        How many there are.
    """
    if count:
        os.environ["OMP_NUM_THREADS"] = str(count)
        torch.set_num_threads(count)
    return torch.get_num_threads()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path, nargs="+")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--run", type=Path, help="where the run is kept; a temporary folder when left out")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    config = PRESETS[given.preset]
    with tempfile.TemporaryDirectory() as scratch:
        run = RunFolder.create(given.run or Path(scratch) / "run", config)
        store = prepare_into(run, given.footage, report=None)
        began = time.monotonic()
        train(
            begin(run.root, store), store, budget=Budget.parse(given.budget), stage="codec",
            report=print, builders={"codec": build},
        )  # fmt: skip
        stage = WatchedStage.last
        assert stage is not None
        result = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "hardware": hardware(),
            "commit": commit(),
            "footage": [path.name for path in given.footage],
            "split": store.how_split,
            "preset": given.preset,
            "budget": given.budget,
            "wall_s": round(time.monotonic() - began, 1),
            "steps_before_adversary": stage.before_adversary_step,
        }
        frames = config.training.codec_frames
        for name, codec in (("before_adversary", stage.before_adversary), ("at_the_end", stage.averaged)):
            for split in ("validation", "test"):
                if codec is not None and store.split(split):
                    result[f"{name}/{split}"] = measure(codec, store, split, frames)
    print(json.dumps(result, indent=1))
    if given.out is not None:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
