"""Encoder and decoder as ONNX files, for programs without torch, checked against torch before they are kept.

    encoder.onnx   video  (B, 3, 1 + t * k, H, W) in [-1, 1]  ->  latent (B, C, 1 + k, H / s, W / s)
    decoder.onnx   latent                                     ->  video
    config.json    strides, channels, and the latents' mean and deviation; in each file's metadata too
    README.md      the same for people

Batch, length, height and width are free. The latent is the posterior's mode, as `Codec.encode(video).mode()` gives it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoreel import __version__
from autoreel.errors import OutputError, UsageError
from autoreel.models.attention import WindowAttention
from autoreel.models.codec import Codec
from autoreel.models.stored import CARD_FILE, CONFIG_FILE
from autoreel.runs import atomic_path

TOLERANCE = 1e-4  # of the largest difference from torch, as a share of the largest value
MODULES = ("onnx", "onnxruntime", "onnxscript")
INSTALL = "the extra `export` is not installed; run `./autoreel set-up export`, or pip install 'autoreel[export]'"
Sizes = tuple[int, int, int, int]  # batch, latent frames, rows, columns
CHECKED: tuple[Sizes, ...] = ((1, 1, 2, 3), (3, 2, 5, 2), (1, 3, 9, 8))  # a single picture is among them


class _Encoder(nn.Module):
    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, video: Tensor) -> Tensor:
        return self.codec.encode(video).mode()


class _Decoder(nn.Module):
    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, latent: Tensor) -> Tensor:
        return self.codec.decode(latent)


def insist_on_extra() -> None:
    """Raises:
    UsageError: the extra `export` is not installed.
    """
    if any(importlib.util.find_spec(module) is None for module in MODULES):
        raise UsageError(INSTALL)


@torch.no_grad()
def save_onnx(codec: Codec, folder: Path, *, report: Callable[[str], None] | None = None) -> dict[str, float]:
    """Write a codec as ONNX files. The family `gan` has a decoder only.

    Args:
        codec: trained, on the CPU.
        folder: absent or empty.
        report: told how far each file is from torch.

    Returns:
        The largest difference of each file from torch, as a share of the largest value.

    Raises:
        UsageError: the extra `export` is not installed.
        OutputError: the folder holds something or cannot be written; or a file computes something else than torch.
    """
    insist_on_extra()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"cannot write {folder}: there is something already; give the name of a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    codec = codec.float().eval()
    found = {}
    with atomic_path(folder, folder=True) as part:
        for name in ("encoder", "decoder") if codec.config.family != "gan" else ("decoder",):
            path = part / f"{name}.onnx"
            _write(codec, name, path)
            found[name] = difference = _compare(codec, name, path)
            if report is not None:
                report(f"{path.name}: differs from torch by {difference:.1e} of the largest value")
            if not difference <= TOLERANCE:
                raise OutputError(
                    f"cannot write {folder}: {path.name} differs from torch by {difference:.1e} of the largest value, "
                    f"more than {TOLERANCE:.0e}"
                )
        (part / CONFIG_FILE).write_text(json.dumps(_facts(codec), indent=2) + "\n", encoding="utf-8")
        (part / CARD_FILE).write_text(_card(codec, list(found)), encoding="utf-8")
    return found


def _facts(codec: Codec) -> dict[str, Any]:
    return {
        "_autoreel_version": __version__,
        "family": codec.config.family,
        "temporal_stride": codec.temporal_stride,
        "spatial_stride": codec.spatial_stride,
        "latent_channels": codec.latent_channels,
        "latent_mean": codec.latent_mean.tolist(),
        "latent_deviation": codec.latent_deviation.tolist(),
    }


def _side(codec: Codec, name: str) -> tuple[nn.Module, str, str]:
    """The network, and the names of what goes in and comes out."""
    return (_Encoder(codec), "video", "latent") if name == "encoder" else (_Decoder(codec), "latent", "video")


def _seen(codec: Codec) -> Sizes:
    """What a file is made with: no size is one, which would be taken for a constant, not even the number of windows."""
    least = 2 * codec.config.attention_window if codec.config.backbone == "transformer" else 4
    return 2, 4, least, least + 2


def _input(codec: Codec, name: str, sizes: Sizes) -> Tensor:
    batch, frames, rows, columns = sizes
    t, s = codec.temporal_stride, codec.spatial_stride
    generator = torch.Generator().manual_seed(sum(sizes))
    if name == "encoder":
        return torch.rand(batch, 3, 1 + t * (frames - 1), rows * s, columns * s, generator=generator) * 2 - 1
    return torch.randn(batch, codec.latent_channels, frames, rows, columns, generator=generator)


def _write(codec: Codec, name: str, path: Path) -> None:
    network, given, made = _side(codec, name)
    t, s = codec.temporal_stride, codec.spatial_stride
    batch, frames, rows, columns = (torch.export.Dim(word, min=1) for word in ("batch", "frames", "rows", "columns"))
    shape: dict[int, Any] = {0: batch, 2: frames, 3: rows, 4: columns}
    if name == "encoder":
        shape = {0: batch, 2: t * frames + 1, 3: s * rows, 4: s * columns}
    with _quiet(), _for_any_size(codec):
        program = torch.onnx.export(
            network, (_input(codec, name, _seen(codec)),), dynamo=True, dynamic_shapes=(shape,), input_names=[given],
            output_names=[made], verbose=False,
        )  # fmt: skip
        assert program is not None  # only the old exporter, which writes the file itself, gives nothing
        for key, value in _facts(codec).items():
            program.model.metadata_props[f"autoreel.{key.lstrip('_')}"] = json.dumps(value)
        program.save(path, external_data=False)


def _compare(codec: Codec, name: str, path: Path) -> float:
    """The largest difference from torch over several sizes, as a share of the largest value."""
    import onnxruntime

    network, given, _ = _side(codec, name)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and told once
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        worst = 0.0
        for sizes in (_seen(codec), *CHECKED):
            x = _input(codec, name, sizes)
            expected, made = network(x), torch.from_numpy(session.run(None, {given: x.numpy()})[0])
            if made.shape != expected.shape:
                return float("inf")
            worst = max(worst, float((made - expected).abs().max() / expected.abs().max().clamp(min=1e-6)))
    except Exception as error:  # the runtime's own errors have no public type
        raise OutputError(f"cannot write {path.name}: {' '.join(str(error).split())[:200]}") from error
    return worst


def _card(codec: Codec, names: list[str]) -> str:
    t, s, c = codec.temporal_stride, codec.spatial_stride, codec.latent_channels
    files = "\n".join(
        f"- `{name}.onnx`: " + ("`video` to `latent`" if name == "encoder" else "`latent` to `video`") for name in names
    )
    return f"""# A video codec made with autoreel, as ONNX

{files}

`video` is float32 `(B, 3, 1 + {t}k, H, W)` in [-1, 1], height and width multiples of {s}; the first frame stands alone.
`latent` is float32 `(B, {c}, 1 + k, H/{s}, W/{s})`. All of B, k, H and W are free. `config.json` says the mean and
deviation of the latents of the footage it learned from, channel by channel.

It has learned from footage and can show parts of it: who made it says under which terms it may be used.
"""


@contextlib.contextmanager
def _for_any_size(codec: Codec) -> Iterator[None]:
    """Windows of attention are filled up in a way that is the same for every size, while a graph is written down."""
    windows = [module for module in codec.modules() if isinstance(module, WindowAttention)]
    for module in windows:
        module.always_fills = True
    try:
        yield
    finally:
        for module in windows:
            module.always_fills = False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of optional packages and of its own changes to come."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
