"""A command on a disk that fills up, through the campaign's own command line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.fault_campaigns.disk_full import may_mount

ROOT = Path(__file__).parents[2]


def test_prepare_says_it_and_goes_on_after_space_was_made(tmp_path: Path) -> None:
    if not may_mount():
        pytest.skip("a person may not mount here, not even in namespaces of their own")
    options = ["--count", "2", "--only", "prepare", "--out", str(tmp_path)]
    command = [sys.executable, "benchmarks/faults.py", "disk-full", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    page = next(tmp_path.glob("*-faults-disk-full-prepare.md")).read_text()
    assert re.search(r"\| prepare \| \d+ \| exit 6 \| exit 0 \|", page) and "**passed**" in page
