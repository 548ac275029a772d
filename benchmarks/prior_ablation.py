"""What each part of the prior's training is worth: one prior a row, on the same latents, for equal updates.

    python benchmarks/prior_ablation.py RUN --work FOLDER --steps 300 [--clips 64] [--only NAME ...] [--out RESULT.json]

RUN is a run folder with a trained codec and `footage/`. Every row changes the table [prior] in one thing: how many
windows have one noise level, context that drifts, or an order in which a later frame is known; how many steps learn
behind clean context; the width of the window; mirrored footage; preconditioning.
Measured: the flow loss on held-out windows (of a first frame, and of one after clean context); the distance of new
clips to the training footage and to held-out clips, and of what follows 17 frames of held-out clips to the latter; how
many of the new clips show the label that they were asked for, told by a judge of real clips; and how near what is made
between two held-out pieces comes to what was there (PSNR in dB). All with an encoder of this footage, the same noise in
every row.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from codec_quality import hardware, use_threads
from parts import commit
from real_side import Real, held_out, judge_of

from autoreel.clip import Frames
from autoreel.config import with_parts
from autoreel.data.store import FootageStore
from autoreel.evaluation import distances, samples
from autoreel.evaluation.encoder import WINDOW, look
from autoreel.evaluation.learning import open_encoder
from autoreel.evaluation.metrics import frame_psnr
from autoreel.generation.run import Options, Run
from autoreel.models.opening import open_codec
from autoreel.runs import RunFolder
from autoreel.training.budget import Budget
from autoreel.training.loop import Rhythm, run_stage
from autoreel.training.prior_stage import PriorStage
from autoreel.training.progress import Lines
from generation import FRAMES, made

CPU = torch.device("cpu")
GIVEN, MADE, GAP = 17, FRAMES - 1, 12  # frames
CONTINUED = 24  # held-out clips
ROWS: dict[str, Mapping[str, Any]] = {
    "base": {},
    "no equal levels": {"equal_level_share": 0.0},
    "equal levels 0.6": {"equal_level_share": 0.6},
    "no clean context": {"behind_clean_share": 0.0},
    "clean context 0.3": {"behind_clean_share": 0.3},
    "clean context 0.5": {"behind_clean_share": 0.5},
    "clean context 1": {"behind_clean_share": 1.0},
    "no other order": {"reorder_share": 0.0},
    "other order 0.4": {"reorder_share": 0.4},
    "none of the three": {"equal_level_share": 0.0, "behind_clean_share": 0.0, "reorder_share": 0.0},
    "window 5": {"window": 5},
    "no label dropout": {"label_dropout": 0.0},
    "not mirrored": {"mirror": False},
    "no drift": {"drift_share": 0.0},
    "not preconditioned": {"preconditioned": False},
}


class Bench:
    """What every row needs.

    Args:
        given: the command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.folder = RunFolder.open(given.run)
        self.store = FootageStore.open(given.footage or given.run / "footage")
        self.steps, self.clips = given.steps, given.clips
        self.encoder = open_encoder(given.work, self.store, report=print)
        self.latents = given.work / "latents"  # of every row's window: a codec and a footage are encoded once
        self.latents.mkdir(parents=True, exist_ok=True)
        link_latents(given.run, self.latents)
        held = held_out(self.store)
        self.trained = Real.of(self.store, self.encoder, MADE // WINDOW * given.clips)
        self.judge = judge_of(self.store, self.encoder, MADE)
        self.real = look(self.encoder, samples.read(self.store, samples.windows(held, MADE, 4 * given.clips))).features
        chosen = samples.windows(held, GIVEN + MADE, CONTINUED)
        self.whole = samples.read(self.store, chosen)
        self.labels = [window.shot.label for window in chosen]

    def row(self, change: Mapping[str, Any], work: Path) -> dict[str, Any]:
        """Train a prior and measure it."""
        config = with_parts(self.folder.config, {"prior": change}, "row")
        codec = open_codec(self.folder)
        run = RunFolder.create(work / "run", config)
        link_latents(self.latents, run.root)
        with run.lock():
            stage = PriorStage.open(run, self.store, codec, CPU, Budget(steps=self.steps))
            link_latents(run.root, self.latents)
            began = time.perf_counter()
            rhythm = Rhythm(checkpoint_every_s=1e9, preview_every_s=1e9)
            run_stage(stage, run, Budget(steps=self.steps), Lines(lambda line: None), threading.Event(), rhythm=rhythm)
        found: dict[str, Any] = {"seconds": round(time.perf_counter() - began), **stage.validate()}
        learned = Run(config, codec, stage.averaged, self.store.labels, self.store.size, self.store.rate, CPU)
        numbers = np.arange(self.clips) % max(1, len(learned.labels))
        clips = made(learned, numbers, Options())[:, 1:]
        found["accuracy"] = self.judge and self.judge.accuracy(clips, numbers)
        found["new to training"] = self.trained.to_training(look(self.encoder, clips).features)
        found["new"] = self._distance(clips)
        after = [learned.continue_(clip[:GIVEN], MADE, label, seed)[GIVEN:]
                 for seed, (clip, label) in enumerate(zip(self.whole, self.labels, strict=True))]  # fmt: skip
        found["after a clip"] = self._distance(np.stack(after))
        found["between_psnr_db"] = float(np.mean([
            self._between(learned, clip, label, seed)
            for seed, (clip, label) in enumerate(zip(self.whole, self.labels, strict=True))
        ]))  # fmt: skip
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}

    def _between(self, run: Run, clip: Frames, label: str | None, seed: int) -> float:
        """PSNR of what is made between two pieces, against what was there; the codec's own loss included."""
        end = clip[GIVEN + GAP :][:GIVEN]
        made = run.between(clip[:GIVEN], end, GAP, label, seed)
        middle = made[GIVEN : len(made) - len(end)]
        return float(frame_psnr(clip[GIVEN : GIVEN + len(middle)], middle).mean())

    def _distance(self, clips: Frames) -> float:
        return float(distances.frechet(self.real, look(self.encoder, clips).features))


def link_latents(source: Path, target: Path) -> None:
    """Give one folder the cached latents of another; those of another window or plan are told apart by their names."""
    for path in source.glob("latents-*.safetensors"):
        place = target / path.name
        if place.exists():
            continue
        try:
            place.hardlink_to(path)
        except OSError:  # on another disk
            shutil.copyfile(path, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--footage", type=Path, help="the prepared footage, where it is not in the run folder")
    parser.add_argument("--work", type=Path, required=True, help="the encoder is kept there")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--only", nargs="*", default=[], choices=ROWS, metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    threads = use_threads(given.threads)
    bench = Bench(given)
    rows: dict[str, Any] = {}
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"), "hardware": hardware(), "threads": threads,
        "commit": commit(), "footage": bench.store.hash[:16], "steps": given.steps, "clips": given.clips,
        "judge_on_held_out": bench.judge and bench.judge.held_out, "floor": bench.trained.floor(),
        "held_out_to_training": bench.trained.to_training(bench.trained.held_out), "rows": rows,
    }  # fmt: skip
    for name, change in ROWS.items():
        if given.only and name not in given.only:
            continue
        with tempfile.TemporaryDirectory(dir=given.work) as work:
            rows[name] = bench.row(change, Path(work))
        print(name, json.dumps(rows[name]), flush=True)
        if given.out is not None:
            given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
