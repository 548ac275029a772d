"""Damaged copies of real files: refused with a reason, or harmless; few slip through, and good files are never lost."""

from pathlib import Path

from benchmarks.fault_campaigns.mutants import good_files, look, mutants
from benchmarks.fault_campaigns.prepared import through_prepare
from benchmarks.fault_campaigns.report import Findings


def test_most_damage_is_noticed(footage: Path, tmp_path: Path) -> None:
    sources = [path for path in good_files(footage) if path.stat().st_size < 300_000]
    tallies = look(sources, 40, 0, tmp_path)
    assert sum(tally.count for tally in tallies.values()) >= 36
    assert sum(tally.slipped for tally in tallies.values()) <= 4


def test_good_files_beside_bad_ones_are_used(footage: Path, hostile: Path, tmp_path: Path) -> None:
    sources = [path for path in good_files(footage) if path.stat().st_size < 300_000]
    sources += [path for path in hostile.glob("*") if path.is_file() and path.stat().st_size < 50_000]
    sources = [path for path in sources if path.suffix != ".json"]
    findings = Findings("mutants")
    through_prepare(findings, sources[:2], sources, 16, 3, tmp_path, batch=16)
    assert findings.problems == []


def test_the_same_seed_makes_the_same_mutants(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 20)
    first, second = (list(mutants([tmp_path / "a"], 20, seed=4)) for _ in range(2))
    assert [one.content for one in first] == [one.content for one in second]
    assert all(one.content != (tmp_path / "a").read_bytes() for one in first)
