"""What a codec's training starts from; `training.start` in the config says it.

    auto       the starter, where the package had one of the codec's layout when the run began; else scratch
    scratch    nothing
    starter    the codec that comes with the package, trained on footage of all kinds
    a folder   another run's codec, or a codec's own folder, of the same layout

The weights are copied into the run folder as start.safetensors before the first step, so that the run does not need
the other folder again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autoreel.config import CodecConfig, Config
from autoreel.errors import RunError
from autoreel.runs import RunFolder, layout_of

if TYPE_CHECKING:
    from torch import Tensor

START_FILE = "start.safetensors"
CODEC_FILE = "codec.safetensors"
STARTERS = Path(__file__).parent.parent / "models" / "starter"
WORDS = ("auto", "scratch", "starter")


def find_starter(codec: CodecConfig) -> Path | None:
    """The folder of the starter that has a codec's layout; None when the package has none."""
    from autoreel.models.stored import CONFIG_FILE, config_of

    for path in sorted(STARTERS.glob(f"*/{CONFIG_FILE}")):
        if not differences(config_of(path.parent), codec):
            return path.parent
    return None


def differences(there: CodecConfig, here: CodecConfig) -> list[str]:
    """What keeps the weights of one codec from fitting another: "latent_channels 16, not 8"."""
    a, b = there.model_dump(), here.model_dump()
    if there.linear_past < here.linear_past or "gan" in (there.family, here.family):
        b["linear_past"] = there.linear_past  # see `_widened`; a gan has no linear path
    if "gan" not in (there.family, here.family):
        b["family"] = there.family  # how latents are drawn, not which weights there are; but `gan` is half a codec
    return [f"{key} {a[key]}, not {b[key]}" for key in a if a[key] != b[key]]


def is_run(path: Path) -> bool:
    """Whether a folder is a run folder."""
    return (path / "run.json").is_file()


def codec_config_at(place: Path) -> CodecConfig:
    """The layout of the codec in a run folder or a codec's own folder.

    Raises:
        RunError: there is none, or the run uses a pretrained one.
    """
    if is_run(place):
        run = RunFolder.open(place)
        config = run.config
        if config.pretrained is not None:
            raise RunError(f"{place} uses {config.pretrained.source}; give that with --codec instead of --start")
        if CODEC_FILE not in run.manifest.weights:
            raise RunError(f"--start {place}: its codec is not trained yet; train that run first, or give another")
        return config.codec
    if not place.is_dir():
        raise RunError(f"--start {place}: no such folder; give a run folder, starter or scratch")
    from autoreel.models.stored import config_of

    return config_of(place)


def resolve(config: Config) -> Config:
    """Settle what "auto" means, and hold the start to the config, before anything is written.

    Raises:
        RunError: there is no such start, or it has another layout.
    """
    start = config.training.start
    if start == "auto":
        found = find_starter(config.codec) if config.pretrained is None else None
        return _starting(config, "starter") if found else config
    if start != "scratch":
        _place(config)
    return config if start in WORDS else _starting(config, str(Path(start).absolute()))


def start_weights(run: RunFolder) -> dict[str, Tensor] | None:
    """The weights that a run's codec starts from, which are kept in the run from the first call on; None for scratch.

    Raises:
        RunError: there is no such start, it has another layout, or it is damaged.
        OutputError: they cannot be kept.
    """
    config = run.config
    if config.training.start in ("auto", "scratch") or config.pretrained is not None:
        return None
    from autoreel.models.codec import Codec

    if START_FILE in run.manifest.weights:
        return run.load_weights(START_FILE, layout_of(Codec(config.codec).state_dict()))
    place = _place(config)
    if is_run(place):
        from autoreel.models.opening import own_codec

        codec = own_codec(RunFolder.open(place))
    else:
        from autoreel.models.stored import load_codec

        codec = load_codec(place)
    tensors = _widened(codec.state_dict(), config.codec)
    run.save_weights(START_FILE, tensors, {"from": config.training.start})
    return tensors


def _widened(tensors: dict[str, Tensor], here: CodecConfig) -> dict[str, Tensor]:
    """The same codec with a linear path that may look at the group before, and does not yet."""
    import torch.nn.functional as F

    up = tensors.get("linear.up")
    missing = (1 + here.linear_past) * here.latent_channels - up.shape[1] if up is not None else 0
    if up is not None and missing > 0:
        tensors["linear.up"] = F.pad(up, (0, 0, 0, 0, 0, missing))
    return tensors


def _place(config: Config) -> Path:
    """The folder that the config's start names."""
    start = config.training.start
    if start == "starter":
        found = find_starter(config.codec)
        if found is None:
            raise RunError(
                f"there is no starter for this layout of codec (preset {config.preset}); use --start scratch, or "
                "--start with the folder of a run"
            )
        return found
    other = differences(codec_config_at(Path(start)), config.codec)
    if other:
        raise RunError(
            f"--start {start}: its codec has another layout ({'; '.join(other)}); choose that run's preset or config"
        )
    return Path(start)


def _starting(config: Config, start: str) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update={"start": start})})
