"""Nothing is written outside of the folders that a command names."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.fault_campaigns.models import make_run

from autoreel.data.sample import render_sample_footage

ROOT = Path(__file__).parents[2]
OPENED = r"openat\(.*?\"([^\"]+)\".*?O_(?:WRONLY|RDWR|CREAT)"
CHANGED = r"(?:mkdir|unlink|rename\w*|symlink)\w*\(.*?\"([^\"]+)\""
WRITING = re.compile(rf"\b(?:{OPENED}|{CHANGED})")
# Devices, and memory that has a name only while it is made.
HARMLESS = re.compile(r"^(/dev/(null|tty|shm/)|/proc/)")


def written_by(arguments: list[str], home: Path, trace: Path) -> set[str]:
    """Every path that a command opened for writing, made, renamed or removed, with success."""
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(home / "tmp"),
    }  # fmt: skip
    calls = "openat,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2,symlink,symlinkat"
    command = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={calls}", sys.executable, "-m", "autoreel"]
    done = subprocess.run(
        [*command, *arguments], cwd=home / "here", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    found = set()
    for line in trace.read_text(errors="replace").splitlines():
        match = WRITING.search(line)
        if match is not None and " = -1 " not in line:
            path = os.path.normpath(home / "here" / (match[1] or match[2]))
            if not HARMLESS.match(path):
                found.add(path)
    return found


def test_prepare_and_generate_write_where_they_are_told(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    for name in ("home/here", "home/tmp", "out"):
        (tmp_path / name).mkdir(parents=True)
    render_sample_footage(tmp_path / "clips", kinds=("travel",), clips_per_kind=1, clip_s=0.8, size=(32, 32))
    make_run(tmp_path / "run")
    commands = (
        ["prepare", str(tmp_path / "clips"), "-o", str(tmp_path / "out/store"), "--fps", "10"],
        ["generate", str(tmp_path / "run"), "-o", str(tmp_path / "out/clip.mp4"), "--length", "0.4s"],
    )
    for arguments in commands:
        found = written_by(arguments, tmp_path / "home", tmp_path / "trace")
        assert found, "nothing was seen"
        # PyTorch tries whether the system's folder for passing things can be written, and makes an empty one in it.
        named = (str(tmp_path / "out"), str(tmp_path / "home/tmp"))
        assert {path for path in found if not path.startswith(named)} == set()
    assert not any(path.is_file() for path in (tmp_path / "home").rglob("*"))
