"""The memory of one long generation: measured after every part of it, and the slope of the line through it."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from benchmarks.fault_campaigns.models import LABELS, make_run
from benchmarks.fault_campaigns.report import Findings

from autoreel.generation.run import Run

SAMPLES = 60
MOST_SLOPE = 1024.0  # bytes for each generated frame; one frame of 32 x 32 has 3072


def resident_bytes() -> int:
    """What this process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def memory_over(run: Run, num_frames: int, seconds: float) -> list[tuple[int, int]]:
    """(frames made, bytes) while one clip is generated, until its end or for so long."""
    found: list[tuple[int, int]] = []
    made, began, noted = 0, time.monotonic(), 0.0
    for frames in run.generate_stream(LABELS[0], num_frames, seed=0):
        made += len(frames)
        now = time.monotonic() - began
        if now >= noted:
            found.append((made, resident_bytes()))
            noted = now + seconds / SAMPLES
        if now > seconds:
            break
    return found


def slope_of(found: list[tuple[int, int]]) -> float:
    """Bytes for each frame, by least squares over the second half: the first half fills caches."""
    late = np.array(found[len(found) // 2 :], float)
    return float(np.polyfit(late[:, 0], late[:, 1], 1)[0]) if len(late) > 2 else 0.0


def campaign(minutes: int, seed: int) -> Findings:
    """Generate one clip for so many minutes with a small untrained model."""
    findings = Findings("slope")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_run(Path(folder) / "run")
        run = Run.open(Path(folder) / "run", device="cpu")
        found = memory_over(run, 10_000_000, 60.0 * minutes)
    slope = slope_of(found)
    frames = found[-1][0]
    rows = [(made, f"{size / 1e6:.1f}") for made, size in found[:: max(1, len(found) // 12)]]
    findings.lines.append(
        f"One clip of {frames} frames ({frames / 25 / 60:.0f} minutes at 25 a second) in {minutes} minutes: "
        f"{slope:.0f} bytes for each frame in its second half."
    )
    findings.table(("frames made", "resident, MB"), rows)
    if slope > MOST_SLOPE:
        findings.problems.append(f"memory grows by {slope:.0f} bytes with each frame")
    return findings
