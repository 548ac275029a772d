"""Autoencoders of the library diffusers behave like our codec: shapes, streams, errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.models.peers import saved

from autoreel.errors import RunError, UsageError
from autoreel.models.pretrained import DiffusersCodec, examine, is_kept, settled

pytest.importorskip("diffusers", reason="the extra `pretrained` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of the libraries

# temporal stride, spatial stride, latent channels, whether only odd numbers of latents are painted as they are
FAMILIES = {
    "wan": (4, 8, 4, False),
    "wan-2.2": (4, 16, 4, False),
    "ltx": (8, 32, 8, False),
    "hunyuan": (4, 8, 4, False),
    "cogvideox": (4, 8, 4, True),
    "cosmos": (8, 8, 4, False),
}
by_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


def opened(family: str, folder: Path) -> DiffusersCodec:
    return DiffusersCodec.open(examine(f"diffusers:{saved(family, folder)}"))


def video(frames: int, side: int = 64) -> torch.Tensor:
    return torch.rand(1, 3, frames, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@by_family
@torch.no_grad()
def test_its_compression_is_found_out_and_its_streams_fit_together(family: str, folder: Path) -> None:
    codec = opened(family, folder)
    t, s, channels, odd_only = FAMILIES[family]
    assert (codec.temporal_stride, codec.spatial_stride, codec.latent_channels) == (t, s, channels)
    assert codec.config.odd_only == odd_only
    clip = video(1 + 3 * t)
    whole = codec.encode(clip).mode()
    assert whole.shape == (1, channels, 4, 64 // s, 64 // s)
    assert codec.decode(whole).shape == clip.shape
    encoding, decoding = codec.new_cache(), codec.new_cache()
    pieces = [codec.encode_chunk(part, encoding).mode() for part in torch.split(clip, [1 + t, t, t], 2)]
    assert [piece.shape[2] for piece in pieces] == [2, 1, 1]
    frames = [codec.decode_chunk(piece, decoding) for piece in torch.split(whole, [1, 2, 1], 2)]
    assert [part.shape[2] for part in frames] == [1, 2 * t, t]
    assert all(bool(part.isfinite().all()) for part in (*pieces, *frames))


@pytest.mark.parametrize("family", ["wan", "wan-2.2"])
@torch.no_grad()
def test_wan_streams_exactly(family: str, folder: Path) -> None:
    codec = opened(family, folder)
    clip = video(17)
    whole = codec.encode(clip).mode()
    assert torch.allclose(whole, codec.model.encode(clip).latent_dist.mean, atol=1e-5)
    painted = codec.decode(whole)
    assert torch.allclose(painted, codec.model.decode(whole).sample, atol=1e-5)
    for sizes in ([1, 1, 1, 1, 1], [2, 3], [3, 1, 1]):
        encoding, decoding = codec.new_cache(), codec.new_cache()
        frames = [1 + 4 * (sizes[0] - 1), *(4 * n for n in sizes[1:])]
        latent = torch.cat([codec.encode_chunk(part, encoding).mode() for part in torch.split(clip, frames, 2)], 2)
        made = torch.cat([codec.decode_chunk(part, decoding) for part in torch.split(whole, sizes, 2)], 2)
        assert torch.allclose(latent, whole, atol=1e-5) and torch.allclose(made, painted, atol=1e-5)


@torch.no_grad()
def test_a_stream_remembers_no_more_than_its_context(folder: Path) -> None:
    codec = opened("ltx", folder)
    cache = codec.new_cache()
    sizes = []
    for count in (1, 8, 8, 8, 8, 8, 8, 8):
        codec.encode_chunk(video(count), cache)
        sizes.append(cache["frames"].shape[2])
    assert sizes[-1] == sizes[-2] == 33


@torch.no_grad()
def test_noise_in_a_decoder_is_the_same_each_time(folder: Path) -> None:
    codec = opened("ltx", folder)
    latent = torch.randn(1, 8, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    assert torch.equal(codec.decode(latent), codec.decode(latent))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_changed_model_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    place = saved("wan", tmp_path)
    config = examine(f"diffusers:{place}")
    DiffusersCodec.open(config)
    text = (place / "config.json").read_text()
    (place / "config.json").write_text(text + "\n")
    with pytest.raises(RunError, match="its files have changed"):
        DiffusersCodec.open(config)


def test_what_is_no_such_codec_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="~nobody-of-that-name/vae: there is no such home folder"):
        examine("diffusers:~nobody-of-that-name/vae")
    with pytest.raises(UsageError, match="write diffusers:FOLDER"):
        examine("wan")
    with pytest.raises(RunError, match=r"no config\.json"):
        examine(f"diffusers:{tmp_path}")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        examine(f"diffusers:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(RunError, match="'UNet2DModel', not one of the video autoencoders"):
        examine(f"diffusers:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKLWan"}))
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(RunError, match="no weights as safetensors"):
        examine(f"diffusers:{tmp_path}")


def test_a_folder_is_meant_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = saved("wan", tmp_path)
    monkeypatch.chdir(tmp_path)
    config = examine(f"diffusers:{place.relative_to(tmp_path)}")
    assert config.source == f"diffusers:{place}"
    monkeypatch.chdir("/")
    DiffusersCodec.open(config)
    for as_it_is in ("diffusers:owner/model", "diffusers:", "wan", "diffusers:~nobody-of-that-name/vae"):
        assert settled(as_it_is) == as_it_is


def test_a_codec_of_the_hub_stays_the_revision_that_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = saved("wan", tmp_path)
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        commits = {None: "c2", "v1": "c1", "refs/pr/3": "c3"}
        folder = tmp_path / "hub" / "snapshots" / commits.get(revision, str(revision))
        if not folder.exists():
            shutil.copytree(place, folder / "vae")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    config = examine("diffusers:owner/model")
    assert config.source == "diffusers:owner/model@c2"
    DiffusersCodec.open(config)
    assert asked == [("owner/model", None), ("owner/model", "c2")]
    assert examine("diffusers:owner/model@refs/pr/3").source == "diffusers:owner/model@c3"
    kept = examine("diffusers:owner/model@v1").source
    assert kept == "diffusers:owner/model@c1"
    for same in ("diffusers:owner/model", "diffusers:owner/model@v1", kept):
        assert is_kept(same, kept)
    for other in ("diffusers:owner/model@c2", "diffusers:owner/other", f"diffusers:{place}"):
        assert not is_kept(other, kept) and not is_kept(kept, other.partition("@")[0])


def test_an_autoencoder_of_pictures_is_refused(tmp_path: Path) -> None:
    import diffusers

    diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).save_pretrained(tmp_path / "pictures")
    with pytest.raises(RunError, match="not a video autoencoder"):
        examine(f"diffusers:{tmp_path / 'pictures'}")
