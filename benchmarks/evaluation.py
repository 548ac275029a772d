"""How long an evaluation takes, phase by phase: 256 clips of 32 frames at 64 px are to be done in three minutes.

python benchmarks/evaluation.py RUN --clips 256

Phases are told by the program itself; what comes before the first line is loading. The report is written to a temporary
folder; with --fresh the encoder is trained again, as in a first evaluation of a footage.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from parts import commit

from autoreel.evaluation.learning import open_encoder
from autoreel.models.compute import matrix_dtype
from autoreel.report.evaluate import Wanted, evaluate
from autoreel.report.subject import Subject


class Phases:
    """Seconds from one line of progress to the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._name, self._since_s = "loading", time.perf_counter()

    def __call__(self, line: str) -> None:
        """A phase begins."""
        name, now_s = line.split(":")[0], time.perf_counter()
        self.seconds[self._name] = round(self.seconds.get(self._name, 0.0) + now_s - self._since_s, 1)
        self._name, self._since_s = name, now_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--fresh", action="store_true", help="train the encoder again")
    parser.add_argument("--no-minute", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    result: dict[str, object] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "hardware": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"{matrix_dtype(torch.device('cpu'))}",
        "commit": commit(),
        "clips": given.clips, "frames": given.frames,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        if given.fresh:
            began_s = time.perf_counter()
            open_encoder(Path(scratch) / "encoder", Subject.open(given.run).store)
            result["encoder_s"] = round(time.perf_counter() - began_s, 1)
        else:
            open_encoder(given.run / "evaluation", Subject.open(given.run).store)
        phases, began_s = Phases(), time.perf_counter()
        wanted = Wanted(clips=given.clips, frames=given.frames, minute=not given.no_minute)
        page = evaluate(given.run, out=Path(scratch) / "report", wanted=wanted, report=phases)
        phases("end")
        result["wall_s"] = round(time.perf_counter() - began_s, 1)
        result["phases_s"] = phases.seconds
        result["page_bytes"] = page.stat().st_size
    result["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(result, indent=1))
    if given.out is not None:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
