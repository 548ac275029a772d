"""How much memory is free where something is computed, limits of containers and services counted, and the most that
this process has taken."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
# Limit, use, and the part of the use that is only kept for later reads, of control groups of version 2 and 1.
NAMES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory(device: torch.device) -> int:
    """Bytes that are free where a device computes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(min(_free_here(), *(_left(folder) for folder in _groups())))


def _free_here() -> float:
    if MEMINFO.exists():
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2


def _groups() -> Iterator[Path]:
    """The folders of this process's control group and of those around it; in a container only the first is seen."""
    yield from (GROUPS, GROUPS / "memory")
    try:
        lines = OWN_GROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            root = GROUPS / controllers
            for inner in (Path(place.lstrip("/")), *Path(place.lstrip("/")).parents):
                yield root / inner


def _left(folder: Path) -> float:
    """Bytes that a group may still take; infinite where it has no limit."""
    for limit, used, kept in NAMES:
        try:
            most, now = (folder / limit).read_text().strip(), int((folder / used).read_text())
        except (OSError, ValueError):
            continue
        if most == "max":
            return math.inf
        given_back = 0
        with contextlib.suppress(OSError, ValueError, IndexError):
            rows = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
            given_back = sum(int(row[1]) for row in rows if row[0] == kept)
        return max(0.0, int(most) - now + given_back)
    return math.inf


def forget_peak() -> bool:
    """Let the peak of this process's memory count from now on; whether the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """The most memory that this process has held since `forget_peak`, or ever where that could not be."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource  # not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
