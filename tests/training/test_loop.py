"""The loop: what it keeps, how it stops, and how it goes on."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.toy import StepClock, ToyStage, toy_config, train_toy

from autoreel.errors import DivergedError, OutputError, StoppedError
from autoreel.runs import RunFolder
from autoreel.runs import weights as run_weights
from autoreel.training import checkpoint, loop
from autoreel.training.budget import Budget
from autoreel.training.checkpoint import Checkpoints, capture
from autoreel.training.loop import Rhythm, run_stage, stop_on_signals, stopped_error
from autoreel.training.progress import Lines
from autoreel.training.stage import usable

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", toy_config())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ToyStage:
    """A stage after 120 steps without any interruption."""
    stage = ToyStage()
    train_toy(RunFolder.create(tmp_path_factory.mktemp("whole") / "run", toy_config()), stage, Budget(steps=120))
    return stage


def assert_same(one: ToyStage, other: ToyStage) -> None:
    """Every tensor and every plain value of two stages, bit for bit."""
    first, second = capture(one), capture(other)
    assert first.plain == second.plain
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        assert torch.equal(value, second.tensors[name]), name


def state_on_disk(path: Path) -> ToyStage:
    """A fresh stage in the newest state of a run."""
    stage = ToyStage()
    assert Checkpoints(path / "checkpoints", stage, lambda line: None).load() is not None
    return stage


class StopAfter(Lines):
    """Asks for a stop once a step has been taken, as a person would."""

    def __init__(self, step: int, stage: ToyStage, stop: threading.Event) -> None:
        super().__init__(lambda line: None)
        self._at, self._stage, self._asked = step, stage, stop

    def update(self, stage: str, progress: float, text: str) -> None:
        if len(self._stage.steps) >= self._at:
            self._asked.set()


def train_and_stop(run: RunFolder, step: int, budget: Budget, **options: Any) -> StoppedError:
    stage, stop = ToyStage(), threading.Event()
    with pytest.raises(StoppedError) as stopped:
        run_stage(stage, run, budget, StopAfter(step, stage, stop), stop, clock=StepClock(stage), **options)
    return stopped.value


def test_it_takes_the_steps_and_keeps_what_they_made(run: RunFolder) -> None:
    stage = ToyStage()
    lines = train_toy(run, stage, Budget(steps=20))
    assert stage.steps == list(range(20))
    rows = list(run.metrics())
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 21))
    assert rows[-1].keys() == {"stage", "step", "elapsed_s", "validation/loss"}
    assert [path.name for path in run.path("samples").glob("*.txt")] == ["codec-000020.txt"]
    assert any("100%" in line and "loss" in line and "steps/s" in line for line in lines)
    assert_same(stage, state_on_disk(run.root))


def test_a_stop_and_the_same_command_again_equal_no_interruption(run: RunFolder, whole: ToyStage) -> None:
    message = str(train_and_stop(run, 23, Budget(steps=120)))
    assert message == "stopped in the codec at step 23 (19%); it is saved, the same command goes on"
    stage = ToyStage(seed=0)
    train_toy(run, stage, Budget(steps=120))
    assert stage.steps == list(range(23, 120))
    assert_same(stage, whole)
    assert [row["step"] for row in run.metrics() if "loss" in row] == list(range(1, 121))


def test_a_finished_stage_takes_no_step_and_a_larger_budget_goes_on(run: RunFolder, whole: ToyStage) -> None:
    train_toy(run, ToyStage(), Budget(steps=120))
    again = ToyStage()
    train_toy(run, again, Budget(steps=120))
    assert again.steps == []
    assert_same(again, whole)
    further = ToyStage()
    train_toy(run, further, Budget(steps=130))
    assert further.steps == list(range(120, 130))


def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path, whole: ToyStage) -> None:
    command = [sys.executable, "-m", "tests.training.toy", str(tmp_path / "run"), "120"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    for step in (20, 70):
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
            wait_for_checkpoint(tmp_path / "run", step)
            process.kill()
        assert process.returncode == -signal.SIGKILL
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=600)
    assert_same(state_on_disk(tmp_path / "run"), whole)
    assert [row["step"] for row in RunFolder.open(tmp_path / "run").metrics() if "loss" in row] == list(range(1, 121))


def wait_for_checkpoint(run: Path, step: int) -> None:
    deadline = time.monotonic() + 300
    while not any(int(path.name[-8:]) >= step for path in (run / "checkpoints").glob("codec-*")):
        assert time.monotonic() < deadline, "the training never came so far"
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_ask_for_a_stop_and_a_second_ctrl_c_insists(
    number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup
    request.addfinalizer(lambda: signal.signal(number, before))
    notes: list[str] = []
    with stop_on_signals(notes.append) as stop:
        os.kill(os.getpid(), number)
        assert stop.is_set()
        assert "saving" in notes[0]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stopped_error("stopped", stop).exit_code == 128 + number
    assert stopped_error("stopped", threading.Event()).exit_code == StoppedError.exit_code == 130


def test_nohup_is_heeded(request: pytest.FixtureRequest) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, before))
    with stop_on_signals(lambda line: None) as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.is_set()


def test_time_already_trained_is_part_of_the_state(run: RunFolder) -> None:
    first, stop = ToyStage(), threading.Event()
    with pytest.raises(StoppedError):
        run_stage(first, run, Budget(seconds=10), StopAfter(4, first, stop), stop, clock=StepClock(first))
    second = ToyStage()
    ended = run_stage(
        second, run, Budget(seconds=10), Lines(lambda line: None), threading.Event(), clock=StepClock(second)
    )  # fmt: skip
    assert second.steps == list(range(4, 10))
    assert (ended.step, ended.elapsed_s) == (10, 10.0)


def test_setting_up_counts_once(run: RunFolder) -> None:
    for expected in ([0, 1, 2, 3], []):
        stage = ToyStage()
        run_stage(
            stage, run, Budget(seconds=10), Lines(lambda line: None), threading.Event(),
            setup_s=6.0, clock=StepClock(stage),
        )  # fmt: skip
        assert stage.steps == expected


def test_checkpoints_and_previews_come_in_their_rhythm(run: RunFolder) -> None:
    stage = ToyStage()
    saved: list[int] = []

    class Watching(Lines):
        def update(self, name: str, progress: float, text: str) -> None:
            saved.extend(int(path.name[-8:]) for path in run.path("checkpoints").iterdir())

    run_stage(
        stage, run, Budget(seconds=40), Watching(lambda line: None), threading.Event(),
        rhythm=Rhythm(checkpoint_every_s=10, preview_every_s=20), clock=StepClock(stage),
    )  # fmt: skip
    assert sorted(set(saved)) == [0, 10, 20, 30]
    shown = sorted(int(path.stem[-6:]) for path in run.path("samples").glob("*.txt"))
    assert shown == [5, 25, 40]


def test_a_clock_that_stands_still_does_not_keep_it_from_saving(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MAX_UNSAVED_STEPS", 10)

    def fail(step: int, loss: float) -> float:
        if step == 25:
            raise RuntimeError("the loader broke")
        return loss

    with pytest.raises(RuntimeError, match="the loader broke"):
        run_stage(
            ToyStage(fault=fail), run, Budget(steps=100), Lines(lambda line: None), threading.Event(), clock=lambda: 5.0
        )
    place = Checkpoints(run.path("checkpoints"), ToyStage(), print).load()
    assert place is not None and place.step == 20


def test_a_step_that_is_not_finite_changes_nothing(run: RunFolder) -> None:
    stage = ToyStage(fault=lambda step, loss: math.nan if step == 5 else loss)
    before: dict[str, torch.Tensor] = {}

    class Looking(Lines):
        def update(self, name: str, progress: float, text: str) -> None:
            if len(stage.steps) == 5:
                before.update(capture(stage, copy=True).tensors)
            if len(stage.steps) == 6:
                after = capture(stage).tensors
                assert all(torch.equal(value, after[name]) for name, value in before.items())

    run_stage(stage, run, Budget(steps=10), Looking(lambda line: None), threading.Event())
    assert len(before) > 0
    assert [row["step"] for row in run.metrics() if "skipped" in row] == [6]
    assert not any("rewound_to" in row for row in run.metrics())


def test_a_step_that_is_left_out_is_made_up_for(run: RunFolder) -> None:
    stage = ToyStage(fault=lambda step, loss: math.nan if step in (3, 7) else loss)
    train_toy(run, stage, Budget(steps=10))
    assert stage.steps == list(range(12))
    again = ToyStage()
    train_toy(run, again, Budget(steps=12))
    assert again.steps == [12, 13]  # what was lost is known to the next session too


def test_a_loss_far_above_all_before_it_changes_nothing(run: RunFolder) -> None:
    class Careful(ToyStage):
        def step(self, step: int, progress: float) -> dict[str, float]:
            usable("the toy's loss", torch.tensor(1e9 if step == 30 else 0.0))
            return super().step(step, progress)

    lines = train_toy(run, Careful(), Budget(steps=40))
    assert [row["step"] for row in run.metrics() if "skipped" in row] == [31]
    assert any("the toy's loss is 1e+09, far above" in line for line in lines)


def test_three_in_a_row_go_back_with_half_the_rate(run: RunFolder) -> None:
    stage = ToyStage(fault=lambda step, loss: math.inf if step in (20, 21, 22) else loss)
    lines = train_toy(run, stage, Budget(steps=40), checkpoint_every_s=1.0)
    rewound = [row for row in run.metrics() if "rewound_to" in row]
    assert [(row["step"], row["rewound_to"]) for row in rewound] == [(23, 19)]
    assert stage.steps == list(range(44))  # the data of the bad steps is left behind; 40 updates are in the weights
    place = Checkpoints(run.path("checkpoints"), ToyStage(), print).load()
    assert place is not None and (place.step, place.updates) == (44, 40)
    for optimizer, rate in zip(stage.optimizers().values(), (0.01, 0.01, 0.001), strict=True):
        assert [group["base_lr"] for group in optimizer.param_groups] == [rate / 2]
    assert any("half the rate" in line for line in lines)


def test_the_rate_is_given_back_after_one_divergence_and_stays_low_after_two(run: RunFolder) -> None:
    def base_rates(faults: tuple[int, ...]) -> list[float]:
        folder = RunFolder.create(run.root.with_name(f"run-{len(faults)}"), toy_config())
        stage = ToyStage(fault=lambda step, loss: math.nan if step in faults else loss)
        train_toy(folder, stage, Budget(steps=160), checkpoint_every_s=1.0)
        return [group["base_lr"] for optimizer in stage.optimizers().values() for group in optimizer.param_groups]

    assert base_rates((20, 21, 22)) == [0.01, 0.01, 0.001]
    assert base_rates((20, 21, 22, 90, 91, 92)) == [0.005, 0.005, 0.0005]


def test_a_loss_far_over_its_median_goes_back(run: RunFolder) -> None:
    stage = ToyStage(fault=lambda step, loss: 1e6 if 40 <= step < 60 else 1.0)
    train_toy(run, stage, Budget(steps=80), checkpoint_every_s=1.0)
    rewound = [row["rewound_to"] for row in run.metrics() if "rewound_to" in row]
    assert len(rewound) == 1
    assert rewound[0] < 40


def test_a_training_that_cannot_be_brought_back_ends_with_the_step(run: RunFolder) -> None:
    stage = ToyStage(fault=lambda step, loss: math.nan if step >= 10 else loss)
    with pytest.raises(DivergedError, match="since step 19, and going back with half the rate 3 times did not help"):
        train_toy(run, stage, Budget(steps=40), checkpoint_every_s=1.0)
    for name, value in capture(state_on_disk(run.root)).tensors.items():
        assert torch.isfinite(value).all(), name


def test_an_edited_rate_counts_and_what_a_divergence_took_is_given_back(run: RunFolder) -> None:
    def rates(stage: ToyStage, name: str) -> list[float]:
        return [optimizer.param_groups[0][name] for optimizer in stage.optimizers().values()]

    def rewinds() -> int:
        place = Checkpoints(run.path("checkpoints"), ToyStage(), print).load()
        assert place is not None
        return int(place.watch["rewinds"])

    train_toy(run, ToyStage(fault=lambda step, loss: math.nan if step in (10, 11, 12) else loss), Budget(steps=20))
    same = ToyStage()
    train_toy(run, same, Budget(steps=25))
    assert (rates(same, "base_lr"), rates(same, "rate_scale"), rewinds()) == ([0.005, 0.005, 0.0005], [0.5] * 3, 1)
    edited = ToyStage()
    for optimizer in edited.optimizers().values():  # as a stage sets it up from an edited config.toml
        optimizer.param_groups[0]["base_lr"] = 0.002
    lines = train_toy(run, edited, Budget(steps=30))
    assert any("made with another rate" in line for line in lines)
    assert (rates(edited, "base_lr"), rates(edited, "rate_scale")) == ([0.002] * 3, [1.0] * 3)
    rewound = [row for row in run.metrics() if "rewound_to" in row]
    assert len(rewound) == 1
    body = next(run.path("checkpoints").glob("codec-00000043/state.json")).read_text().partition("\n")[2]
    assert json.loads(body)["watch"]["rewinds"] == 0


def test_a_high_loss_at_the_end_throws_nothing_away(run: RunFolder) -> None:
    stage = ToyStage(fault=lambda step, loss: 1e6 if step == 39 else 1.0)
    train_toy(run, stage, Budget(steps=40))
    assert not any("rewound_to" in row for row in run.metrics())
    assert stage.steps == list(range(41))  # one more, to see that it has passed
    assert_same(stage, state_on_disk(run.root))


@pytest.mark.parametrize("budget", [Budget(steps=100), Budget(seconds=100)], ids=["steps", "time"])
@pytest.mark.parametrize("last", [100, 110])
def test_high_losses_at_the_end_reach_no_checkpoint(run: RunFolder, budget: Budget, last: int) -> None:
    """Either they pass in a few steps more, or the state from before them is what is kept."""
    stage = ToyStage(fault=lambda step, loss: 50 * loss + 1e3 if 88 <= step < last else loss)
    train_toy(run, stage, budget, checkpoint_every_s=10)
    place = Checkpoints(run.path("checkpoints"), ToyStage(), print).load()
    assert place is not None and place.watch["trouble_since"] is None and place.watch["spikes"] == 0
    assert_same(stage, state_on_disk(run.root))
    rewound = [row["rewound_to"] for row in run.metrics() if "rewound_to" in row]
    if last == 100:
        assert rewound == [] and place.step == 101
    elif budget.steps is None:
        assert rewound == [80] and (place.step, place.updates) == (105, 80)
    else:
        assert rewound == [80] and place.updates == 100 and stage.steps == list(range(place.step))


def test_a_stop_in_trouble_at_the_end_saves_nothing_of_it(run: RunFolder) -> None:
    stage, stop = ToyStage(fault=lambda step, loss: 1e6 if step >= 38 else 1.0), threading.Event()
    rhythm = Rhythm(checkpoint_every_s=10, preview_every_s=1e9)
    with pytest.raises(StoppedError, match="from the last good state"):
        run_stage(
            stage, run, Budget(steps=40), StopAfter(42, stage, stop), stop, rhythm=rhythm, clock=StepClock(stage)
        )
    assert Checkpoints(run.path("checkpoints"), ToyStage(), print).paths()[0].name == "codec-00000030"


def test_trouble_at_every_end_is_given_up(run: RunFolder) -> None:
    stage = ToyStage(fault=lambda step, loss: 1e6 if step >= 38 else 1.0)
    with pytest.raises(DivergedError, match="3 times did not help"):
        train_toy(run, stage, Budget(steps=40), checkpoint_every_s=10)


def poisoned(at: Callable[[int], bool]) -> ToyStage:
    """A stage that has a weight that is not finite after some steps, with no loss that tells."""
    stage = ToyStage()

    def poison(step: int, loss: float) -> float:
        if at(step):
            with torch.no_grad():
                stage.scale.bias.fill_(math.inf)
        return 1.0

    stage.fault = poison
    return stage


@pytest.mark.parametrize("budget", [Budget(steps=38), Budget(seconds=38)], ids=["steps", "time"])
def test_weights_that_are_not_finite_at_the_end_are_not_kept(run: RunFolder, budget: Budget) -> None:
    stage = poisoned(lambda step: step == 37)
    lines = train_toy(run, stage, budget, checkpoint_every_s=10)
    assert any("a weight that is not finite; back to the state of step 30" in line for line in lines)
    assert all(torch.isfinite(value).all() for value in capture(stage).tensors.values())
    assert_same(stage, state_on_disk(run.root))
    place = Checkpoints(run.path("checkpoints"), ToyStage(), print).load()
    # Steps are asked for by number, and are taken again; a time is over when it is over.
    assert place is not None and place.updates == (38 if budget.steps else 30)


def test_weights_that_are_not_finite_at_every_end_are_given_up(run: RunFolder) -> None:
    with pytest.raises(DivergedError, match=r"a weight that is not finite since step 62, .* 3 times did not help"):
        train_toy(run, poisoned(lambda step: step in (37, 45, 53, 61)), Budget(steps=38), checkpoint_every_s=10)


def test_weights_that_are_not_finite_are_never_saved(run: RunFolder) -> None:
    stage = poisoned(lambda step: step == 9)
    train_toy(run, stage, Budget(steps=20), checkpoint_every_s=1.0)
    assert [row["rewound_to"] for row in run.metrics() if "rewound_to" in row] == [9]
    assert all(torch.isfinite(value).all() for value in capture(stage).tensors.values())


def test_a_damaged_checkpoint_is_passed_over(run: RunFolder, whole: ToyStage) -> None:
    train_and_stop(run, 30, Budget(steps=120), rhythm=Rhythm(checkpoint_every_s=10.0, preview_every_s=1e9))
    newest, older = sorted(run.path("checkpoints").iterdir(), reverse=True)
    assert (newest.name, older.name) == ("codec-00000030", "codec-00000020")
    content = bytearray((newest / "state.safetensors").read_bytes())
    content[-3] ^= 4
    (newest / "state.safetensors").write_bytes(content)
    stage = ToyStage()
    lines = train_toy(run, stage, Budget(steps=120))
    assert any(f"{newest.name} cannot be used" in line for line in lines)
    assert stage.steps == list(range(20, 120))
    assert_same(stage, whole)


def full_disk(monkeypatch: pytest.MonkeyPatch, fails: Any) -> None:
    """Make writing a checkpoint fail with a full disk while `fails(number of the attempt)`."""
    attempts = iter(range(10**6))
    write = run_weights.write_weights

    def writing(path: Path, *arguments: Any) -> str:
        if fails(next(attempts)):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, *arguments)

    monkeypatch.setattr(checkpoint, "write_weights", writing)


def test_on_a_full_disk_the_older_checkpoint_makes_room(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch, lambda attempt: attempt == 10)
    stage = ToyStage()
    lines = train_toy(run, stage, Budget(steps=30), checkpoint_every_s=1.0)
    assert sum("giving up the older checkpoint" in line for line in lines) == 1
    assert_same(stage, state_on_disk(run.root))
    assert len(list(run.path("checkpoints").iterdir())) == 2


def test_a_run_that_could_not_save_its_end_fails_and_goes_on_later(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, whole: ToyStage
) -> None:
    with monkeypatch.context() as full:
        full_disk(full, lambda attempt: attempt >= 10)
        with pytest.raises(OutputError, match="disk is full"):
            train_toy(run, ToyStage(), Budget(steps=120), checkpoint_every_s=1.0)
    assert [path.name for path in run.path("checkpoints").iterdir()] == ["codec-00000009"]
    stage = ToyStage()
    train_toy(run, stage, Budget(steps=120))
    assert_same(stage, whole)


def test_a_preview_that_cannot_be_written_is_said_and_forgiven(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def preview(self: ToyStage, folder: Path, step: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ToyStage, "preview", preview)
    assert any("no preview" in line for line in train_toy(run, ToyStage(), Budget(steps=5)))


def test_metrics_are_json_lines(run: RunFolder) -> None:
    train_toy(run, ToyStage(), Budget(steps=3))
    lines = run.path("metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["stage"] == "codec" for line in lines)
