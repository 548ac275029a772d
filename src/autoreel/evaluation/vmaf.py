"""VMAF (Netflix), where an ffmpeg with it is installed. It is trained on large pictures: small ones are scaled up."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

from autoreel.clip import Frames
from autoreel.errors import UsageError

HEIGHT = 1080  # what the usual model of VMAF looks at
TIMEOUT_S = 600


def vmaf_program() -> str | None:
    """The path of an ffmpeg that knows VMAF; None where there is none."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    listed = subprocess.run([program, "-hide_banner", "-filters"], capture_output=True, text=True, check=False)
    return program if " libvmaf " in listed.stdout else None


def vmaf(program: str, original: Frames, made: Frames, rate: Fraction) -> float:
    """The mean over frames, 0 to 100.

    Args:
        program: of `vmaf_program`.
        original: uint8 (T, H, W, 3).
        made: the same shape.
        rate: frames per second.

    Raises:
        UsageError: ffmpeg fails.
    """
    if original.shape != made.shape:
        raise ValueError(f"clips must have the same shape, not {original.shape} and {made.shape}")
    height, width = original.shape[1:3]
    with tempfile.TemporaryDirectory(prefix="autoreel-vmaf-") as folder:
        command = [program, "-hide_banner", "-loglevel", "error", "-nostdin"]
        for name, clip in (("made", made), ("original", original)):
            path = Path(folder) / f"{name}.rgb"
            path.write_bytes(clip.tobytes())
            command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate)]
            command += ["-i", str(path)]
        scale = f"scale=-2:{HEIGHT}:flags=bicubic,format=yuv420p"
        graph = f"[0:v]{scale}[a];[1:v]{scale}[b];[a][b]libvmaf=log_fmt=json:log_path=vmaf.json"
        done = subprocess.run(
            [*command, "-lavfi", graph, "-f", "null", "-"],
            cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        log = Path(folder) / "vmaf.json"
        if done.returncode or not log.is_file():
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise UsageError(f"ffmpeg could not measure VMAF: {lines[-1]}")
        return float(json.loads(log.read_text(encoding="utf-8"))["pooled_metrics"]["vmaf"]["mean"])
