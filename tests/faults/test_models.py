"""Model folders that somebody else made."""

from pathlib import Path

import pytest
from benchmarks.fault_campaigns.models import FILES, Case, all_cases, make_run, verdict
from benchmarks.fault_campaigns.trainings import SOUND, make_training, training_verdict, trainings

from autoreel.data.store import FootageStore
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


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FootageStore]:
    work = tmp_path_factory.mktemp("begun")
    return work / "run", make_training(work / "run", work)


@pytest.mark.parametrize("name", [case.name for case in trainings(Path("victim"))])
def test_a_training_that_somebody_else_began_is_refused_or_harmless(
    begun: tuple[Path, FootageStore], tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    case = next(case for case in trainings(victim) if case.name == name)
    assert training_verdict(case, *begun, tmp_path, victim) == ""


def test_the_sound_training_goes_on(begun: tuple[Path, FootageStore], tmp_path: Path) -> None:
    assert training_verdict(SOUND, *begun, tmp_path, tmp_path / "victim") == "was trained on"
