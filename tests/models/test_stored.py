"""Our codec as a folder: what is written is what is read, and nothing else is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from autoreel.config import CodecConfig
from autoreel.errors import OutputError, RunError
from autoreel.models.codec import Codec
from autoreel.models.stored import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE

SMALL = CodecConfig(latent_channels=4, widths=(8, 8, 16), encoder_depths=(1, 1, 1), decoder_depths=(1, 1, 1))


@pytest.fixture
def codec() -> Codec:
    torch.manual_seed(0)
    codec = Codec(SMALL)
    codec.latent_mean.fill_(0.3)
    return codec


def test_saved_and_loaded_is_the_same(codec: Codec, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path / "codec")
    again = Codec.from_pretrained(tmp_path / "codec")
    assert again.config == codec.config
    assert all(torch.equal(a, b) for a, b in zip(codec.state_dict().values(), again.state_dict().values(), strict=True))
    card = (tmp_path / "codec" / CARD_FILE).read_text()
    assert card.startswith("---\nlibrary_name: autoreel") and "4 x 8 x 8 pixels" in card


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_the_size(codec: Codec, tmp_path: Path, dtype: torch.dtype) -> None:
    codec.save_pretrained(tmp_path / "whole")
    codec.save_pretrained(tmp_path / "half", dtype=dtype)
    sizes = [(tmp_path / name / WEIGHTS_FILE).stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    again = Codec.from_pretrained(tmp_path / "half")
    assert torch.equal(again.latent_mean, codec.latent_mean)
    video = torch.rand(1, 3, 5, 16, 16)
    a, b = codec.encode(video).mode(), again.encode(video).mode()
    assert a.dtype == b.dtype and float((a - b).norm() / a.norm()) < 0.02


def test_nothing_is_overwritten(codec: Codec, tmp_path: Path) -> None:
    (tmp_path / "codec").mkdir()
    (tmp_path / "codec" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="something already"):
        codec.save_pretrained(tmp_path / "codec")


def test_changed_weights_are_refused(codec: Codec, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path / "codec")
    path = tmp_path / "codec" / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match="not what was written"):
        Codec.from_pretrained(tmp_path / "codec")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_class_name": "AutoencoderKLWan"}, "not describe one of our codecs"),
        ({"format": 99}, "another format"),
        ({"latent_channels": 8}, "does not fit its config"),
        ({"colour": "blue"}, "unknown key 'colour'"),
        ({"dtype": "int8"}, "number format"),
    ],
)
def test_another_config_is_refused(codec: Codec, tmp_path: Path, change: dict[str, object], said: str) -> None:
    codec.save_pretrained(tmp_path / "codec")
    path = tmp_path / "codec" / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunError, match=said):
        Codec.from_pretrained(tmp_path / "codec")


def test_a_folder_without_a_codec_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no codec"):
        Codec.from_pretrained(tmp_path)
