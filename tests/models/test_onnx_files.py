"""ONNX files compute what torch computes, for every size; the command checks it by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from autoreel.cli import main
from autoreel.config import CodecConfig, Config
from autoreel.errors import OutputError
from autoreel.models import onnx_files
from autoreel.models.codec import Codec
from autoreel.runs import RunFolder

for module in onnx_files.MODULES:
    pytest.importorskip(module, reason="the extra `export` is not installed")
DEPTHS = {"encoder_depths": (0, 0, 1), "decoder_depths": (0, 0, 1)}


def codec_of(config: CodecConfig) -> Codec:
    torch.manual_seed(0)
    codec = Codec(config).eval()
    for parameter in codec.parameters():  # what starts at zero would hide its part
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    if codec.has_encoder:
        torch.nn.init.normal_(codec.linear.up, std=0.05)  # of the group before too
    return codec


def difference(codec: Codec, path: Path, name: str, sizes: tuple[int, int, int, int]) -> float:
    import onnxruntime

    x = onnx_files._input(codec, name, sizes)
    with torch.no_grad():
        expected = codec.encode(x).mode() if name == "encoder" else codec.decode(x)
    session = onnxruntime.InferenceSession(path / f"{name}.onnx", providers=["CPUExecutionProvider"])
    made = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
    assert made.shape == expected.shape
    return float((made - expected).abs().max() / expected.abs().max())


def test_the_command_writes_and_checks_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(codec=CodecConfig.model_validate({"widths": (8, 8, 8), "latent_channels": 4, **DEPTHS}))
    codec = codec_of(config.codec)
    codec.latent_mean.fill_(0.25)
    RunFolder.create(tmp_path / "run", config).save_weights("codec.safetensors", codec.state_dict(), {})
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "onnx"), "--format", "onnx"]) == 0
    told = capsys.readouterr()
    assert "encoder.onnx: differs from torch by" in told.err and told.out.strip() == str(tmp_path / "onnx")
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == [
        "README.md", "config.json", "decoder.onnx", "encoder.onnx",
    ]  # fmt: skip
    assert json.loads((tmp_path / "onnx" / "config.json").read_text())["latent_mean"] == [0.25] * 4
    for name in ("encoder", "decoder"):
        for sizes in ((1, 1, 1, 1), (5, 7, 3, 11)):
            assert difference(codec, tmp_path / "onnx", name, sizes) < onnx_files.TOLERANCE


FOUR = {"spatial_stride": 16, "widths": (8,) * 4, "encoder_depths": (0, 0, 0, 1), "decoder_depths": (0, 0, 0, 1)}


@pytest.mark.parametrize(
    "config",
    [
        {"family": "gan", "backbone": "transformer", "widths": (8, 8, 8), "attention_window": 4, **DEPTHS},
        {"backbone": "transformer", "attention_window": 4, **FOUR},
        {"temporal_stride": 1, "widths": (8, 8, 8), **DEPTHS},
    ],
    ids=["transformer gan", "transformer 4x16x16", "1x8x8"],
)  # fmt: skip
def test_other_layouts_take_every_size_too(tmp_path: Path, config: dict[str, Any]) -> None:
    codec = codec_of(CodecConfig.model_validate(config))
    sides = {"decoder"} if config.get("family") == "gan" else {"encoder", "decoder"}
    assert set(onnx_files.save_onnx(codec, tmp_path / "onnx")) == sides
    for name in sides:
        for sizes in ((1, 1, 1, 1), (2, 5, 9, 4)):
            assert difference(codec, tmp_path / "onnx", name, sizes) < onnx_files.TOLERANCE


def test_files_that_compute_something_else_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "_write", lambda codec, name, path: path.write_bytes(b""))
    monkeypatch.setattr(onnx_files, "_compare", lambda codec, name, path: 1e-3)
    codec = codec_of(CodecConfig(widths=(8, 8, 8)))
    with pytest.raises(OutputError, match="more than 1e-04"):
        onnx_files.save_onnx(codec, tmp_path / "onnx")
    assert not list(tmp_path.iterdir())
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "mine.txt").write_text("")
    with pytest.raises(OutputError, match="something already"):
        onnx_files.save_onnx(codec, tmp_path / "onnx")
