"""Free memory: that of the machine, or what a container's or a service's limit leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autoreel.models import memory

CPU = torch.device("cpu")
GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 64 GiB free and no limits."""
    for name, file in (("GROUPS", "groups"), ("OWN_GROUP", "own"), ("MEMINFO", "meminfo")):
        monkeypatch.setattr(memory, name, tmp_path / file)
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {64 * GIB // 1024} kB\n")
    return tmp_path


def limit(folder: Path, names: tuple[str, str, str], most: str, used: int, kept: int) -> None:
    folder.mkdir(parents=True)
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {kept}\nfile 7\n")


def test_without_limits_it_is_the_machines(machine: Path) -> None:
    assert memory.free_memory(CPU) == 64 * GIB
    limit(machine / "groups", memory.NAMES[0], "max", GIB, 0)
    limit(machine / "groups" / "memory", memory.NAMES[1], "9223372036854771712", GIB, 0)
    assert memory.free_memory(CPU) == 64 * GIB


def test_a_container_sees_its_limit_where_groups_begin(machine: Path) -> None:
    limit(machine / "groups", memory.NAMES[0], str(4 * GIB), 2 * GIB, GIB // 2)
    assert memory.free_memory(CPU) == 5 * GIB // 2, "files that are only kept for later reads are given back"


@pytest.mark.parametrize(
    ("line", "place", "version"), [("0::/a.slice/b.service", "a.slice", 0), ("4:memory:/a/b/c", "memory/a/b", 1)]
)
def test_a_service_is_held_by_groups_around_it(machine: Path, line: str, place: str, version: int) -> None:
    (machine / "own").write_text(f"7:pids:/\n{line}\n")
    limit(machine / "groups" / place, memory.NAMES[version], str(3 * GIB), 4 * GIB, 2 * GIB)
    assert memory.free_memory(CPU) == GIB


def test_where_nothing_is_told_half_of_it_is_taken_for_free(machine: Path) -> None:
    (machine / "meminfo").unlink()
    assert memory.free_memory(CPU) > 0
