"""From footage to a run folder that can be trained: a new one, or the one that an earlier call began.

    RUN/             the run folder
    RUN/footage/     what `prepare` made of the footage, unless a store of its own was given
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoreel.config import PRESETS, Config, DataConfig, from_mapping, load_config, nearest
from autoreel.data.prepare import prepare
from autoreel.data.store import FootageStore
from autoreel.errors import UsageError
from autoreel.runs import RunFolder
from autoreel.training.budget import Budget

Report = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """What a person asked of a run; None leaves it to the preset.

    Args:
        preset: a name, or "auto" for the largest that this machine can train in the budget.
        config: a file that says everything; with it, `preset` is not used.
        fit: "crop" or "letterbox".
        fps: frames per second.
        seed: of the training.
    """

    preset: str = "auto"
    config: Path | None = None
    fit: str | None = None
    fps: float | None = None
    seed: int | None = None


def open_run(
    path: Path, wishes: Wishes, budget: Budget, *, data: DataConfig | None = None, device: str = "auto",
    report: Report | None = None,
) -> RunFolder:  # fmt: skip
    """Open the run that an earlier call began there, or begin it.

    Args:
        path: the run folder.
        wishes: of a new run; those of an old one must not speak against it.
        budget: which preset fits depends on it.
        data: of footage that is prepared already.
        device: "auto", "cpu" or "cuda".
        report: told what was chosen.

    Raises:
        UsageError: the run was begun with other wishes, or there is no such preset.
        ConfigError: a config file with problems.
        RunError, OutputError: the folder cannot be used.
    """
    if (path / "run.json").exists():
        run = RunFolder.open(path)
        _check_wishes(run, wishes)
        return run
    return RunFolder.create(path, choose_config(wishes, budget, data=data, device=device, report=report))


def choose_config(
    wishes: Wishes, budget: Budget, *, data: DataConfig | None = None, device: str = "auto",
    report: Report | None = None,
) -> Config:  # fmt: skip
    """The config of a new run; arguments as in `open_run`."""
    if wishes.config is not None:
        config = load_config(wishes.config)
    elif wishes.preset != "auto":
        if wishes.preset not in PRESETS:
            raise UsageError(f"unknown preset {wishes.preset!r}{nearest(wishes.preset, [*PRESETS, 'auto'])}")
        config = PRESETS[wishes.preset]
    elif data is not None:  # prepared footage has a size, and the size decides
        config = next((c for c in PRESETS.values() if _size(c.data) == _size(data)), PRESETS["tiny"])
    else:
        from autoreel.training.train import auto_config  # torch is needed only to measure

        config = auto_config(budget, device=device, report=report)
    data = data or _changed(config.data, "footage", fit=wishes.fit, fps=wishes.fps)
    training = _changed(config.training, "training", seed=wishes.seed)
    return config.model_copy(update={"data": data, "training": training})


def prepare_into(run: RunFolder, sources: Sequence[Path], *, report: Report | None = None) -> FootageStore:
    """Prepare footage inside a run folder, the way the run's config says; nothing is done when it is there already.

    Raises:
        FootageError: nothing to learn from.
        OutputError, JailError: as `prepare`.
    """
    return prepare(sources, run.path("footage"), run.config.data, report=report).store


def _changed(model: Any, where: str, **given: Any) -> Any:
    given = {key: value for key, value in given.items() if value is not None}
    return from_mapping(type(model), {**model.model_dump(), **given}, where) if given else model


def _size(data: DataConfig) -> tuple[int, int]:
    return data.height, data.width


def _check_wishes(run: RunFolder, wishes: Wishes) -> None:
    config = run.config
    asked = {
        "preset": (wishes.preset if wishes.preset != "auto" else None, config.preset),
        "fit": (wishes.fit, config.data.fit),
        "fps": (wishes.fps, config.data.fps),
        "seed": (wishes.seed, config.training.seed),
    }
    other = [f"--{name} {now}" for name, (wanted, now) in asked.items() if wanted is not None and wanted != now]
    if wishes.config is not None:
        # The data's and the seed's own options may have changed those of the file.
        read = load_config(wishes.config)
        training = read.training.model_copy(update={"seed": config.training.seed})
        if read.model_copy(update={"data": config.data, "training": training}) != config:
            other.append("another config")
    if other:
        raise UsageError(f"{run.root} was begun with {' and '.join(other)}; leave that out, or name a new run folder")
