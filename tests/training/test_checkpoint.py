"""The state of a stage on disk and in memory, for any optimizer, bit for bit."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tests.training.toy import ToyStage
from torch import nn

from autoreel.errors import DivergedError, RunError, UnreadableError
from autoreel.training import checkpoint
from autoreel.training.checkpoint import Checkpoints, Place, capture, restore
from autoreel.training.muon import Muon
from autoreel.training.stage import Export, step_generator
from autoreel.training.watch import Watch

OPTIMIZERS: dict[str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.5, 0.9)),
    "muon": lambda p: torch.optim.Muon([x for x in p if x.ndim == 2], lr=0.1),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
}


class OneOptimizer:
    """A stage of a small convolution, channels last, with a running average in bfloat16 and a counter.

    Args:
        make: its optimizer.
    """

    name, seed = "codec", 0

    def __init__(self, make: Callable[[list[torch.Tensor]], torch.optim.Optimizer]) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net.register_buffer("coarse", torch.zeros(3, dtype=torch.bfloat16))
        self.optimizer = make(list(self.net.parameters()))
        self.optimizer.param_groups[0]["base_lr"] = 0.1

    def modules(self) -> Mapping[str, nn.Module]:
        return {"net": self.net}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"it": self.optimizer}

    def step(self, step: int, progress: float) -> dict[str, float]:
        x = torch.randn(8, 3, 4, 4, generator=step_generator(self.seed, self.name, step))
        self.optimizer.zero_grad()
        loss = self.net(x).square().mean()
        torch.autograd.backward(loss)
        self.optimizer.step()
        return {"loss": loss.item()}

    def validate(self) -> dict[str, float]:
        return {}

    def preview(self, folder: Path, step: int) -> None:
        return None

    def export(self) -> Export:
        return Export({}, {})


def assert_same(one: OneOptimizer | ToyStage, other: OneOptimizer | ToyStage) -> None:
    first, second = capture(one), capture(other)
    assert first.plain == second.plain
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        assert value.dtype == second.tensors[name].dtype
        assert torch.equal(value, second.tensors[name]), name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_goes_on_as_if_nothing_had_happened(name: str, tmp_path: Path) -> None:
    whole = OneOptimizer(OPTIMIZERS[name])
    for step in range(4):
        whole.step(step, 0.0)
    watch = Watch()
    watch.see(3, 0.1)
    Checkpoints(tmp_path, whole, print).save(Place(4, 1.5, watch.state()))
    fresh = OneOptimizer(OPTIMIZERS[name])
    assert Checkpoints(tmp_path, fresh, print).load() == Place(4, 1.5, watch.state())
    assert_same(whole, fresh)
    for parameter, state in fresh.optimizer.state.items():
        for value in state.values():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                assert value.stride() == parameter.stride()  # the same sums in the same order
    for step in range(4, 8):
        whole.step(step, 0.0)
        fresh.step(step, 0.0)
    assert_same(whole, fresh)


def test_a_state_of_torchs_own_muon_goes_on_with_ours() -> None:
    theirs = OneOptimizer(OPTIMIZERS["muon"])
    ours = OneOptimizer(lambda p: Muon([cast(nn.Parameter, x) for x in p if x.ndim == 2], lr=0.1))
    theirs.step(0, 0.0)
    restore(ours, capture(theirs, copy=True))
    assert ours.step(1, 0.0) == theirs.step(1, 0.0)


def test_a_copy_in_memory_does_not_move_with_the_stage() -> None:
    stage = ToyStage()
    stage.step(0, 0.0)
    reference = ToyStage()
    before = capture(stage, copy=True)
    restore(reference, before)
    stage.step(1, 0.0)
    restore(stage, before)
    assert_same(stage, reference)
    stage.step(1, 0.0)
    assert not torch.equal(before.tensors["module/codec/0.weight"], capture(stage).tensors["module/codec/0.weight"])


def test_a_checkpoint_before_the_first_step_is_one_too(tmp_path: Path) -> None:
    fresh, other = ToyStage(), ToyStage(seed=5)
    Checkpoints(tmp_path, fresh, print).save(Place())
    other.step(0, 0.0)
    Checkpoints(tmp_path, other, print).load()
    assert_same(fresh, other)


def test_two_are_kept_and_a_stage_sees_only_its_own(tmp_path: Path) -> None:
    codec, prior = ToyStage(name="codec"), ToyStage(name="prior")
    for step in (0, 10, 20, 30):
        Checkpoints(tmp_path, codec, print).save(Place(step))
    Checkpoints(tmp_path, prior, print).save(Place(5))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codec-00000020", "codec-00000030", "prior-00000005"]
    Checkpoints(tmp_path, codec, print).clear()
    assert [path.name for path in tmp_path.iterdir()] == ["prior-00000005"]
    assert Checkpoints(tmp_path, codec, print).load() is None


def test_an_earlier_one_can_be_asked_for_and_the_later_is_gone(tmp_path: Path) -> None:
    stage = ToyStage()
    checkpoints = Checkpoints(tmp_path, stage, print)
    for step in (10, 20):
        checkpoints.save(Place(step))
    assert checkpoints.load(before=10) is None
    assert checkpoints.load(before=20) == Place(10)
    assert [path.name for path in checkpoints.paths()] == ["codec-00000010"]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def as_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a bit of the tensors": lambda folder: flip(folder / "state.safetensors", -1),
    "a bit of the header": lambda folder: flip(folder / "state.safetensors", 40),
    "a bit of the plain values": lambda folder: flip(folder / "state.json", 200),
    "a bit of the hash": lambda folder: flip(folder / "state.json", 3),
    "cut tensors": lambda folder: os.truncate(folder / "state.safetensors", 100),
    "no tensors": lambda folder: (folder / "state.safetensors").unlink(),
    "empty plain values": lambda folder: (folder / "state.json").write_text(""),
    "plain values that are no text": lambda folder: (folder / "state.json").write_bytes(b"\xff\xfe"),
    "no plain values": lambda folder: (folder / "state.json").unlink(),
    "a pipe for plain values": lambda folder: as_pipe(folder / "state.json"),
    "a pipe for tensors": lambda folder: as_pipe(folder / "state.safetensors"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_the_older_is_used(tmp_path: Path, damage: str) -> None:
    stage, lines = ToyStage(), list[str]()
    checkpoints = Checkpoints(tmp_path, stage, lines.append)
    checkpoints.save(Place(1))
    checkpoints.save(Place(2))
    DAMAGES[damage](tmp_path / "codec-00000002")
    assert checkpoints.load() == Place(1)
    assert "codec-00000002 cannot be used" in lines[0]
    DAMAGES[damage](tmp_path / "codec-00000001")
    with pytest.raises(RunError, match="remove it to train anew"):
        checkpoints.load()
    assert (tmp_path / "codec-00000001").exists()  # the last one is never thrown away
    assert (tmp_path / "damaged-codec-00000002").exists()


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_one_that_cannot_be_read_now_stops_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    checkpoints, opened = Checkpoints(tmp_path, ToyStage(), print), os.open
    for step in (15, 20):
        checkpoints.save(Place(step))

    def refused(path: Any, *rest: Any, **others: Any) -> int:
        if str(path).endswith(f"codec-00000020/{name}"):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *rest, **others)

    with monkeypatch.context() as broken, pytest.raises(UnreadableError, match=r"cannot be read: .*the same command"):
        broken.setattr(os, "open", refused)
        checkpoints.load()
    assert checkpoints.load() == Place(20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codec-00000015", "codec-00000020"]


def test_a_folder_that_cannot_be_read_now_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, ToyStage(), print)
    checkpoints.save(Place(20))

    def refused(path: Any) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as broken, pytest.raises(UnreadableError, match="cannot be read: Input/output error"):
        broken.setattr(os, "listdir", refused)
        checkpoints.load()
    assert checkpoints.load() == Place(20)


def test_damaged_ones_are_put_aside_two_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, ToyStage(), lambda line: None)
    checkpoints.save(Place(1))
    for step in (20, 20, 30, 40):
        checkpoints.save(Place(step))
        flip(tmp_path / f"codec-{step:08d}" / "state.json", 200)
        assert checkpoints.load() == Place(1)
    kept = ["codec-00000001", "damaged-codec-00000030", "damaged-codec-00000040"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    checkpoints.save(Place(2))

    def full_once(path: Path, *rest: Any) -> str:
        monkeypatch.undo()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_weights", full_once)
    checkpoints.save(Place(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codec-00000002", "codec-00000003"]


def first_group(body: dict[str, Any], optimizer: str = "vectors") -> list[list[Any]]:
    """The settings of an optimizer, as they are written."""
    state = dict(body["plain"]["optimizers"][optimizer]["table"])
    return state["param_groups"]["list"][0]["table"]  # type: ignore[no-any-return]


def setting(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    def change(body: dict[str, Any]) -> None:
        next(pair for pair in first_group(body) if pair[0] == name)[1] = value

    return change


def other_tensor(body: dict[str, Any]) -> None:
    state = states(body)
    state[0][1], state[1][1] = state[1][1], state[0][1]  # of parameters of other shapes


def states(body: dict[str, Any], optimizer: str = "vectors") -> list[Any]:
    """What an optimizer keeps of each parameter, as it is written."""
    return dict(body["plain"]["optimizers"][optimizer]["table"])["state"]["table"]  # type: ignore[no-any-return]


def kept_instead(optimizer: str, table: list[list[object]]) -> Callable[[dict[str, Any]], object]:
    def change(body: dict[str, Any]) -> None:
        # The tensors are still named somewhere, or the file would be refused for holding more than that.
        first_group(body, optimizer).append(["before", states(body, optimizer)[0][1]])
        states(body, optimizer)[0][1] = {"table": table}

    return change


def without_momentum(body: dict[str, Any]) -> None:
    group = first_group(body, "matrices")
    group.remove(next(pair for pair in group if pair[0] == "momentum"))


FORGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no plain values": lambda body: body.pop("plain"),
    "no optimizers": lambda body: body["plain"].pop("optimizers"),
    "optimizers a list": lambda body: body["plain"].update(optimizers=[1]),
    "an optimizer a list": lambda body: body["plain"]["optimizers"].update(vectors=[1]),
    "no groups": lambda body: body["plain"]["optimizers"].update(vectors={"table": []}),
    "deep": lambda body: body["plain"].update(optimizers=json.loads("[" * 900 + "]" * 900)),
    "deep tables": lambda body: body["plain"].update(optimizers=json.loads('{"list":[' * 400 + "]}" * 400)),
    "no rate": lambda body: first_group(body).pop(0),
    "a rate of text": setting("lr", "x"),
    "betas of one": setting("betas", {"tuple": [0.9]}),
    "no parameters": setting("params", {"list": []}),
    "a scale of zero": lambda body: first_group(body).append(["rate_scale", 0.0]),
    "states of other parameters": other_tensor,
    "a state of a count only": kept_instead("vectors", [["step", 3.0]]),
    "a state of numbers": kept_instead("vectors", [["step", 3.0], ["exp_avg", 0.5], ["exp_avg_sq", 0.5]]),
    "a state of a number": kept_instead("matrices", [["momentum_buffer", 0.5]]),
    "no momentum": without_momentum,
    "a setting that nothing here can do": setting("capturable", True),
    "a state of no parameter": lambda body: states(body).append([99, {"table": []}]),
    "a watch of text": lambda body: body.update(watch={"losses": "abc"}),
    "a watch with a number of text": lambda body: body["watch"].update(spikes="3"),
    "a watch with a loss that is none": lambda body: body["watch"].update(losses=[None]),
    "more lost than taken": lambda body: body["watch"].update(lost=99),
    "time below zero": lambda body: body.update(elapsed_s=-1e9),
    "time of text": lambda body: body.update(elapsed_s="1"),
    "time without end": lambda body: body.update(elapsed_s=10**400),
    "another step": lambda body: body.update(step=7),
    "a step of truth": lambda body: body.update(step=True),
}  # fmt: skip


def forge(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a checkpoint says, and make its hash fit."""
    body = json.loads((folder / "state.json").read_text().partition("\n")[2])
    change(body)
    text = json.dumps(body)
    (folder / "state.json").write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n")


@pytest.mark.parametrize("name", FORGED)
def test_one_whose_hash_fits_and_that_we_cannot_have_written_is_refused(tmp_path: Path, name: str) -> None:
    stage = ToyStage()
    if "state" in name:  # else there are no tensors that a forger would have to leave out as well
        stage.step(0, 0.0)
    checkpoints = Checkpoints(tmp_path, stage, lambda line: None)
    checkpoints.save(Place(1, 1.0, Watch().state()))
    forge(tmp_path / "codec-00000001", FORGED[name])
    with pytest.raises(RunError, match=r"remove it to train anew \(.*(not understood|has the optimizers)") as refused:
        checkpoints.load()
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_that_of_other_networks_is_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path, ToyStage(), print).save(Place(1))
    with pytest.raises(RunError, match="holds other weights than its config describes"):
        Checkpoints(tmp_path, OneOptimizer(OPTIMIZERS["sgd"]), print).load()


def test_numbers_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    stage = ToyStage()
    stage.step(0, 0.0)
    capture(stage).tensors["optimizer/scale/state/0/momentum_buffer"].fill_(float("inf"))
    with pytest.raises(DivergedError, match="momentum_buffer is not finite"):
        Checkpoints(tmp_path, stage, print).save(Place(1))
    assert list(tmp_path.iterdir()) == []


def test_what_is_neither_a_tensor_nor_plain_is_refused() -> None:
    stage = ToyStage()
    next(iter(stage.optimizers().values())).param_groups[0]["friend"] = object()
    with pytest.raises(TypeError, match=r"friend is a object; a checkpoint holds tensors and plain values only"):
        capture(stage)


def test_plain_values_come_back_as_they_were() -> None:
    stage, other = ToyStage(), ToyStage()
    given = {"a": (1, (2.5, None)), 3: [True, "x", float("inf")], "b": {}}
    next(iter(stage.optimizers().values())).param_groups[0]["given"] = given
    restore(other, capture(stage, copy=True))
    assert next(iter(other.optimizers().values())).param_groups[0]["given"] == given


def test_files_are_on_the_disk_before_they_have_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of each file and of the folder, rename, fsync of the parent; only then is an older one let go."""
    events: list[str] = []
    fsync, replace, rename = os.fsync, os.replace, Path.rename

    def name_of(path: Any) -> str:
        name = Path(path).name
        return "part" if ".part" in name else "parent" if Path(path) == tmp_path else name

    def traced_fsync(descriptor: int) -> None:
        events.append(f"fsync {name_of(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        fsync(descriptor)

    def traced_replace(old: Any, new: Any) -> None:
        events.append(f"rename to {name_of(new)}")
        replace(old, new)

    def traced_hide(self: Path, target: Any) -> Path:
        events.append(f"hide {self.name}")
        return rename(self, target)

    checkpoints = Checkpoints(tmp_path, ToyStage(), print)
    checkpoints.save(Place(1))
    checkpoints.save(Place(2))
    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    monkeypatch.setattr(Path, "rename", traced_hide)
    checkpoints.save(Place(3))
    assert events == [
        "fsync state.json", "fsync state.safetensors", "fsync part", "rename to codec-00000003", "fsync parent",
        "hide codec-00000001",
    ]  # fmt: skip


class Killed(BaseException):
    """The process is gone."""


def dying_at(call: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the process die before its n-th call that changes a disk: nothing after it happens, cleaning up neither.

    Returns:
        A list with the number of calls so far.
    """
    calls = [0]

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] >= call:
                raise Killed
            return function(*arguments, **options)

        return called

    for owner, name in (
        (os, "fsync"), (os, "replace"), (Path, "rename"), (Path, "mkdir"), (Path, "write_text"), (Path, "open"),
        (Path, "unlink"), (shutil, "rmtree"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, mortal(getattr(owner, name)))
    return calls


def test_a_kill_before_any_call_of_a_save_leaves_the_old_or_the_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {place: ToyStage() for place in (1, 2, 3)}
    for place, stage in states.items():
        for step in range(place):
            torch.manual_seed(step)
            stage.step(step, 0.0)
    outcomes: list[int] = []
    for call in range(1, 100):
        folder = tmp_path / str(call)
        for place in (1, 2):
            Checkpoints(folder, states[place], print).save(Place(place))
        with monkeypatch.context() as context:
            calls = dying_at(call, context)
            try:
                Checkpoints(folder, states[3], print).save(Place(3))
                died = False
            except Killed:
                died = True
        fresh, lines = ToyStage(), list[str]()
        found = Checkpoints(folder, fresh, lines.append).load()
        assert found is not None and lines == []  # what stands under a name is whole
        assert_same(fresh, states[found.step])
        outcomes.append(found.step)
        if not died:
            break
    assert calls[0] == len(outcomes) - 1 > 8
    assert outcomes == sorted(outcomes) and set(outcomes) == {2, 3}
