"""What is missing, and what this machine can do: measured on real training steps, not guessed from names."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import torch
from PIL import features

from autoreel.config import PRESETS
from autoreel.media.jail import jail_report
from autoreel.media.titles import UNSHAPED
from autoreel.models.compute import choose_device, is_bfloat16_faster, matrix_dtype, usable_cores
from autoreel.training.budget import Budget
from autoreel.training.measure import codec_step_s, largest_preset

EXTRAS = {  # extra of pyproject.toml: a module that comes with it
    "serve": "fastapi",
    "track": "tensorboard",
    "pretrained": "diffusers",
    "ray": "ray",
    "c2pa": "c2pa",
    "export": "onnx",
}
ENCODERS = {"H.264": "libx264", "AAC": "aac", "VP9": "libvpx-vp9", "Opus": "libopus"}
OK, NOTE, MISSING = "ok     ", "note   ", "MISSING"
LEAST_MEMORY_GB = 2  # the preset tiny peaked at 1.0 GB (2026-11-23), and a system needs some too


def examine(budget: Budget, *, measure: bool = True) -> Iterator[str]:
    """Look at the machine, line by line as it is found out.

    Args:
        budget: the training time for which the largest preset is looked for.
        measure: take a few training steps with one thread and with all.

    Returns:
        Lines that begin with "ok", "note" or "MISSING".
    """
    yield f"{OK} Python {platform.python_version()}, torch {torch.__version__}, PyAV {av.__version__}"
    yield from _hardware()
    yield from _places()
    yield from _jail()
    yield from _codecs()
    yield from _letters()
    yield from _extras()
    if measure:
        yield from _speed(budget)


def matrix_units() -> str:
    """What this processor multiplies matrices with in bfloat16: "AMX", "AVX-512 BF16" or "none"."""
    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    if not torch.cpu._is_avx512_bf16_supported():
        return "none"
    return "AVX-512 BF16" if is_bfloat16_faster() else "none (AVX-512 BF16 is slower than float32 here)"


def _hardware() -> Iterator[str]:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = usable_cores()
    line = f"{cores} core{'s' * (cores > 1)}, {memory_gb:.0f} GB of memory, matrix units: {matrix_units()}"
    if memory_gb < LEAST_MEMORY_GB:
        yield f"{MISSING} {line}; training needs {LEAST_MEMORY_GB} GB"
    elif matrix_units().startswith("none") and not torch.cuda.is_available():
        yield f"{NOTE} {line}; training is slower than on processors that have them"
    else:
        yield f"{OK} {line}"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            yield f"{OK} GPU {index}: {found.name}, {found.total_memory / 1e9:.0f} GB"
    else:
        built_for = torch.version.cuda
        why = "this torch is built for the CPU" if built_for is None else "no driver or no GPU that torch can use"
        yield f"{NOTE} no GPU ({why}); everything runs on the CPU"


def _places() -> Iterator[str]:
    here = Path.cwd()
    free_gb = shutil.disk_usage(here).free / 1e9
    mark, more = (OK, "") if free_gb >= 2 else (NOTE, "; a run and a film need about 2 GB")
    yield f"{mark} {free_gb:.0f} GB free in {here}{more}"
    if not os.access(here, os.W_OK):
        yield f"{NOTE} no permission to write in {here}; name another place with --out"


def _jail() -> Iterator[str]:
    layers = jail_report()
    closed = bool(layers.pop("closed", False))
    shown = ", ".join(f"{name} {value if not isinstance(value, bool) else 'yes' if value else 'no'}"
                      for name, value in layers.items())  # fmt: skip
    if closed:
        yield f"{OK} media files are opened in a jail: {shown}"
    else:
        yield (
            f"{MISSING} no jail for media files ({shown}); they are refused unless you trust them all and say "
            "--unsafe-no-jail"
        )


def _codecs() -> Iterator[str]:
    missing = [name for name, codec in ENCODERS.items() if codec not in av.codecs_available]
    if missing:
        yield f"{MISSING} encoders {', '.join(missing)}; install the av package from its wheel"
    else:
        yield f"{OK} encoders {', '.join(ENCODERS)}"


def _letters() -> Iterator[str]:
    if features.check("raqm"):
        yield f"{OK} titles and captions in every script that a font has"
    else:
        yield f"{NOTE} {UNSHAPED}; titles in them are refused until then"


def _extras() -> Iterator[str]:
    absent = [extra for extra, module in EXTRAS.items() if importlib.util.find_spec(module) is None]
    if absent:
        yield f"{NOTE} not installed: {', '.join(absent)}; none is needed, `./autoreel set-up EXTRA` adds one"


def _speed(budget: Budget) -> Iterator[str]:
    device = choose_device("auto")
    dtype = str(matrix_dtype(device)).removeprefix("torch.")
    config = PRESETS["tiny"]
    frames = config.training.codec_batch * config.training.codec_frames
    if device.type == "cuda":
        seconds = codec_step_s(config, device)
        yield f"{OK} training speed (preset tiny, {dtype}): {frames / seconds:.0f} frames a second on the GPU"
    else:
        before = torch.get_num_threads()
        counts = sorted({1, usable_cores()})
        try:
            for threads in counts:
                torch.set_num_threads(threads)
                seconds = codec_step_s(config, device)
                yield (
                    f"{OK} training speed (preset tiny, {dtype}, {threads} thread{'s' * (threads > 1)}): "
                    f"{frames / seconds:.0f} frames a second, {seconds:.2f} s a step"
                )
        finally:
            torch.set_num_threads(before)
    name, _ = largest_preset(budget, device)
    data = PRESETS[name].data
    yield f"{OK} largest preset for a budget of {budget}: {name} ({data.width}x{data.height} pixels)"
