"""The run folder: everything that training writes.

  run.json            Manifest: what the run is and how far it is; the hash of each weights file
  config.toml         everything it is made from
  codec.safetensors   the averaged weights of each finished stage
  prior.safetensors
  metrics.jsonl       one line per step, validation, preview
  samples/            pictures and clips made while it trained
  checkpoints/        to go on after a stop (training/checkpoint.py)
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from autoreel.bounded import is_deep, read_bounded
from autoreel.config import FORMER, Config, Strict, dump_config, from_mapping, load_config, merge
from autoreel.errors import ConfigError, RunError, translate_os_error
from autoreel.runs.atomic import atomic_path, atomic_write_text, make_folder, remove
from autoreel.runs.in_place import append_row, locked, read_rows
from autoreel.runs.weights import Layout, read_shape, read_weights, write_weights

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 7
MAX_MANIFEST_BYTES = 4 << 20
OWN_KINDS = ("json", "jsonl", "toml", "safetensors")  # endings of the files that only the run's writer writes
# From a format to the next: a function of run.json's content. A format that is not here can only be trained again.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda content: content,  # 2 has the codec's linear path look at its neighbours; see `_check_painting`
    2: lambda content: content,  # 3 has other fields in config.toml, which stays as it was; see `FORMER`
    3: lambda content: {"config_format": 3, **content},  # 4 has other defaults of config.toml; see `ABSENT`
    4: lambda content: content,  # 5 too; see `ABSENT`
    5: lambda content: content,  # 6 too
    6: lambda content: content,  # 7 too
}
# What a config.toml of before each format means by saying nothing.
ABSENT: dict[int, dict[str, dict[str, Any]]] = {
    4: {"objective": {"contrast_weight": 0.5}, "prior": {"mirror": False}},
    5: {"prior": {"drift_share": 0.0, "preconditioned": False}},
    6: {"training": {"adversary_start": 0.8}},
    7: {"codec": {"linear_past": 0}, "objective": {"border_weight": 1.0}, "training": {"linear_share": 1.0}},
}


_Pixels = Annotated[int, Field(ge=16, le=1024)]  # as in the config


class WeightsRecord(Strict):
    """The hash of a weights file, and of the one that is just about to replace it."""

    sha256: str | None = None
    pending: str | None = None


class StageState(Strict):
    """How far a stage is.

    Attributes:
        done: its weights are exported and its budget was used up; while a larger one is trained they stay.
        step: steps taken when it was done; 0 before. Checkpoints say how far a stopped training is.
        elapsed_s: seconds spent in the loop, over all sessions, when it was done.
        codec_hash: the codec its latents came from, and "+" with the hash of the larger footage (upscale only); None of
            the codec itself.
    """

    done: bool = False
    step: int = 0
    elapsed_s: float = 0.0
    codec_hash: str | None = None


class Manifest(Strict):
    """The content of run.json.

    Attributes:
        format: version of the run folder's layout.
        config_format: the one whose defaults config.toml was written with.
        created: UTC time, ISO 8601.
        versions: of autoreel, python and torch, when it was created; bit-exact resuming is promised for the same ones.
        machine: cores and the processor, for the same reason.
        labels: the names of the labels, in the order of their numbers.
        size: (height, width) of its frames, pixels.
        rate: frames per second.
        data_hash: of the footage store it learns from.
        threads: that torch uses, as measured when training began.
        weights: by file name.
        stages: by name.
    """

    format: int = FORMAT
    config_format: int = FORMAT
    created: str
    versions: dict[str, str] = Field(default={})
    machine: str = ""
    labels: tuple[str, ...] = ()
    size: tuple[_Pixels, _Pixels] | None = None
    rate: Annotated[Fraction, Field(gt=0, le=1000)] | None = None
    data_hash: str | None = None
    threads: int | None = None
    weights: dict[str, WeightsRecord] = Field(default={})
    stages: dict[str, StageState] = Field(default={})

    @classmethod
    def here(cls) -> Manifest:
        """That of a run that begins now, on this machine."""
        found = {"python": platform.python_version()}
        for package in ("autoreel", "torch"):
            try:
                found[package] = version(package)
            except PackageNotFoundError:  # a source tree that was never installed
                found[package] = "unknown"
        machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        return cls(created=datetime.now(UTC).isoformat(timespec="seconds"), versions=found, machine=machine)

    @property
    def codec_hash(self) -> str | None:
        """SHA-256 of codec.safetensors; None before the codec is trained."""
        record = self.weights.get("codec.safetensors")
        return record.sha256 if record else None


class RunFolder:
    """A folder that training writes and everything else reads. Use `create` or `open`.

    Args:
        path: the folder.
        config: what it is made from.
        manifest: what run.json says.
    """

    def __init__(self, path: Path, config: Config, manifest: Manifest) -> None:
        self.root = path
        self.config = config
        self.manifest = manifest

    @classmethod
    def create(cls, path: Path, config: Config) -> RunFolder:
        """Make a new run folder.

        Args:
            path: absent or empty; its parents are made. A config.toml that says the same as `config` stays as it is.
            config: kept in it as config.toml.

        Raises:
            RunError: there are other files in it, or a config.toml that says something else.
            RunLockedError: another process begins a run there.
            OutputError: it cannot be written.
        """
        path = Path(path)
        run = cls(path, config, Manifest.here())
        try:
            make_folder(path)
            _check_new(path, config)
        except OSError as error:
            raise translate_os_error(error, path) from error
        with locked(path):
            has_config = _check_new(path, config)  # another may have begun a run there in between
            if not has_config:
                atomic_write_text(path / "config.toml", dump_config(config))
            run.update()
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open a run folder.

        Raises:
            RunError: absent, not a run, damaged, or of a format that this version does not read.
        """
        path = Path(path)
        try:
            is_there = path.exists()
            is_run = (path / "run.json").is_file()
        except OSError as error:  # a name that no disk takes, a folder that may not be looked into
            raise RunError(f"{path} cannot be opened: {error.strerror}; name the folder of a run") from None
        if not is_there:
            raise RunError(f"{path} does not exist; `autoreel train` makes a run folder from footage")
        if not is_run:
            raise RunError(f"{path} is not a run folder (it has no run.json); `autoreel train` makes one from footage")
        manifest = _load_manifest(path)
        try:
            config = load_config(path / "config.toml", left_out=FORMER, absent=_absent(manifest))
        except ConfigError as error:
            raise _damaged(path, error) from error
        return cls(path, config, manifest)

    @property
    def absent(self) -> Mapping[str, Any]:
        """What fields are that the config it was begun with leaves out, where today's defaults are others."""
        return _absent(self.manifest)

    def path(self, name: str) -> Path:
        """The path of a file or folder in it."""
        return self.root / name

    def update(self, **changes: Any) -> None:
        """Change fields of the manifest and write run.json.

        Raises:
            OutputError: it cannot be written; the manifest stays as it was.
        """
        changed = from_mapping(Manifest, {**self.manifest.model_dump(), **changes}, str(self.path("run.json")))
        atomic_write_text(self.path("run.json"), changed.model_dump_json(indent=2) + "\n")
        self.manifest = changed

    def update_stage(self, name: str, state: StageState) -> None:
        """Write how far a stage is."""
        self.update(stages={**self.manifest.stages, name: state})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer, until the block ends or the process dies. The manifest is read again.

        Raises:
            RunLockedError: another process is.
            RunError: the run was damaged since it was opened, or its .lock is not a plain file.
            OutputError: the lock cannot be written.
        """
        with locked(self.root):
            self.manifest = _load_manifest(self.root)  # the writer before may have changed it since it was opened
            self._clear_leftovers()
            yield

    def save_weights(self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
        """Replace a weights file and record its hash.

        Args:
            name: such as "codec.safetensors".
            tensors: by name.
            metadata: strings for the header.

        Returns:
            The SHA-256 of the file.

        Raises:
            DivergedError: a tensor is not finite.
            OutputError: it cannot be written; the file that stood there still does.
        """
        old = self.manifest.weights.get(name, WeightsRecord())
        with atomic_path(self.path(name)) as part:
            digest = write_weights(part, tensors, metadata)
            # Between the rename and the next run.json the file is already the new one: until then both are right.
            self._record(name, WeightsRecord(sha256=old.sha256, pending=digest))
        self._record(name, WeightsRecord(sha256=digest))
        return digest

    def forget_weights(self, name: str) -> None:
        """Let a weights file count as not there, because it no longer fits the others."""
        self.update(weights={other: record for other, record in self.manifest.weights.items() if other != name})

    def load_weights(self, name: str, expected: Layout) -> dict[str, Tensor]:
        """Read a weights file that `save_weights` wrote.

        Args:
            name: such as "codec.safetensors".
            expected: exactly the names, shapes and number formats that the config implies (`layout_of`).

        Raises:
            RunError: not trained yet, damaged, or not what the config describes.
        """
        record = self.manifest.weights.get(name)
        if record is None or not self.path(name).exists():
            raise RunError(f"{self.root} has no {name}; run `autoreel train` on it until that stage is done")
        hashes = {digest for digest in (record.sha256, record.pending) if digest is not None}
        return read_weights(self.path(name), expected, sha256=hashes)

    def append_metrics(self, values: Mapping[str, object]) -> None:
        """Add a line to metrics.jsonl: "stage", "step" and numbers; one that is not finite becomes null.

        Raises:
            OutputError: it cannot be written.
            RunError: it is no plain file.
        """
        append_row(self.path("metrics.jsonl"), values)

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl, less what a crash cut and what `append_metrics` cannot have written.

        Raises:
            RunError: it is no plain file, or cannot be read.
        """
        return read_rows(self.path("metrics.jsonl"))

    def forget_metrics(self, stage: str, after: int) -> None:
        """Remove a stage's lines after a number of steps: those are about to be taken again."""
        kept = [row for row in self.metrics() if row["stage"] != stage or row["step"] <= after]
        atomic_write_text(self.path("metrics.jsonl"), "".join(json.dumps(row) + "\n" for row in kept))

    def _clear_leftovers(self) -> None:
        """Remove what a writer that was killed left unfinished; not what others may be writing here just now."""
        for pattern in (*(f".*.part.{kind}" for kind in OWN_KINDS), "checkpoints/.*.part*", "samples/.*.part*"):
            for left in self.root.glob(pattern):
                remove(left)

    def _record(self, name: str, record: WeightsRecord) -> None:
        self.update(weights={**self.manifest.weights, name: record})


def _check_new(path: Path, config: Config) -> bool:
    """Hold a new run's folder to have nothing in it but a config.toml that says the same; whether that is there."""
    others = [entry.name for entry in path.iterdir() if entry.name != "config.toml" and entry.name[0] != "."]
    if others:
        what = "is a run already; open it" if "run.json" in others else f"holds other files ({sorted(others)[0]})"
        raise RunError(f"{path} {what}; give the name of a new or empty folder to begin a run")
    return _holds_config(path / "config.toml", config)


def _holds_config(path: Path, config: Config) -> bool:
    """Whether a config.toml stands there already; a person's own is never overwritten."""
    if not path.exists():
        return False
    try:
        if load_config(path) == config:
            return True
        why = "says something else than this run is to be made from"
    except ConfigError as error:
        why = f"cannot be used: {error}"
    raise RunError(f"{path} stands there and {why}; begin the run with --config {path}, or move that file away")


def _damaged(path: Path, error: ConfigError) -> RunError:
    return RunError(f"{path} is damaged: {error}; copy it again, or train it again")


def _load_manifest(path: Path) -> Manifest:
    content = _migrate(path, _read_manifest(path / "run.json"))
    try:
        return from_mapping(Manifest, content, str(path / "run.json"))
    except ConfigError as error:
        raise _damaged(path, error) from error


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        text = read_bounded(path, MAX_MANIFEST_BYTES)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}; copy the run again, or train it again") from None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise RunError(f"{path} is damaged: it is not valid JSON; copy the run again, or train it again") from None
    if not isinstance(content, dict) or is_deep(content):
        raise RunError(f"{path} is damaged: it is not a table; copy the run again, or train it again")
    return content


def _migrate(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    found = content.get("format")
    if not isinstance(found, int):
        raise RunError(f"{path} is damaged: run.json does not say its format; copy it again, or train it again")
    if found > FORMAT:
        raise RunError(f"{path} is of format {found}, this autoreel reads up to {FORMAT}; update autoreel")
    while found < FORMAT:
        if found not in MIGRATIONS:
            raise _too_old(path, found)
        if found == 1:
            _check_painting(path)
        content = MIGRATIONS[found](content)
        found += 1
    return {**content, "format": FORMAT}


def _absent(manifest: Manifest) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for since in sorted(ABSENT, reverse=True):  # the newest first: of a field in several, the oldest value is meant
        if manifest.config_format < since:
            found = merge(found, ABSENT[since])
    return found


def _too_old(path: Path, found: int) -> RunError:
    return RunError(
        f"{path} is of the old format {found}, this autoreel reads {FORMAT}; train it again, in a new run folder"
    )


def _check_painting(path: Path) -> None:
    """Some runs of format 1 have a linear path of today's shape already; those with the old one are refused."""
    codec = [(path / "codec.safetensors", "linear.up")]
    states = path.glob("checkpoints/codec-*/state.safetensors")
    for weights, name in [*codec, *((state, "module/codec/linear.up") for state in states)]:
        try:
            shape = read_shape(weights, name) if weights.exists() else None
        except RunError:
            continue  # who loads it says what is wrong
        if shape is not None and len(shape) == 2:
            raise _too_old(path, 1)
