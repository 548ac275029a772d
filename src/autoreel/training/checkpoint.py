"""The whole state of a stage on disk, so that a killed training goes on as if nothing had happened.

    checkpoints/codec-00000120/state.safetensors   networks, averages, optimizer state
                               state.json          step, elapsed time, the optimizers' plain values, the file's hash

Two are kept. A new one is written beside them, put on the disk and then renamed (`atomic_path`), so that a name always
stands for a whole checkpoint; hashes find what a disk has done to it since. A damaged one is passed over and renamed to
damaged-codec-00000120, in case that a person can mend it; one that only cannot be read stops the training.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import math
import os
import re
import secrets
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoreel.bounded import read_bounded
from autoreel.errors import OutputError, RunError, UnreadableError, translate_os_error, translate_read_error
from autoreel.runs.atomic import atomic_path, make_folder, remove
from autoreel.runs.weights import layout_of, read_weights, write_weights
from autoreel.training.stage import Stage
from autoreel.training.watch import Watch

FORMAT = 1
KEPT = 2
MAX_STATE_BYTES = 64 << 20
# What reading a state ends in whose hashes fit, and that this program did not write.
NOT_OURS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
DAMAGED = "damaged-"  # before the name of a checkpoint that was passed over; two of a stage are kept as well


@dataclass(frozen=True)
class Snapshot:
    """The state of a stage.

    Args:
        tensors: by name.
        plain: everything else, as JSON values that refer to the tensors.
    """

    tensors: dict[str, Tensor]
    plain: dict[str, Any]


@dataclass
class Place:
    """How far a training is.

    Args:
        step: steps taken.
        elapsed_s: seconds spent, over all sessions.
        watch: the state of the divergence watch.
    """

    step: int = 0
    elapsed_s: float = 0.0
    watch: dict[str, Any] = field(default_factory=dict)

    @property
    def updates(self) -> int:
        """Steps that left something in the weights."""
        return self.step - int(self.watch.get("lost", 0))


def capture(stage: Stage, *, copy: bool = False) -> Snapshot:
    """The present state of a stage.

    Args:
        stage: the stage.
        copy: keep the values as they are now; else the tensors are those that training goes on to change.

    Raises:
        TypeError: an optimizer holds something that is neither a tensor nor a plain value.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, module in stage.modules().items():
        tensors.update({f"module/{prefix}/{name}": value for name, value in module.state_dict().items()})
    optimizers = {
        name: _encode(optimizer.state_dict(), f"optimizer/{name}", tensors)
        for name, optimizer in stage.optimizers().items()
    }
    if copy:
        tensors = {name: value.detach().clone() for name, value in tensors.items()}
    return Snapshot(tensors, {"optimizers": optimizers})


def restore(stage: Stage, snapshot: Snapshot) -> bool:
    """Put a stage into the state of a snapshot, bit for bit; only the rates stay those that the config gives now.

    Returns:
        Whether a rate is another than when the snapshot was made. Then what a divergence took from it (`rate_scale`,
        see `scale_rates`) is given back.

    Raises:
        RunError: the snapshot is of other networks or optimizers, or not one that `capture` can have made.
    """
    try:
        return _restore(stage, snapshot)
    except RunError:
        raise
    except NOT_OURS as error:
        raise RunError(f"the checkpoint is not understood ({_first_line(error)})") from error


def _restore(stage: Stage, snapshot: Snapshot) -> bool:
    for prefix, module in stage.modules().items():
        start = f"module/{prefix}/"
        state = {name[len(start) :]: value for name, value in snapshot.tensors.items() if name.startswith(start)}
        module.load_state_dict(state, strict=True)
    encoded = snapshot.plain["optimizers"]
    if set(encoded) != set(stage.optimizers()):
        found = str(sorted(encoded))[:200]
        raise RunError(f"the checkpoint has the optimizers {found}, not {sorted(stage.optimizers())}")
    given = _given_rates(stage)
    for name, optimizer in stage.optimizers().items():
        decoded = _decode(encoded[name], snapshot.tensors)
        _check_fits(optimizer, decoded)
        optimizer.load_state_dict(decoded)
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    state[key] = _as_before(value, parameter)
    if _given_rates(stage) == given:
        return False
    for name, optimizer in stage.optimizers().items():
        for group, rate in zip(optimizer.param_groups, given[name], strict=True):
            group["base_lr"] = rate
            group["rate_scale"] = 1.0
    return True


def _check_fits(optimizer: torch.optim.Optimizer, given: dict[str, Any]) -> None:
    """Hold an optimizer's state to the parameters and the settings that the optimizer has now.

    Raises:
        ValueError, KeyError, ...: it does not fit.
    """
    own = optimizer.state_dict()
    for group, fresh in zip(given["param_groups"], own["param_groups"], strict=True):
        if group["params"] != fresh["params"]:
            raise ValueError("its groups have other parameters")
        if not (_is_number(group["lr"]) and _is_number(group["base_lr"]) and _is_number(group.get("rate_scale", 1.0))):
            raise ValueError("its rates are no numbers")
        if group.get("rate_scale", 1.0) <= 0:
            raise ValueError("its rates are scaled by nothing")
        for key in group.keys() & fresh.keys() - {"params"}:
            if not _is_of_kind(group[key], fresh[key]):
                raise ValueError(f"its {key} is no setting of this optimizer")
    held: dict[int, tuple[Tensor, dict[str, Any]]] = {}  # each parameter, and what a step keeps of one
    for group, own_group in zip(given["param_groups"], optimizer.param_groups, strict=True):
        kept = _kept_by_a_step(optimizer, group, own_group["params"][0])
        held |= {place: (of, kept) for place, of in zip(group["params"], own_group["params"], strict=True)}
    for place, state in given["state"].items():
        if type(place) is not int or place not in held:
            raise ValueError("it has a state of no parameter")
        parameter, kept = held[place]
        if state and state.keys() != kept.keys():
            raise ValueError(f"it keeps {', '.join(map(str, state))[:100]} of a parameter, not {', '.join(kept)}")
        for key, value in state.items():
            shape = parameter.shape if kept[key].ndim else kept[key].shape  # a count of steps has none
            if not isinstance(value, Tensor) or value.shape != shape:
                raise ValueError(f"its {key} is not of the shape {tuple(shape)}")


def _kept_by_a_step(optimizer: torch.optim.Optimizer, settings: dict[str, Any], like: Tensor) -> dict[str, Any]:
    """What a step with settings keeps of a parameter, found out on a parameter of one value.

    Raises:
        ValueError, KeyError, ...: no step can be taken with them.
    """
    value = like.new_zeros(1, 1).requires_grad_()
    value.grad = torch.zeros_like(value)
    trial = copy.copy(optimizer)
    # Settings that came with a later version of torch are filled in here, as where a state is loaded.
    trial.__setstate__({"state": defaultdict(dict), "param_groups": [{**settings, "params": [value]}]})
    try:
        trial.step()
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"no step can be taken with its settings: {error}") from error
    return dict(trial.state[value])


def _is_of_kind(given: object, own: object) -> bool:
    if isinstance(own, tuple):
        return isinstance(given, tuple) and len(given) == len(own) and all(map(_is_of_kind, given, own))
    if _is_number(own):
        return _is_number(given)
    return given is None or isinstance(given, bool | str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def scale_rates(stage: Stage, factor: float) -> None:
    """Multiply the rates of all groups; `rate_scale` says how far they are from those of the config."""
    for optimizer in stage.optimizers().values():
        for group in optimizer.param_groups:
            group["base_lr"] *= factor
            group["rate_scale"] = group.get("rate_scale", 1.0) * factor


def _given_rates(stage: Stage) -> dict[str, list[float]]:
    """The rates as the config gave them; exact, for they are scaled by powers of two."""
    return {
        name: [group["base_lr"] / group.get("rate_scale", 1.0) for group in optimizer.param_groups]
        for name, optimizer in stage.optimizers().items()
    }


def _as_before(value: Tensor, parameter: Tensor) -> Tensor:
    """The saved values in memory of their own, laid out like the parameter: the same sums in the same order."""
    if value.shape != parameter.shape:
        return value.clone()
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


class Checkpoints:
    """The checkpoints of one stage.

    Args:
        folder: the run's folder of checkpoints; made when first needed.
        stage: the stage they are of.
        report: told in one line what a person should know (a damaged checkpoint was passed over).
    """

    def __init__(self, folder: Path, stage: Stage, report: Callable[[str], None]) -> None:
        self._folder = folder
        self._stage = stage
        self._report = report

    def save(self, place: Place) -> Path:
        """Write the present state, then let go of all but the newest two.

        When the disk is full the older one, and what is damaged, is given up and the save is tried once more.

        Raises:
            OutputError: it cannot be written; those that are there stay.
            DivergedError: a weight is not finite.
        """
        final = self._folder / f"{self._stage.name}-{place.step:08d}"
        others = self.paths()
        if final in others:
            return final  # of this very step; only the clock has gone on
        try:
            make_folder(self._folder)
            self._write(final, place)
        except OSError as error:
            spare = [*others[1:], *self._damaged()]
            if _is_full(error) and spare:
                self._report(f"the disk is full: giving up the older checkpoint ({spare[0].name}) to save the new one")
                for path in spare:
                    _discard(path)
                others = others[:1]
                self._write(final, place)
            elif isinstance(error, OutputError):
                raise
            else:
                raise translate_os_error(error, final) from error
        for path in others[KEPT - 1 :]:
            _discard(path)
        return final

    def load(self, *, before: int | None = None) -> Place | None:
        """Put the stage into the newest undamaged state.

        Newer ones are let go of where they are sound, and put aside where they are damaged.

        Args:
            before: only states from before this many steps.

        Returns:
            Where it is now; None when there is no checkpoint.

        Raises:
            RunError: there are some, and all of them are damaged or of other networks.
            UnreadableError: the system cannot read one now. It may be sound, so none is touched.
        """
        problems: list[str] = []
        sound: list[Path] = []
        damaged: list[Path] = []
        for path in self.paths():
            if before is not None and _step_of(path) >= before:
                sound.append(path)
                continue
            try:
                snapshot, place = self._read(path)
                has_other_rate = restore(self._stage, snapshot)
            except UnreadableError:
                raise
            except RunError as error:
                problems.append(str(error))
                damaged.append(path)
                self._report(f"{path.name} cannot be used, trying the one before: {error}")
                continue
            if has_other_rate:
                place.watch = {**place.watch, "rewinds": 0} if place.watch else {}
                self._report(f"{path.name} was made with another rate; it goes on with that of the config")
            for useless in sound:
                _discard(useless)
            self._put_aside(damaged)
            return place
        if problems:
            raise RunError(f"no checkpoint in {self._folder} can be used; remove it to train anew ({problems[0]})")
        return None

    def clear(self) -> None:
        """Remove all of the stage's checkpoints: it begins again."""
        for path in [*self.paths(), *self._damaged()]:
            _discard(path)

    def paths(self) -> list[Path]:
        """Those that are there, the newest first.

        Raises:
            UnreadableError: the folder cannot be read now.
        """
        return self._named(self._stage.name)

    def _damaged(self) -> list[Path]:
        return self._named(DAMAGED + self._stage.name)

    def _named(self, start: str) -> list[Path]:
        # Not by `glob`, to which a folder that cannot be read is an empty one: then training would begin again.
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise translate_read_error(error, self._folder) from error
        found = [self._folder / name for name in names if re.fullmatch(rf"{re.escape(start)}-[0-9]{{1,18}}", name)]
        return sorted(found, key=_step_of, reverse=True)

    def _put_aside(self, damaged: list[Path]) -> None:
        """Rename those that cannot be used, and let go of all but the newest two of that kind."""
        for path in damaged:
            aside = path.with_name(DAMAGED + path.name)
            if aside.exists():
                _discard(aside)
            path.rename(aside)
        for path in self._damaged()[KEPT:]:
            _discard(path)

    def _write(self, final: Path, place: Place) -> None:
        snapshot = capture(self._stage)
        with atomic_path(final, folder=True) as part:
            digest = write_weights(part / "state.safetensors", snapshot.tensors, {"stage": self._stage.name})
            body = {
                "format": FORMAT, "stage": self._stage.name, "step": place.step, "elapsed_s": place.elapsed_s,
                "watch": place.watch, "plain": snapshot.plain, "tensors_sha256": digest,
            }  # fmt: skip
            text = json.dumps(body, allow_nan=False)
            own = hashlib.sha256(text.encode()).hexdigest()
            (part / "state.json").write_text(f"{own}\n{text}\n", encoding="utf-8")

    def _read(self, path: Path) -> tuple[Snapshot, Place]:
        body = _read_body(path / "state.json")
        if body.get("format") != FORMAT or body.get("stage") != self._stage.name:
            raise RunError(f"{path} is a checkpoint of another format or stage")
        present = capture(self._stage).tensors
        expected = layout_of({name: value for name, value in present.items() if name.startswith("module/")})
        try:
            place = _place_in(body, _step_of(path))
            expected = {**expected, **_layout_in(body["plain"])}
            digest = str(body["tensors_sha256"])
        except NOT_OURS as error:
            raise RunError(f"{path} is not understood ({_first_line(error)})") from error
        return Snapshot(read_weights(path / "state.safetensors", expected, sha256={digest}), body["plain"]), place


def _place_in(body: dict[str, Any], step: int) -> Place:
    """Raises ValueError, KeyError, ... where it says what cannot be."""
    place = Place(body["step"], body["elapsed_s"], body["watch"])
    if type(place.step) is not int or place.step != step:
        raise ValueError(f"its step is {str(place.step)[:30]}, its name says {step}")
    if not _is_number(place.elapsed_s) or place.elapsed_s < 0:
        raise ValueError(f"its time is {str(place.elapsed_s)[:30]}")
    if place.watch:
        Watch.from_state(place.watch)
    if not isinstance(place.watch, dict) or place.updates < 0:
        raise ValueError("its watch counts more steps than it has")
    return place


def _read_body(path: Path) -> dict[str, Any]:
    try:
        digest, _, text = read_bounded(path, MAX_STATE_BYTES).partition("\n")
    except OSError as error:
        raise translate_read_error(error, path) from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None
    if hashlib.sha256(text.removesuffix("\n").encode()).hexdigest() != digest:
        raise RunError(f"{path} is damaged: its content is not what was written")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise RunError(f"{path} is not understood: it is no table in JSON")
    return body


def _is_full(error: OSError) -> bool:
    """Whether the disk is full; seen through the OutputError that hides the number."""
    cause = error.__cause__ if isinstance(error, OutputError) else error
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def _discard(path: Path) -> None:
    """Take the name away first: half a checkpoint never stands under one."""
    hidden = path.parent / f".{secrets.token_hex(6)}.part"
    path.rename(hidden)
    remove(hidden)


def _step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


# An optimizer's state_dict as JSON. Every container is a table with one key that says what it is, so that integer keys
# and tuples come back as they were; a tensor is a table that says where it lies.


def _encode(value: object, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name, "shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encode(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]}
    if isinstance(value, Mapping):
        if not all(isinstance(key, int | str) for key in value):
            raise TypeError(f"{name} has keys that are neither numbers nor strings")
        return {"table": [[key, _encode(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    raise TypeError(f"{name} is a {type(value).__name__}; a checkpoint holds tensors and plain values only")


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "float" in value:
        return float(value["float"])
    if "table" in value:
        return {key: _decode(item, tensors) for key, item in value["table"]}
    if "list" in value:
        return [_decode(item, tensors) for item in value["list"]]
    return tuple(_decode(item, tensors) for item in value["tuple"])


def _layout_in(value: Any) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """The tensors that encoded values refer to."""
    if isinstance(value, dict):
        if isinstance(value.get("tensor"), str):
            dtype = getattr(torch, value["dtype"])
            if not isinstance(dtype, torch.dtype):
                raise TypeError(f"{value['dtype']} is no format of numbers")
            return {value["tensor"]: (tuple(map(int, value["shape"])), dtype)}
        value = list(value.values())
    found: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    if isinstance(value, list):
        for item in value:
            found.update(_layout_in(item))
    return found
