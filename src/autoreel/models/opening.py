"""The codec of a run folder, whichever it is."""

from __future__ import annotations

import torch

from autoreel.errors import RunError
from autoreel.models.codec import Codec
from autoreel.models.upscaler import Upscaler
from autoreel.models.video_codec import VideoCodec
from autoreel.runs import RunFolder, layout_of, read_metadata

CODEC_FILE = "codec.safetensors"
REFINED_FILE = "refine.safetensors"  # the encoder alone
UPSCALER_FILE = "upscale.safetensors"


def open_codec(run: RunFolder, *, refined: bool = True) -> VideoCodec:
    """Build the codec of a run and give it its weights.

    Args:
        run: the run folder.
        refined: take the encoder as its refinement left it, where that has been done.

    Raises:
        RunError: not trained yet, damaged, not what the config describes; or a pretrained one that is gone.
        UsageError: a pretrained one, and the extra for it is not installed.
    """
    pretrained = run.config.pretrained
    if pretrained is None:
        with torch.device("meta"):  # a config that asks for gigabytes must not get them for a small file
            outline = Codec(run.config.codec)
        weights = run.load_weights(CODEC_FILE, layout_of(outline.state_dict()))
        codec = Codec(run.config.codec)
        codec.load_state_dict(weights)
        if refined and _is_refined(run):
            codec.encoder.load_state_dict(run.load_weights(REFINED_FILE, layout_of(codec.encoder.state_dict())))
        return codec
    from autoreel.models.pretrained import DiffusersCodec

    shape = (pretrained.latent_channels,)
    kept = run.load_weights(CODEC_FILE, {name: (shape, torch.float32) for name in ("latent_mean", "latent_deviation")})
    opened = DiffusersCodec.open(pretrained)
    opened.latent_mean.copy_(kept["latent_mean"])
    opened.latent_deviation.copy_(kept["latent_deviation"])
    return opened


def own_codec(run: RunFolder, *, refined: bool = True) -> Codec:
    """`open_codec` for what only our own codec can do; arguments as there.

    Raises:
        RunError: the run's codec is a pretrained one; or as `open_codec`.
    """
    codec = open_codec(run, refined=refined)
    if not isinstance(codec, Codec):
        raise RunError(f"{run.root} uses a pretrained codec; this takes a run that trained its own")
    return codec


def open_upscaler(run: RunFolder) -> Upscaler:
    """Build the upscaler of a run and give it its weights.

    Raises:
        RunError: not trained yet, of another codec, no better than Lanczos, or damaged.
    """
    state, path = run.manifest.stages.get("upscale"), run.path(UPSCALER_FILE)
    of_codec = state.codec_hash.split("+")[0] if state is not None and state.codec_hash is not None else None
    if UPSCALER_FILE not in run.manifest.weights or of_codec != run.manifest.codec_hash:
        raise RunError(
            f"{run.root} has not learned to enlarge; prepare its footage with a larger --size and run `autoreel train "
            f"--run {run.root} --stage upscale --large FOLDER` on it, or use --upscale lanczos"
        )
    said = read_metadata(path)
    if said.get("wins") != "yes":
        raise RunError(
            f"{run.root}: on footage held back, Lanczos was better than what it learned of enlarging; train that "
            "stage with a larger --budget, or use --upscale lanczos"
        )
    if said.get("times") not in ("2", "4"):
        raise RunError(f"{path} is damaged: it does not say how much it enlarges; copy it again, or train it again")
    with torch.device("meta"):  # as in `open_codec`
        outline = Upscaler(run.config.upscaler, int(said["times"]))
    weights = run.load_weights(UPSCALER_FILE, layout_of(outline.state_dict()))
    upscaler = Upscaler(run.config.upscaler, int(said["times"]))
    upscaler.load_state_dict(weights)
    return upscaler


def _is_refined(run: RunFolder) -> bool:
    """Whether there is a refined encoder, and of the codec that is there now."""
    stage = run.manifest.stages.get("refine")
    return REFINED_FILE in run.manifest.weights and stage is not None and stage.codec_hash == run.manifest.codec_hash
