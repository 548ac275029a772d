"""What a run costs: size, operations, speed, memory, training time, energy where the machine tells it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autoreel.clip import Frames
from autoreel.models.memory import forget_peak, peak_bytes
from autoreel.models.prior import Prior
from autoreel.report.figures import Figure, not_measured
from autoreel.report.subject import Subject

ENERGY = Path("/sys/class/powercap")
GROUPS = 4  # of frames, over which operations are counted
MIN_TIMED_S = 1.0


@dataclass
class Watch:
    """What a block cost.

    Args:
        seconds: wall time.
        joules: of the whole processor; None where the machine does not tell.
        peak_bytes: the most memory that the process held at once.
        peak_is_own: whether that is of this block alone, and not of all since the start.
        gpu_bytes: the most memory that was held on the GPU; None without one.
    """

    seconds: float = 0.0
    joules: float | None = None
    peak_bytes: int = 0
    peak_is_own: bool = False
    gpu_bytes: int | None = None


@contextmanager
def watched() -> Iterator[Watch]:
    """Measure a block."""
    watch = Watch(peak_is_own=forget_peak())
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    before, started = _microjoules(), time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - started  # frames lie on the host by then: nothing is under way on a GPU
    if torch.cuda.is_available():
        watch.gpu_bytes = torch.cuda.max_memory_allocated()
    after = _microjoules()
    if before and before.keys() == after.keys():
        # A counter that ran over has fallen; such a block is not told.
        differences = [after[name] - before[name] for name in before]
        watch.joules = sum(differences) / 1e6 if min(differences) >= 0 else None
    watch.peak_bytes = peak_bytes()


def _microjoules() -> dict[str, int]:
    """The energy counters of every processor package (RAPL, Intel's and AMD's); empty where they cannot be read."""
    found = {}
    for counter in sorted(ENERGY.glob("*rapl:[0-9]/energy_uj")) if ENERGY.is_dir() else ():
        try:
            found[counter.parent.name] = int(counter.read_text())
        except (OSError, ValueError):
            return {}  # only the administrator may read them on most machines
    return found


def efficiency(subject: Subject, clip: Frames | None, sampling: Watch | None, num_frames: int) -> list[Figure]:
    """Every figure of cost.

    Args:
        subject: the run.
        clip: real frames to encode and decode; None when the family does not encode.
        sampling: what sampling cost.
        num_frames: how many frames were sampled.
    """
    made: list[Figure] = [*_sizes(subject), *_operations(subject)]
    if clip is not None:
        latents = subject.run.encode(clip)
        made.append(_speed("encode_fps", "Encoding", len(clip), lambda: subject.run.encode(clip)))
        made.append(_speed("decode_fps", "Decoding", len(clip), lambda: subject.run.decode(latents)))
    if sampling is not None and sampling.seconds > 0:
        made.append(Figure(
            "sampling_fps", "Sampling", num_frames / sampling.seconds, "frames/s",
            "How many frames of new footage are made in a second on this machine, decoding included.",
            "higher", num_frames, "frames", note=_beside(subject),
        ))  # fmt: skip
        made.append(Figure(
            "peak_memory", "Peak memory", sampling.peak_bytes / 2**20, "MiB",
            f"The most memory that the program held at once {'while sampling' if sampling.peak_is_own else 'so far'}.",
            "lower", 1, "runs",
        ))  # fmt: skip
        if sampling.gpu_bytes:
            made.append(Figure(
                "peak_gpu_memory", "Peak memory of the GPU", sampling.gpu_bytes / 2**20, "MiB",
                "The most memory that was held on the GPU at once while sampling.", "lower", 1, "runs",
            ))  # fmt: skip
        made.append(_energy(sampling, num_frames))
    return [*made, *_training(subject)]


def _sizes(subject: Subject) -> list[Figure]:
    parts: dict[str, nn.Module] = {"codec": subject.codec}
    if subject.origin == "prior":
        parts["prior"] = _empty_prior(subject)
    return [
        Figure(f"{name}_parameters", f"Parameters of the {name}", float(sum(p.numel() for p in part.parameters())), "",
               f"Numbers that the {name} has learned.", "lower", 1, "models")
        for name, part in parts.items()
    ]  # fmt: skip


def _empty_prior(subject: Subject) -> Prior:
    stride = subject.codec.spatial_stride
    size = subject.run.size[0] // stride, subject.run.size[1] // stride
    with torch.random.fork_rng(devices=[]):
        return Prior(subject.run.config.prior, subject.codec.latent_channels, size, len(subject.run.labels))


@torch.no_grad()
def _operations(subject: Subject) -> list[Figure]:
    codec = subject.codec.to("cpu").eval()
    frames = 1 + GROUPS * codec.temporal_stride
    video = torch.zeros(1, 3, frames, *subject.run.size)
    shape = (1, codec.latent_channels, 1 + GROUPS, *(side // codec.spatial_stride for side in subject.run.size))
    jobs: dict[str, Callable[[], object]] = {"decode": lambda: codec.decode(torch.zeros(shape))}
    if subject.has_encoder:
        jobs = {"encode": lambda: codec.encode(video), **jobs}
    made = [
        Figure(f"{name}_operations", f"Operations to {name}", _count(job) / frames / 1e9, "GFLOP/frame",
               f"Multiplications and additions, in billions, to {name} one frame.", "lower", frames, "frames")
        for name, job in jobs.items()
    ]  # fmt: skip
    if subject.origin == "prior":
        prior, window = _empty_prior(subject).eval(), subject.run.config.prior.window
        row = torch.zeros(1, shape[1], window, *shape[3:])
        times = torch.arange(window)[None].float()
        count = _count(lambda: prior(row, torch.zeros(1, window), times, torch.full((1,), -1)))
        made.append(Figure(
            "prior_operations", "Operations of the prior", count / window / 1e9, "GFLOP/latent frame",
            "Multiplications and additions, in billions, to look at one latent frame once; every step of the sampler "
            "looks once, and with guidance twice.", "lower", window, "latent frames",
        ))  # fmt: skip
    return made


def _count(job: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        job()
    return int(counter.get_total_flops())


def _speed(key: str, name: str, num_frames: int, job: Callable[[], object]) -> Figure:
    job()
    runs, started = 0, time.perf_counter()
    while time.perf_counter() - started < MIN_TIMED_S:
        job()
        runs += 1
    fps = runs * num_frames / (time.perf_counter() - started)
    meaning = f"How many frames a second {name.lower()} handles on this machine."
    return Figure(key, name, fps, "frames/s", meaning, "higher", runs * num_frames, "frames")


def _energy(sampling: Watch, num_frames: int) -> Figure:
    about: dict[str, Any] = {
        "key": "energy_per_frame", "name": "Energy for a frame", "unit": "J", "better": "lower", "counted": "frames",
        "meaning": "What the whole processor drew while sampling, for each frame.",
    }  # fmt: skip
    if sampling.joules is None:
        return Figure(**about, **not_measured("this machine does not tell its energy to this user"))
    return Figure(**about, value=sampling.joules / num_frames, count=num_frames)


def _training(subject: Subject) -> list[Figure]:
    return [
        Figure(f"{name}_minutes", f"Training of the {name}", state.elapsed_s / 60, "min",
               f"Time that the {name} was trained for, over all sessions.", "lower", state.step, "steps",
               note=f"seed {subject.run.config.training.seed}")
        for name, state in subject.folder.manifest.stages.items()
        if state.done
    ]  # fmt: skip


def _beside(subject: Subject) -> str:
    return f"{subject.run.device.type}, {torch.get_num_threads()} threads"
