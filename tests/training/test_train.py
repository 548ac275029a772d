"""Both stages within one budget: order, shares, resuming, refusing."""

import shutil
import signal
import threading
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from tests.training.toy import ToyStage, toy_config

from autoreel.config import Config
from autoreel.errors import RunError, RunLockedError, StoppedError, UsageError
from autoreel.runs import RunFolder, layout_of
from autoreel.training import doctor, measure, train
from autoreel.training.budget import Budget
from autoreel.training.measure import NoiseFootage
from autoreel.training.progress import Lines
from autoreel.training.stage import Export
from autoreel.training.train import BuildStage, begin


class Bench:
    """A run folder with toy stages, and what a person would have read."""

    def __init__(self, path: Path, **training: object) -> None:
        self.config = toy_config(**training)
        self.store = NoiseFootage(self.config)
        self.run = begin(path, self.store, self.config)
        self.built: list[ToyStage] = []
        self.lines: list[str] = []
        self.codec_seed = 0

    def builders(self) -> Mapping[str, BuildStage]:
        def build(name: str) -> BuildStage:
            def make(run: RunFolder, store: object, device: torch.device, budget: Budget) -> ToyStage:
                self.built.append(ToyStage(seed=self.codec_seed if name == "codec" else 1, name=name))
                return self.built[-1]

            return make

        return {"codec": build("codec"), "prior": build("prior")}

    def train(self, budget: Budget, stage: str = "all", stop: threading.Event | None = None) -> list[str]:
        """Train; returns the lines, and the stages are in `built`."""
        self.built.clear()
        self.lines.clear()
        train.train(
            RunFolder.open(self.run.root), self.store, budget=budget, stage=stage,
            report=self.lines.append, stop=stop, builders=self.builders(),
        )  # fmt: skip
        return self.lines

    def steps(self) -> dict[str, int]:
        return {stage.name: len(stage.steps) for stage in self.built}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "run", codec_share=0.25)


def test_the_codec_comes_first_and_each_gets_its_share(bench: Bench) -> None:
    bench.train(Budget(steps=20))
    assert bench.steps() == {"codec": 5, "prior": 15}
    run = RunFolder.open(bench.run.root)
    assert {name: (state.done, state.step) for name, state in run.manifest.stages.items()} == {
        "codec": (True, 5), "prior": (True, 15),
    }  # fmt: skip
    assert run.manifest.stages["prior"].codec_hash == run.manifest.codec_hash is not None
    for stage in bench.built:
        exported = stage.export().tensors
        loaded = run.load_weights(f"{stage.name}.safetensors", layout_of(exported))
        assert all(torch.equal(loaded[name], value) for name, value in exported.items())


def test_what_is_known_of_the_footage_is_in_the_run(bench: Bench) -> None:
    manifest = RunFolder.open(bench.run.root).manifest
    assert (manifest.size, manifest.rate) == ((64, 64), Fraction(25))
    assert (manifest.labels, manifest.data_hash) == ((), "noise")


def test_given_again_it_says_so_and_a_larger_budget_goes_on(bench: Bench) -> None:
    bench.train(Budget(steps=20))
    lines = bench.train(Budget(steps=20))
    assert bench.built == []
    assert [line for line in lines if "already trained" in line] == lines[-2:]
    bench.train(Budget(steps=20), stage="codec")
    assert bench.steps() == {"codec": 15}  # the whole budget is that stage's, and 5 steps are taken already


def test_a_prior_begins_again_when_its_codec_has_changed(bench: Bench) -> None:
    bench.train(Budget(steps=20))
    bench.train(Budget(steps=20), stage="codec")
    assert "prior.safetensors" not in RunFolder.open(bench.run.root).manifest.weights
    lines = bench.train(Budget(steps=20))
    assert bench.steps() == {"prior": 15}
    assert any("the codec has changed" in line for line in lines)


def test_a_stop_in_the_prior_does_not_train_the_codec_again(bench: Bench) -> None:
    stop = threading.Event()

    class Stopping(ToyStage):
        def step(self, step: int, progress: float) -> dict[str, float]:
            if step == 7 and self.name == "prior":
                stop.set()
            return super().step(step, progress)

    builders = {name: lambda run, store, device, budget, name=name: Stopping(name=name) for name in ("codec", "prior")}
    with pytest.raises(StoppedError, match="stopped in the prior at step 8"):
        train.train(
            bench.run, bench.store, budget=Budget(steps=20), stop=stop, report=print, builders=builders
        )  # fmt: skip
    bench.train(Budget(steps=20))
    assert bench.steps() == {"prior": 7}


def test_a_stop_after_the_last_step_is_not_forgotten(bench: Bench) -> None:
    stop = threading.Event()

    class StoppedAtItsEnd(ToyStage):
        def export(self) -> Export:
            stop.set()
            return super().export()

    def build(run: RunFolder, store: object, device: torch.device, budget: Budget) -> ToyStage:
        return StoppedAtItsEnd()

    with pytest.raises(StoppedError, match="stopped after the codec; it is saved"):
        train.train(
            bench.run, bench.store, budget=Budget(steps=20), stage="codec", stop=stop, report=print,
            builders={"codec": build},
        )  # fmt: skip
    assert RunFolder.open(bench.run.root).manifest.stages["codec"].done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_stage_is_set_up_ends_it_at_once(bench: Bench, number: signal.Signals) -> None:
    """Encoding footage for the prior takes minutes, and is begun again quickly."""

    def build(run: RunFolder, store: object, device: torch.device, budget: Budget) -> ToyStage:
        signal.raise_signal(number)
        pytest.fail("it goes on")

    with pytest.raises(StoppedError, match="stopped while what the codec needs is made; the same command") as caught:
        train.train(
            bench.run, bench.store, budget=Budget(steps=20), stage="codec", report=print, builders={"codec": build}
        )
    assert caught.value.exit_code == 128 + number
    bench.train(Budget(steps=20))


def test_a_kill_between_codec_and_prior_leaves_no_prior_of_another_codec(bench: Bench) -> None:
    bench.train(Budget(steps=20))
    run = RunFolder.open(bench.run.root)
    run.save_weights("codec.safetensors", ToyStage(seed=9).export().tensors, {})  # and here the kill

    class Stopping(ToyStage):
        def step(self, step: int, progress: float) -> dict[str, float]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train(
            run, bench.store, budget=Budget(steps=20), stage="prior", report=print,
            builders={"prior": lambda run, store, device, budget: Stopping(name="prior")},
        )  # fmt: skip
    assert "prior.safetensors" not in RunFolder.open(bench.run.root).manifest.weights


def test_without_checkpoints_it_goes_on_from_the_weights(bench: Bench) -> None:
    bench.train(Budget(steps=20), stage="codec")
    exported = bench.built[0].export().tensors
    shutil.rmtree(bench.run.path("checkpoints"))
    lines = bench.train(Budget(steps=21), stage="codec")
    assert any("goes on from codec.safetensors" in line for line in lines)
    assert bench.built[0].steps == [20]
    for name, value in bench.built[0].export().tensors.items():
        assert (value - exported[name]).abs().max() < 0.1, "one step from where it was"


def test_a_prior_needs_a_codec(bench: Bench) -> None:
    with pytest.raises(RunError, match="no trained codec"):
        bench.train(Budget(steps=20), stage="prior")


def test_other_footage_is_refused(bench: Bench, tmp_path: Path) -> None:
    bench.store.hash = "other"
    with pytest.raises(RunError, match="other footage"):
        bench.train(Budget(steps=20))
    config = Config.model_validate({"data": {"height": 32, "width": 48}})
    with pytest.raises(RunError, match=r"64x64 pixels, this footage is prepared at 48x32"):
        begin(bench.run.root, NoiseFootage(config))


def test_one_writer_at_a_time(bench: Bench) -> None:
    with bench.run.lock(), pytest.raises(RunLockedError, match="being written by another process"):
        bench.train(Budget(steps=20))


def test_an_unknown_stage_or_device_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="unknown stage 'decoder'"):
        bench.train(Budget(steps=20), stage="decoder")
    with pytest.raises(UsageError, match="unknown device"):
        train.train(bench.run, bench.store, budget=Budget(steps=2), device="abacus", report=print)


def test_a_change_of_version_is_said(bench: Bench) -> None:
    bench.run.update(versions={**bench.run.manifest.versions, "torch": "1.0"})
    assert any("torch 1.0 ->" in line and "no longer bit for bit" in line for line in bench.train(Budget(steps=4)))


def test_threads_are_measured_once_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path / "run", threads=0)
    asked: list[str] = []

    def measured(stage: ToyStage) -> tuple[int, dict[int, float]]:
        asked.append(stage.name)
        return 1, {2: 1.5, 1: 1.0}

    monkeypatch.setattr(train, "fastest_threads", measured)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    before = torch.get_num_threads()
    lines = bench.train(Budget(steps=400))
    assert asked == ["codec"]
    assert "training with 1 thread (measured: 2: 1.50 s/step, 1: 1.00 s/step)" in lines
    assert RunFolder.open(bench.run.root).manifest.threads == 1
    assert torch.get_num_threads() == before


def test_only_a_measured_number_of_threads_is_kept_and_it_is_set_before_anything_is_computed(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", threads=0)
    bench.train(Budget(steps=4))
    assert RunFolder.open(bench.run.root).manifest.threads is None
    RunFolder.open(bench.run.root).update(threads=1)
    found: list[int] = []

    def build(run: RunFolder, store: object, device: torch.device, budget: Budget) -> ToyStage:
        found.append(torch.get_num_threads())
        return ToyStage()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for other in ({}, {"threads": 3}, {"threads": 1, "machine": "another"}):
            RunFolder.open(bench.run.root).update(**other)
            run, further = RunFolder.open(bench.run.root), Budget(steps=9 + len(found))
            train.train(run, bench.store, budget=further, stage="codec", report=print, builders={"codec": build})
    finally:
        torch.set_num_threads(before)
    assert found == [1, 2, 2], "not that of a machine with more cores, nor of another one"


def test_auto_takes_the_preset_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "codec_step_s", lambda config, device: 0.1)
    monkeypatch.setattr(measure, "codec_step_s", lambda config, device: {"small": 0.2, "base": 3.0}[config.preset])
    lines: list[str] = []
    assert train.auto_config(Budget.parse("20m"), device="cpu", report=lines.append).preset == "small"
    assert train.auto_config(Budget.parse("1m"), device="cpu", report=lines.append).preset == "tiny"
    assert lines[0] == "preset small for 20m00s (measured: small 0.20 s/step, base 3.00 s/step)"
    parts = {"codec": {"backbone": "transformer", "widths": (64, 128, 256)}}  # no stages for 1/16
    assert train.auto_config(Budget.parse("20m"), device="cpu", parts=parts, report=lines.append).preset == "tiny"
    assert lines[-1] == "preset tiny for 20m00s"
    told = list(doctor._speed(Budget.parse("20m")))
    assert "largest preset for a budget of 20m00s: small" in told[-1], "the doctor names the one that is taken"


def test_auto_measures_the_parts_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"resnet": 0.2, "transformer": 9.0}
    monkeypatch.setattr(measure, "codec_step_s", lambda config, device: slow[config.codec.backbone])
    for backbone, preset in (("resnet", "small"), ("transformer", "tiny")):
        parts = {"codec": {"backbone": backbone}}
        assert train.auto_config(Budget.parse("20m"), device="cpu", parts=parts).preset == preset


@pytest.mark.parametrize(("errors", "said"), [((0.9, 0.3, 0.38), False), ((0.9, 0.3, 0.4, 0.6), True), ((), False)])
def test_that_footage_is_known_by_heart_is_said(tmp_path: Path, errors: tuple[float, ...], said: bool) -> None:
    run = RunFolder.create(tmp_path / "run", toy_config())
    with run.lock():
        run.append_metrics({"stage": "codec", "step": 9, "validation/flow_next": 0.01})
        run.append_metrics({"stage": "prior", "step": 1, "validation/flow_next": float("nan")})
        for number, error in enumerate(errors):
            run.append_metrics({"stage": "prior", "step": 100 * (1 + number), "validation/flow_next": error})
    told: list[str] = []
    train._note_learned_by_heart(run, Lines(told.append), 0)
    assert bool(told) == said
    train._note_learned_by_heart(run, Lines(lambda line: pytest.fail(line)), 300)  # one look since then, or none
    if said:
        assert "lowest after 200 steps (0.30, now 0.60)" in told[0]
