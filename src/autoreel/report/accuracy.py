"""How true the codec is to footage it has never seen: figures of held-out clips beside their reconstructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autoreel.clip import Frames, to_model
from autoreel.data.store import Shot
from autoreel.evaluation.degradations import DEGRADATIONS, MILD, STRONG
from autoreel.evaluation.likelihood import bits_per_dimension, logistic_scale, nats
from autoreel.evaluation.metrics import ms_ssim, psnr, sharpness_kept, ssim, temporal_psnr
from autoreel.evaluation.samples import read, windows
from autoreel.evaluation.steadiness import flicker, reencoded, slope, unevenness
from autoreel.evaluation.uncertainty import mean_interval
from autoreel.models.codec import Codec
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.report.figures import Better, Figure, not_measured, with_interval
from autoreel.report.subject import Subject

LENGTH = 33  # frames of a clip: 1 + 8 groups of 4
MOST = 32  # clips
PERFECT = 99.0  # decibels that stand for equality in a mean
MOST_TRAINED = 12  # of the training side, which are only what the others are held against
ENCODINGS = 8
TRIED_GROUPS = 4  # of frames, on which reference degradations are tried
Measure = Callable[[Frames, Frames], float]


@dataclass(frozen=True)
class Pairs:
    """Clips beside what the codec made of them: uint8 (N, T, H, W, 3) each."""

    original: Frames
    made: Frames


@dataclass(frozen=True)
class Paired:
    """A measure of an original beside its reconstruction."""

    key: str
    name: str
    unit: str
    better: Better
    meaning: str
    measure: Measure


def _ms_ssim(original: Frames, made: Frames) -> float:
    scales = next(s for s in (5, 4, 3, 2, 1) if min(original.shape[1:3]) >= 11 << (s - 1))
    return ms_ssim(original, made, scales)


PAIRED = (
    Paired("psnr_db", "PSNR", "dB", "higher",
           "How small the error of each pixel is; below 25 dB plainly wrong, at 30 good, above 35 hard to see.", psnr),
    Paired("ssim", "SSIM", "", "higher", "How alike the structure of pictures is, 1 when equal; heeds blur.", ssim),
    Paired("ms_ssim", "MS-SSIM", "", "higher", "The same over several sizes of the picture, 1 when equal.", _ms_ssim),
    Paired("sharpness_kept", "Sharpness kept", "%", "nearer the floor",
           "How sharp reconstructions are beside their originals: 100 % loses nothing, less is softer, more is noise.",
           sharpness_kept),
    Paired("temporal_psnr_db", "PSNR of changes", "dB", "higher",
           "How true the change from frame to frame is: lost motion and flicker, without what stands still.",
           temporal_psnr),
    Paired("flicker_levels", "Flicker", "levels", "lower",
           "How much the error trembles from frame to frame, in the 255 levels of a pixel; 0 is steady.", flicker),
    Paired("unevenness_db", "Unevenness within groups", "dB", "lower",
           "By how much the worst of the frames that are written together is worse than the best; seen as a pulse.",
           unevenness),
)  # fmt: skip


def take(subject: Subject, shots: Sequence[Shot], most: int = MOST) -> Pairs | None:
    """Clips of some shots and their reconstructions; None when none of them is long enough."""
    chosen = windows(shots, LENGTH, least_step=LENGTH)
    chosen = [chosen[i * len(chosen) // most] for i in range(most)] if len(chosen) > most else chosen
    if not chosen:
        return None
    original = read(subject.store, chosen)
    return Pairs(original, subject.rebuilt(original))


def accuracy(subject: Subject, held_out: Pairs | None, trained: Pairs | None, seed: int) -> list[Figure]:
    """Every paired measure.

    Args:
        subject: a run with an encoder.
        held_out: clips of the held-out side; None when it has none that is long enough.
        trained: clips of the training side, as what the held-out ones are held against.
        seed: of the intervals.
    """
    figures = []
    for paired in PAIRED:
        about: dict[str, Any] = {
            "key": paired.key, "name": paired.name, "unit": paired.unit, "better": paired.better,
            "meaning": paired.meaning, "seed": seed, "floor_of": "training clips",
        }  # fmt: skip
        if paired.better == "nearer the floor":
            about |= {"floor": 1.0, "floor_of": "the originals"}
        elif trained is not None:
            about["floor"] = float(np.mean(_values(paired.measure, trained)))
        if held_out is None:
            figures.append(Figure(**about, **not_measured(f"no held-out shot has {LENGTH} frames")))
            continue
        found = with_interval(mean_interval(_values(paired.measure, held_out), seed))
        figures.append(Figure(**about, **found, blind_to=_blind_to(paired, held_out.original)))
    figures.append(_bits(subject, held_out, trained))
    if held_out is not None:
        figures.append(_reencoding(subject, held_out, seed))
    return figures


def _values(measure: Measure, pairs: Pairs) -> list[float]:
    return [min(PERFECT, measure(a, b)) for a, b in zip(pairs.original, pairs.made, strict=True)]


def _blind_to(paired: Paired, clips: Frames) -> tuple[str, ...]:
    """The degradations of originals that are not ranked: untouched, mild, strong."""
    clips, blind = clips[:2, : 1 + 4 * TRIED_GROUPS], []
    for name, degrade in DEGRADATIONS.items():
        mild, strong = (
            _worth(paired, float(np.mean(_values(paired.measure, Pairs(clips, degrade(clips, strength))))))
            for strength in (MILD, STRONG)
        )
        if not _worth(paired, paired.measure(clips[0], clips[0])) > mild > strong:
            blind.append(name)
    return tuple(blind)


def _worth(paired: Paired, value: float) -> float:
    """The higher the better, whatever the measure."""
    return {"higher": value, "lower": -value}.get(paired.better, -abs(value - 1.0))


def _bits(subject: Subject, held_out: Pairs | None, trained: Pairs | None) -> Figure:
    about: dict[str, Any] = {
        "key": "bits_per_dimension", "name": "Held-out bits per dimension", "unit": "bits", "better": "lower",
        "meaning": "What each colour value of unseen footage would cost to send exactly, latents and errors together; "
        "8 without any model. An upper bound.",
        "floor_of": "training clips",
    }  # fmt: skip
    if subject.family not in ("vae", "vae-gan") or not isinstance(subject.codec, Codec):
        return Figure(**about, **not_measured(f"the family {subject.family} has no posterior, so it is not defined"))
    if held_out is None or trained is None:
        return Figure(**about, **not_measured(f"no held-out shot has {LENGTH} frames"))
    codec = subject.codec.to(subject.run.device).eval()
    scale = logistic_scale(torch.cat([_error(codec, clip) for clip in trained.original]))
    values = [_clip_bits(codec, clip, scale) for clip in held_out.original]
    floor = float(np.mean([_clip_bits(codec, clip, scale) for clip in trained.original]))
    return Figure(**about, **with_interval(mean_interval(values)), seed=0, floor=floor)


@torch.no_grad()
def _error(codec: Codec, clip: Frames) -> torch.Tensor:
    video = to_model(clip, codec.latent_mean.device)
    with autocast(video.device, matrix_dtype(video.device)):
        made = codec.decode(codec.encode(video).mode())
    return (video - made.float()).flatten()


@torch.no_grad()
def _clip_bits(codec: Codec, clip: Frames, scale: float) -> float:
    video = to_model(clip, codec.latent_mean.device)
    with autocast(video.device, matrix_dtype(video.device)):
        posterior = codec.encode(video)
        made = codec.decode(posterior.sample(torch.Generator(video.device).manual_seed(0)))
    kl = float(posterior.kl()) * posterior.mean.numel()
    return bits_per_dimension(kl, float(nats(video, made.float(), scale).sum()), video.numel())


def _reencoding(subject: Subject, held_out: Pairs, seed: int) -> Figure:
    clips = held_out.original[:3]
    chains = [reencoded(clip, subject.run.rebuild, ENCODINGS) for clip in clips]
    falls = [slope(chain, 60.0 * np.arange(len(chain))).per_minute for chain in chains]
    about = "How much is lost each time a clip is encoded and decoded again; nothing at 0, and the less the steadier."
    return Figure(
        key="reencoding_db", name="Loss by re-encoding", unit="dB each time", better="higher", meaning=about, seed=seed,
        note=f"after once {np.mean([c[0] for c in chains]):.1f} dB, after {ENCODINGS} times "
        f"{np.mean([c[-1] for c in chains]):.1f} dB",
        **with_interval(mean_interval(falls, seed)),
    )  # fmt: skip
