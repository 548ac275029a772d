"""Where and in which number format models run."""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager

import torch

from autoreel.errors import UsageError


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def computing_cores() -> int:
    """Cores to compute with: those that may be used, or as many as OMP_NUM_THREADS allows, as in torch itself."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(usable_cores(), int(asked)) if asked.isdecimal() and int(asked) > 0 else usable_cores()


def choose_device(name: str = "auto") -> torch.device:
    """The device to run on.

    Args:
        name: "auto" takes the GPU when there is one; else any torch device name.

    Raises:
        UsageError: the named device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; use auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU that torch can use is there; use --device cpu")
    return device


def matrix_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies in it, else float32.

    On CPUs without such units bfloat16 is emulated and slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    cpu = torch.cpu
    has_units = cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if has_units else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Matrix products in `dtype`, everything that needs range in float32; nothing at all for float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
