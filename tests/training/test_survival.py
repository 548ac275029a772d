"""What ends a training in its midst: afterwards the same command goes on as if nothing had happened."""

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.training.toy import StepClock, ToyStage, toy_config

from autoreel.errors import OutputError, StoppedError
from autoreel.runs import RunFolder, write_weights
from autoreel.training import checkpoint
from autoreel.training.budget import Budget
from autoreel.training.checkpoint import Checkpoints
from autoreel.training.loop import Rhythm, run_stage
from autoreel.training.progress import Lines

STEPS = 40
RHYTHM = Rhythm(checkpoint_every_s=5.0, preview_every_s=1e9)  # seconds of a clock that counts steps


class Failing(ToyStage):
    """Its loader fails at a step."""

    def step(self, step: int, progress: float) -> dict[str, float]:
        if step == 23:
            raise RuntimeError("the loader met something unforeseen")
        return super().step(step, progress)


class Quiet(Lines):
    """Asks for a stop after a number of steps."""

    def __init__(self, stage: ToyStage, stop: threading.Event, after: int) -> None:
        super().__init__(lambda line: None)
        self._stage, self._stop, self._after = stage, stop, after

    def update(self, stage: str, progress: float, text: str) -> None:
        if len(self._stage.steps) >= self._after:
            self._stop.set()


def go(run: RunFolder, stage: ToyStage, budget: Budget, after: int = 10**9) -> ToyStage:
    """Train a fresh stage from where the run is."""
    stop = threading.Event()
    run_stage(stage, run, budget, Quiet(stage, stop, after), stop, rhythm=RHYTHM, clock=StepClock(stage))
    return stage


def new_run(path: Path) -> RunFolder:
    return RunFolder.create(path, toy_config())


def newest(run: RunFolder) -> bytes:
    """The file with every tensor of the newest checkpoint."""
    folder = Checkpoints(run.path("checkpoints"), ToyStage(), lambda line: None).paths()[0]
    return (folder / "state.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    run = new_run(tmp_path_factory.mktemp("whole") / "run")
    go(run, ToyStage(), Budget(steps=STEPS))
    return newest(run)


def test_an_exception_in_the_loader(tmp_path: Path, whole: bytes) -> None:
    run = new_run(tmp_path / "run")
    with pytest.raises(RuntimeError, match="unforeseen"):
        go(run, Failing(), Budget(steps=STEPS))
    stage = go(run, ToyStage(), Budget(steps=STEPS))
    assert 15 <= stage.steps[0] <= 23  # from the last state that was saved
    assert newest(run) == whole


def test_permission_that_is_lost_and_given_back(tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of a machine that runs tests may be root, to whom nothing is forbidden."""
    run, stage, write = new_run(tmp_path / "run"), ToyStage(), write_weights

    def forbidden(path: Path, *rest: Any) -> str:
        if len(stage.steps) >= 12:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return write(path, *rest)

    monkeypatch.setattr(checkpoint, "write_weights", forbidden)
    with pytest.raises(OutputError, match="permission"):
        go(run, stage, Budget(steps=STEPS))
    monkeypatch.undo()
    again = go(run, ToyStage(), Budget(steps=STEPS))
    assert again.steps[0] <= 12
    assert newest(run) == whole


def test_a_line_of_metrics_that_cannot_be_written(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is saved on the way out, and is that after the step: it must not be taken twice."""
    run, append = new_run(tmp_path / "run"), RunFolder.append_metrics

    def full(self: RunFolder, values: Any) -> None:
        if values["step"] == 13:
            raise OutputError("the disk is full")
        append(self, values)

    monkeypatch.setattr(RunFolder, "append_metrics", full)
    with pytest.raises(OutputError, match="full"):
        go(run, ToyStage(), Budget(steps=STEPS))
    monkeypatch.undo()
    assert go(run, ToyStage(), Budget(steps=STEPS)).steps[0] == 13
    assert newest(run) == whole


def test_a_stop_costs_no_schedule_of_a_budget_in_time(tmp_path: Path) -> None:
    """The time that was trained is part of the state: the files are those of a training that nothing interrupted."""
    budget = Budget(seconds=STEPS)  # the clock counts steps
    runs = [new_run(tmp_path / name) for name in ("whole", "stopped")]
    go(runs[0], ToyStage(), budget)
    for after in (7, 13):
        with pytest.raises(StoppedError):
            go(runs[1], ToyStage(), budget, after)
    stage = go(runs[1], ToyStage(), budget)
    assert stage.steps == list(range(20, STEPS))
    assert newest(runs[0]) == newest(runs[1])


def test_a_clock_that_stops_loses_no_step(tmp_path: Path, whole: bytes) -> None:
    run, stage = new_run(tmp_path / "run"), ToyStage()
    run_stage(
        stage, run, Budget(steps=STEPS), Lines(lambda line: None), threading.Event(), rhythm=RHYTHM, clock=lambda: 5.0
    )
    assert newest(run) == whole


def test_what_is_compared_is_everything(whole: bytes) -> None:
    """Weights, average and the optimizer's two moments."""
    assert all(part in whole for part in (b"module/codec/", b"module/averaged/", b"optimizer/"))
