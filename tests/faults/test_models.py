"""Model folders that somebody else made."""

from pathlib import Path

import pytest
from benchmarks.fault_campaigns.models import FILES, Case, all_cases, make_run, verdict

from autoreel.generation.run import Run


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "run"
    make_run(path)
    return path


def test_the_sound_one_is_loaded(sound: Path) -> None:
    assert Run.open(sound, device="cpu").labels == ("ad", "travel")


CASES = {case.name: case for case in all_cases(0, 0, Path("executed"))}


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(FILES[1])])
def test_nothing_is_loaded_and_nothing_executed(sound: Path, tmp_path: Path, name: str) -> None:
    case: Case = next(c for c in all_cases(0, 0, tmp_path / "executed") if c.name == name)
    assert verdict(case, sound, tmp_path, tmp_path / "executed") == ""
