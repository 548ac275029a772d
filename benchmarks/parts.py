"""What results say of themselves, and those of a benchmark that is run in parts: one file a day, and beside each part
what it was measured with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoreel.runs import atomic_write_text

Row = dict[str, Any]


def commit() -> str:
    """Of this source tree, in short; empty outside of one."""
    command, place = ["git", "rev-parse", "--short", "HEAD"], Path(__file__).parent
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def keep(target: Path, about: Mapping[str, Any], part: str, how: Mapping[str, Any], found: Mapping[str, Any]) -> Row:
    """Write a part into a file of results; the other parts of the day stay as they are.

    Args:
        target: the file, JSON; made when absent.
        about: what all parts have in common.
        part: its name.
        how: what it was measured with (commit, threads, ...); another part of the day may have had others.
        found: the results.

    Returns:
        All that the file says now.
    """
    before = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    kept = {**before, **about, part: {"measured_with": dict(how), **found}}
    atomic_write_text(target, json.dumps(kept, indent=1) + "\n")
    return kept
