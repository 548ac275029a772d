"""From footage to a run folder that can be trained: a new one, or the one that an earlier call began.

    RUN/             the run folder
    RUN/footage/     what `prepare` made of the footage, unless a store of its own was given
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoreel.config import (
    PRESETS,
    Config,
    DataConfig,
    TrainingConfig,
    from_mapping,
    load_config,
    nearest,
    with_parts,
)
from autoreel.data.prepare import prepare
from autoreel.data.scan import scan
from autoreel.data.store import FootageStore, read_index, store_key
from autoreel.errors import ConfigError, RunError, UsageError
from autoreel.runs import RunFolder, StageState
from autoreel.training.budget import Budget, short_warning
from autoreel.training.start import (
    WORDS,
    codec_config_at,
    differences,
    find_starter,
    is_run,
    resolve,
    start_weights,
)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """What a person asked of a run; None leaves it to the preset.

    Args:
        preset: a name, or "auto" for the largest that this machine can train in the budget.
        config: a file that says everything, instead of a preset.
        fit: "crop" or "letterbox".
        fps: frames per second.
        seed: of the training.
        family: "gan", "ae", "vae" or "vae-gan".
        backbone: "resnet" or "transformer".
        discriminator: "conv" or "fc".
        start: what the codec starts from: "scratch", "starter", or a folder (training/start.py).
        codec: a pretrained codec instead, "diffusers:FOLDER" (models/pretrained.py).
        changes: values for fields of the config, by table and field.
    """

    preset: str = "auto"
    config: Path | None = None
    fit: str | None = None
    fps: float | None = None
    seed: int | None = None
    family: str | None = None
    backbone: str | None = None
    discriminator: str | None = None
    start: str | None = None
    codec: str | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def parts(self) -> dict[str, dict[str, Any]]:
        """What is asked of the model's parts, as tables of a config."""
        found: dict[str, dict[str, Any]] = {table: dict(values) for table, values in self.changes.items()}
        for table, key, value in (
            ("codec", "family", self.family), ("codec", "backbone", self.backbone),
            ("discriminator", "kind", self.discriminator),
        ):  # fmt: skip
            if value is not None:
                found.setdefault(table, {})[key] = value
        return found


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
        UsageError: the run was begun, or the footage prepared, with other wishes; or there is no such preset.
        ConfigError: a config file with problems.
        RunError, OutputError: the folder cannot be used.
    """
    if wishes.config is not None and wishes.preset != "auto":
        raise UsageError("--config and --preset both say how large the model is; leave one out")
    if wishes.codec is not None and wishes.start is not None:
        raise UsageError("--start is what a codec of its own starts from, --codec one that is trained; give one")
    if (path / "run.json").exists():
        run = RunFolder.open(path)
        _check_wishes(run, wishes)
        if _learns_by_lpips(run.config) and not run.manifest.stages.get("codec", StageState()).done:
            from autoreel.models.perceptual import Perceptual  # torch

            Perceptual.of(run.config.objective)  # that it is gone is said before footage is read
    else:
        run = _begin(path, wishes, budget, data, device, report)
    with run.lock():
        start_weights(run)  # from now on the run has them
    return run


def _begin(
    path: Path, wishes: Wishes, budget: Budget, data: DataConfig | None, device: str, report: Report | None
) -> RunFolder:
    if report is not None and budget.seconds is not None:
        from autoreel.models.compute import choose_device  # torch

        warning = short_warning(budget, choose_device(device).type)
        if warning is not None:
            report(warning)
    return RunFolder.create(path, choose_config(wishes, budget, data=data, device=device, report=report))


def choose_config(
    wishes: Wishes, budget: Budget, *, data: DataConfig | None = None, device: str = "auto",
    report: Report | None = None,
) -> Config:  # fmt: skip
    """The config of a new run; arguments as in `open_run`."""
    if wishes.config is not None:
        config = load_config(wishes.config, wishes.parts())
    elif wishes.preset == "auto" and (of_start := _of_start(wishes)) is not None:
        config = of_start
    elif wishes.preset == "auto" and wishes.codec is not None and data is None:
        config = PRESETS["tiny"]  # what can be trained in the time says nothing of a codec that is not trained
    elif wishes.preset != "auto":
        if wishes.preset not in PRESETS:
            raise UsageError(f"unknown preset {wishes.preset!r}{nearest(wishes.preset, [*PRESETS, 'auto'])}")
        config = PRESETS[wishes.preset]  # its networks; prepared footage keeps its size
    elif data is not None:  # prepared footage has a size, and the size decides
        config = next((c for c in PRESETS.values() if _size(c.data) == _size(data)), PRESETS["tiny"])
    else:
        from autoreel.training.train import auto_config  # torch is needed only to measure

        config = auto_config(budget, device=device, parts=wishes.parts(), report=report)
    by_size = data is not None and wishes.config is None and wishes.preset == "auto"
    if wishes.config is None:
        config = with_parts(config, wishes.parts(), f"preset {config.preset}")
    if data is None:
        data = _changed(config.data, "footage", fit=wishes.fit, fps=wishes.fps)
    else:
        _check_prepared(data, config, wishes)
    training = _changed(config.training, "training", seed=wishes.seed, start=wishes.start)
    parts = {"data": data.model_dump(), "training": training.model_dump()}
    if wishes.codec is not None:
        from autoreel.models.pretrained import examine

        parts["pretrained"] = examine(wishes.codec).model_dump()
    chosen = resolve(
        from_mapping(Config, {**config.model_dump(), **parts}, str(wishes.config or f"preset {config.preset}"))
    )
    chosen = _with_lpips_hash(chosen)
    if report is not None and by_size and chosen.training.start == "auto" and chosen.pretrained is None:
        with contextlib.suppress(ConfigError):  # parts that `tiny` cannot have
            if find_starter(with_parts(PRESETS["tiny"], wishes.parts(), "preset tiny").codec) is not None:
                report(f"preset {chosen.preset} has no starter: its codec learns from nothing; --preset tiny has one")
    return chosen


def prepare_into(run: RunFolder, sources: Sequence[Path], *, report: Report | None = None) -> FootageStore:
    """Prepare footage inside a run folder, the way the run's config says; nothing is done when it is there already.

    Raises:
        RunError: the run learned from other footage than this, which stays as it is.
        FootageError: nothing to learn from.
        OutputError, JailError: as `prepare`.
    """
    if run.manifest.data_hash is not None:
        index = read_index(run.path("footage"))
        if index is not None and index["key"] != _key(sources, run.config.data):
            raise other_footage(run)
    # What a run learned from stays as it is, or it could not go on.
    may_grow = run.manifest.data_hash is None
    return prepare(sources, run.path("footage"), run.config.data, retry=may_grow, report=report).store


def other_footage(run: RunFolder) -> RunError:
    """What to say when a run is given footage that it did not begin with."""
    return RunError(f"{run.root} was begun with other footage than this; give the name of a new run folder")


def _key(sources: Sequence[Path], data: DataConfig) -> str:
    return store_key(data, [(source.sha256, source.label, source.group) for source in scan(sources).sources])


def _of_start(wishes: Wishes) -> Config | None:
    """The config whose codec can start from what is asked for: its layout is the only one that fits. None: any can, or
    none, which `resolve` tells."""
    start = wishes.start
    if start == "starter":
        for config in PRESETS.values():
            with contextlib.suppress(ConfigError):  # parts that it cannot have
                if find_starter(with_parts(config, wishes.parts(), f"preset {config.preset}").codec) is not None:
                    return config
    if start is None or start in WORDS:
        return None
    if is_run(Path(start)):
        return _like(RunFolder.open(Path(start)))
    layout = codec_config_at(Path(start))
    for config in PRESETS.values():
        if not differences(layout, config.codec):
            return config
    nearest_preset = PRESETS["tiny" if layout.spatial_stride == PRESETS["tiny"].codec.spatial_stride else "small"]
    left_out = {"linear_past"} if layout.family == "gan" else {"linear_past", "family"}  # a gan is half a codec
    return with_parts(nearest_preset, {"codec": layout.model_dump(exclude=left_out)}, start)


def _with_lpips_hash(config: Config) -> Config:
    """The config with the file of the LPIPS term's weights by its whole path and its hash.

    Raises:
        RunError: it cannot be used.
    """
    config = _with_whole_paths(config)
    path = config.objective.lpips_weights
    if path is None or not _learns_by_lpips(config):
        return config
    from autoreel.models.perceptual import Perceptual, hash_of

    Perceptual.of(config.objective)
    return _changed_in(config, "objective", lpips_sha256=hash_of(path))


def _learns_by_lpips(config: Config) -> bool:
    return config.objective.lpips_weight > 0 and config.pretrained is None


def _with_whole_paths(config: Config) -> Config:
    path = config.objective.lpips_weights
    return config if path is None else _changed_in(config, "objective", lpips_weights=path.absolute())


def _changed_in(config: Config, table: str, **values: Any) -> Config:
    return config.model_copy(update={table: getattr(config, table).model_copy(update=values)})


def _like(run: RunFolder) -> Config:
    """The config of another run, without what was about its footage and its seed.

    Values that were merely usual when it was begun become today's; one that was asked for and was usual too cannot be
    told from them.
    """
    config, today = run.config, PRESETS[run.config.preset]
    changed: dict[str, Any] = {
        "data": {"fps": None}, "training": {"seed": TrainingConfig().seed}, "objective": {"lpips_sha256": None},
    }  # fmt: skip
    for table, fields in run.absent.items():
        for name, value in fields.items():
            if getattr(getattr(config, table), name) == value:
                changed.setdefault(table, {})[name] = getattr(getattr(today, table), name)
    return config.model_copy(update={
        table: getattr(config, table).model_copy(update=values) for table, values in changed.items()
    })  # fmt: skip


def _changed(model: Any, where: str, **given: Any) -> Any:
    given = {key: value for key, value in given.items() if value is not None}
    return from_mapping(type(model), {**model.model_dump(), **given}, where) if given else model


def _size(data: DataConfig) -> tuple[int, int]:
    return data.height, data.width


def _check_prepared(data: DataConfig, config: Config, wishes: Wishes) -> None:
    """Nothing is asked of footage that was prepared otherwise."""
    asked = {"--fit": (wishes.fit, data.fit), "--fps": (wishes.fps, data.fps or "left out")}
    other = [f"{name} {then}" for name, (wanted, then) in asked.items() if wanted is not None and wanted != then]
    if _size(config.data) != _size(data) and wishes.config is not None:
        wanted_size = f"{config.data.width}x{config.data.height}"
        other.append(f"{data.width}x{data.height} pixels and not the {wanted_size} of {wishes.config}")
    if other:
        raise UsageError(
            f"this footage was prepared with {' and '.join(other)}; leave that out, or prepare the footage again"
        )


def _check_wishes(run: RunFolder, wishes: Wishes) -> None:
    config = _with_whole_paths(run.config)
    asked = {
        "preset": (wishes.preset if wishes.preset != "auto" else None, config.preset),
        "fit": (wishes.fit, config.data.fit),
        "fps": (wishes.fps, config.data.fps),
        "seed": (wishes.seed, config.training.seed),
        "family": (wishes.family, config.codec.family),
        "backbone": (wishes.backbone, config.codec.backbone),
        "discriminator": (wishes.discriminator, config.discriminator.kind),
        "start": (_said_start(wishes), config.training.start),
        "codec": (_said_codec(wishes, config), config.pretrained.source if config.pretrained else "left out"),
    }
    other = [f"--{name} {now}" for name, (wanted, now) in asked.items() if wanted is not None and wanted != now]
    changed = _with_whole_paths(with_parts(config, wishes.changes, "--set"))
    for table, values in wishes.changes.items():
        then, now = getattr(config, table), getattr(changed, table)
        other += [f"--set {table}.{name}={getattr(then, name)}" for name in values
                  if getattr(then, name) != getattr(now, name)]  # fmt: skip
    if wishes.config is not None:
        # The data's and the seed's own options may have changed those of the file.
        read = _with_whole_paths(load_config(wishes.config, wishes.parts(), absent=run.absent))
        if config.objective.lpips_sha256 is not None and read.objective.lpips_sha256 is None:
            read = _changed_in(read, "objective", lpips_sha256=config.objective.lpips_sha256)
        training = read.training.model_copy(
            update={"seed": config.training.seed, "start": config.training.start}
        )
        kept = {"data": config.data, "training": training, "pretrained": config.pretrained}
        same = read.model_copy(update=kept) == config
        if not same or _size(read.data) != _size(config.data):
            other.append("another config")
    if other:
        raise UsageError(f"{run.root} was begun with {' and '.join(other)}; leave that out, or name a new run folder")


def _said_codec(wishes: Wishes, config: Config) -> str | None:
    """A pretrained codec as configs name it: a folder by its whole path, a name on the hub with the run's revision."""
    if wishes.codec is None:
        return None
    from autoreel.models.pretrained import is_kept, settled

    kept = config.pretrained.source if config.pretrained else ""
    return kept if is_kept(wishes.codec, kept) else settled(wishes.codec)


def _said_start(wishes: Wishes) -> str | None:
    """A start as configs name it: folders by their whole path."""
    start = wishes.start
    return start if start is None or start in WORDS else str(Path(start).absolute())
