"""Codecs that others trained: the video autoencoders of the library diffusers, used as if they were ours.

    source   "diffusers:FOLDER"  config.json and safetensors, there or in FOLDER/vae
             "diffusers:NAME"    a repository of the hub, fetched by its own client when no such folder is there;
                                 NAME@REVISION for one of its revisions, and a run keeps the one that it was begun with

Each family has its own habits; what the rest of the program expects is bridged here.

    groups     4, 6 or 8 frames of 8, 16 or 32 pixels square; the first frame stands alone, as in ours.
    streams    Wan keeps the last inputs of each convolution, and so does its stream here: exact.
               Others look across the whole clip (norms over time, a decoder that sees the future): a stream shows each
               chunk with the CONTEXT groups before it, whose frames are then left out: close to the whole, not equal.
    odd counts CogVideoX paints even numbers of latent frames in another way: one of the context more makes them odd.
    scale      their published scaling is not used: mean and deviation are measured on the footage and kept in the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoreel.bounded import read_bounded
from autoreel.config import PretrainedConfig
from autoreel.errors import RunError, UsageError
from autoreel.models.blocks import Cache
from autoreel.models.codec import Posterior
from autoreel.models.video_codec import VideoCodec

CONTEXT = 4  # groups before a chunk that are shown with it
PROBE_FRAMES = 25  # 1 + 24: k groups after the first for every stride up to 4, and for 6, 8, 12
PROBE_SIDES = (64, 128)  # pixels
MAX_CONFIG_BYTES = 1 << 20
INSTALL = (
    "the extra `pretrained` is not installed; run `./autoreel set-up pretrained`, or pip install 'autoreel[pretrained]'"
)
REPEATS = torch.empty(0)  # stands for Wan's mark of a convolution that has seen the first frame only
ACTIVATIONS = 8  # tensors of a decoder's widest stage that are alive at once, about


def locate(source: str) -> Path:
    """The folder that holds config.json and the weights of a source; a name on the hub is fetched.

    Args:
        source: "diffusers:FOLDER" or "diffusers:NAME".

    Raises:
        UsageError: not such a text, or the extra is not installed.
        RunError: there is no such model, or it cannot be fetched.
    """
    kind, _, place = source.partition(":")
    if kind != "diffusers" or not place:
        raise UsageError(f"unknown codec {source!r}; write diffusers:FOLDER, or diffusers:NAME for one on the hub")
    if importlib.util.find_spec("diffusers") is None:
        raise UsageError(INSTALL)
    try:
        folder = Path(place).expanduser()
    except RuntimeError:
        raise UsageError(f"{place}: there is no such home folder; write the path in full") from None
    name, _, revision = place.partition("@")
    if not folder.exists() and name.count("/") == 1 and not place.startswith((".", "/", "~")):
        folder = _fetch(name, revision or None)
    for found in (folder, folder / "vae"):
        if (found / "config.json").is_file():
            return found
    raise RunError(f"{folder} holds no video autoencoder: no config.json there or in its folder vae")


def settled(source: str) -> str:
    """A source that means the same everywhere and later: a folder by its whole path; a name on the hub as it is.

    Args:
        source: as in `locate`; what is no such text comes back as it is.
    """
    kind, _, place = source.partition(":")
    try:
        folder = Path(place).expanduser()
    except RuntimeError:
        return source
    return f"{kind}:{folder.absolute()}" if kind == "diffusers" and place and folder.exists() else source


def is_kept(source: str, kept: str) -> bool:
    """Whether a source that is asked for is the one that a run keeps.

    Args:
        source: as in `locate`; a name on the hub without a revision stands for any.
        kept: of the run's config.

    Raises:
        UsageError, RunError: as `locate`, which a name of a revision (a tag, a branch) needs.
    """
    said = settled(source)
    if kept in (source, said):
        return True
    (name, _, revision), (kept_name, _, kept_revision) = said.partition("@"), kept.partition("@")
    if name != kept_name or not kept_revision or Path(kept.partition(":")[2]).is_absolute():
        return False
    return not revision or _pinned(said, locate(said)) == kept


def examine(source: str) -> PretrainedConfig:
    """Find out how a model compresses, by encoding and decoding a short grey clip.

    Args:
        source: as in `locate`.

    Raises:
        UsageError, RunError: as `locate`; or it is not a video autoencoder whose frames and latents can be matched.
    """
    folder = locate(source)
    model = _load(folder)
    source, errors = _pinned(settled(source), folder), []
    for side in PROBE_SIDES:
        try:
            with torch.no_grad():
                return _probe(model, side, source, hash_folder(folder))
        # Anything may go wrong inside a model that is given a clip it was not made for.
        except (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError,
                TypeError, ValueError) as error:
            errors.append(" ".join(str(error).split())[:200])
    raise RunError(f"{folder}: {type(model).__name__} is not a video autoencoder that can be used ({errors[0]})")


def hash_folder(folder: Path) -> str:
    """SHA-256 over config.json and the weights files, by name."""
    digest = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class DiffusersCodec(VideoCodec):
    """A diffusers autoencoder with our codec's methods. Use `open`.

    Args:
        model: the autoencoder.
        config: what `examine` found.
    """

    def __init__(self, model: nn.Module, config: PretrainedConfig) -> None:
        super().__init__()
        self.model: Any = model.requires_grad_(False).eval()
        self.config = config
        self.temporal_stride = config.temporal_stride
        self.spatial_stride = config.spatial_stride
        self.latent_channels = config.latent_channels
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_deviation", torch.ones(config.latent_channels))
        self._caches_itself = type(model).__name__ == "AutoencoderKLWan" and config.temporal_stride == 4

    @classmethod
    def open(cls, config: PretrainedConfig) -> DiffusersCodec:
        """Load the model that a config names.

        Raises:
            UsageError: the extra is not installed.
            RunError: it is not there any more, or another one than the run was trained with.
        """
        folder = locate(config.source)
        if hash_folder(folder) != config.sha256:
            raise RunError(
                f"{folder} is not the codec that this run was trained with: its files have changed; put the old ones "
                "back, or name their place as 'source' in the run's config.toml"
            )
        return cls(_load(folder), config)

    def encode_chunk(self, video: Tensor, cache: Cache | None) -> Posterior:
        """See `VideoCodec.encode_chunk`."""
        frames, t = video.shape[2], self.temporal_stride
        first = not cache
        if (frames - first) % t or not frames:
            expected = f"1 + a multiple of {t}" if first else f"a multiple of {t}"
            raise ValueError(f"{frames} frames given; the codec takes {expected} here")
        if self._caches_itself:
            return self._encode_wan(video, cache)
        groups = (frames - first) // t + first
        if cache:
            video = torch.cat([cache["frames"].to(video), video], 2)
        if cache is not None:
            cache["frames"] = video[:, :, -(1 + t * CONTEXT) :] if video.shape[2] > t * CONTEXT else video
        found = self.model.encode(video).latent_dist
        log_variance = getattr(found, "logvar", None)  # Cosmos: a plain point
        if log_variance is not None:
            log_variance = log_variance.float()[:, :, -groups:]
        return Posterior(found.mode().float()[:, :, -groups:], log_variance)

    def decode_chunk(self, latent: Tensor, cache: Cache | None) -> Tensor:
        """See `VideoCodec.decode_chunk`."""
        first = not cache
        if self._caches_itself:
            return self._decode_wan(latent, cache)
        n, t = latent.shape[2], self.temporal_stride
        if cache:
            context = CONTEXT + (self.config.odd_only and (CONTEXT + n) % 2 == 0)
            latent = torch.cat([cache["latent"][:, :, -context:].to(latent), latent], 2)
        if cache is not None:
            cache["latent"] = latent[:, :, -(CONTEXT + 1) :]
        return self._paint(latent)[:, :, -(t * n - (t - 1) * first) :]

    def working_bytes(self, height: int, width: int, groups: int) -> int:
        """See `VideoCodec.working_bytes`: the widest tensors are the first block's, at the size of the frames."""
        known = self.model.config
        names = ("block_out_channels", "encoder_block_out_channels", "decoder_block_out_channels")
        widths = [int(known[name][0]) for name in names if known.get(name)] or [int(known.get("base_dim") or 128)]
        patch = int(known.get("patch_size") or 1)
        positions = height * width * (groups + CONTEXT) * self.temporal_stride // patch**2
        return 4 * ACTIVATIONS * max(widths) * positions

    def _paint(self, latent: Tensor) -> Tensor:
        frames = 1 + self.temporal_stride * (latent.shape[2] - 1)
        if self.config.odd_only and latent.shape[2] % 2 == 0:
            latent = torch.cat([latent[:, :, :1], latent], 2)
        with _same_noise(latent.device):
            video: Tensor = self.model.decode(latent, **_conditions(self.model, latent)).sample.float()
        return video[:, :, -frames:]

    def _encode_wan(self, video: Tensor, cache: Cache | None) -> Posterior:
        model = self.model
        if model.config.patch_size is not None:
            from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

            video = patchify(video, patch_size=model.config.patch_size)
        first, kept = not cache, _remembered(cache, model._cached_conv_counts["encoder"])
        parts = [video[:, :, :1], *torch.split(video[:, :, 1:], 4, 2)] if first else torch.split(video, 4, 2)
        out = [model.encoder(part, feat_cache=kept, feat_idx=[0]) for part in parts if part.shape[2]]
        _remember(cache, kept)
        mean, log_variance = model.quant_conv(torch.cat(out, 2)).float().chunk(2, 1)
        return Posterior(mean, log_variance.clamp(-30.0, 20.0))

    def _decode_wan(self, latent: Tensor, cache: Cache | None) -> Tensor:
        model = self.model
        first, kept = not cache, _remembered(cache, model._cached_conv_counts["decoder"])
        z = model.post_quant_conv(latent)
        out = []
        for place, part in enumerate(torch.split(z, 1, 2)):
            begins = {"first_chunk": True} if first and not place else {}
            out.append(model.decoder(part, feat_cache=kept, feat_idx=[0], **begins))
        _remember(cache, kept)
        video = torch.cat(out, 2)
        if model.config.patch_size is not None:
            from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

            video = unpatchify(video, patch_size=model.config.patch_size)
        return video.float().clamp(-1.0, 1.0)


def _remembered(cache: Cache | None, count: int) -> list[Any]:
    """What each of Wan's convolutions has seen last, in Wan's own form: a tensor, "Rep" or nothing."""
    found = [(cache or {}).get(f"convolution.{place}") for place in range(count)]
    return ["Rep" if kept is not None and not kept.numel() else kept for kept in found]


def _remember(cache: Cache | None, kept: list[Any]) -> None:
    if cache is not None:
        cache |= {
            f"convolution.{place}": REPEATS if isinstance(value, str) else value
            for place, value in enumerate(kept) if value is not None
        }  # fmt: skip


def _probe(model: Any, side: int, source: str, digest: str) -> PretrainedConfig:
    video = torch.zeros(1, 3, PROBE_FRAMES, side, side)
    latent = model.encode(video).latent_dist.mode()
    if latent.ndim != 5:
        raise ValueError("it encodes pictures, not videos")
    count, (height, width) = latent.shape[2], latent.shape[3:]
    t, rest = divmod(PROBE_FRAMES - 1, count - 1) if count > 1 else (0, 1)
    if rest or side % height or height != width:
        raise ValueError(f"{PROBE_FRAMES} frames of {side}x{side} become {count} latents of {height}x{width}")
    painted = model.decode(latent[:, :, :2], **_conditions(model, latent)).sample
    config = PretrainedConfig(
        source=source, sha256=digest, temporal_stride=t, spatial_stride=side // height,
        latent_channels=latent.shape[1], odd_only=painted.shape[2] != 1 + t,
    )  # fmt: skip
    codec = DiffusersCodec(model, config)
    for groups in (1, 2, 3):
        video = codec.decode(latent[:, :, :groups].float())
        if video.shape != (1, 3, 1 + t * (groups - 1), side, side):
            raise ValueError(f"{groups} latents become {video.shape[2]} frames of {video.shape[4]} pixels")
        if codec.encode(video).mode().shape[2] != groups:
            raise ValueError(f"{video.shape[2]} frames do not become {groups} latents")
    return config


def _conditions(model: Any, latent: Tensor) -> dict[str, Any]:
    """LTX: how noisy the latents still are, which they are not."""
    if not model.config.get("timestep_conditioning"):
        return {}
    return {"temb": torch.zeros(len(latent), device=latent.device, dtype=latent.dtype)}


def _load(folder: Path) -> Any:
    if importlib.util.find_spec("diffusers") is None:
        raise UsageError(INSTALL)
    path = folder / "config.json"
    try:
        text = read_bounded(path, MAX_CONFIG_BYTES)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RunError(f"{path} is {error}; a model's config is a small file of text") from None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise RunError(f"{path} is damaged: it is not valid JSON") from None
    name = said.get("_class_name") if isinstance(said, dict) else None
    if not isinstance(name, str) or not name.startswith("AutoencoderKL"):
        raise RunError(f"{path} describes {name!r}, not one of the video autoencoders AutoencoderKL... of diffusers")
    if not any(folder.glob("*.safetensors")):
        raise RunError(f"{folder} holds no weights as safetensors; other formats are not loaded")
    with _quiet():
        import diffusers

        found = getattr(diffusers, name, None)
        if found is None:
            raise RunError(f"this version of diffusers ({diffusers.__version__}) has no {name}; update it")
        try:
            model = found.from_pretrained(
                str(folder), torch_dtype=torch.float32, use_safetensors=True, local_files_only=True,
                low_cpu_mem_usage=False,
            )  # fmt: skip
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            raise RunError(f"{folder} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    return model.eval()


def _pinned(source: str, folder: Path) -> str:
    """The source with the revision that was fetched: what comes after it on the hub is another model.

    Args:
        source: as in `locate`.
        folder: what was located; the hub's client keeps .../snapshots/REVISION.
    """
    snapshot = folder.parent if folder.name == "vae" else folder
    is_fetched = snapshot.parent.name == "snapshots" and not Path(source.partition(":")[2]).is_absolute()
    return f"{source.partition('@')[0]}@{snapshot.name}" if is_fetched else source


def _fetch(name: str, revision: str | None = None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        for inner in ("vae/", ""):
            patterns = [f"{inner}config.json", f"{inner}*.safetensors"] if inner else ["config.json"]
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
            if (folder / inner / "config.json").is_file():
                if not inner:
                    weights = "diffusion_pytorch_model*.safetensors"
                    snapshot_download(name, revision=revision, allow_patterns=["config.json", weights])
                return folder
    except (OSError, ValueError, HfHubHTTPError) as error:
        why = " ".join(str(error).split())[:200]
        raise RunError(f"{name}: no such folder, and not fetched from the hub: {why}") from error
    raise RunError(f"{name} on the hub holds no video autoencoder: no config.json there or in its folder vae")


@contextlib.contextmanager
def _same_noise(device: torch.device) -> Iterator[None]:
    """Decoders that add noise add the same each time."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """diffusers warns of optional parts that are not installed and are not needed here."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
