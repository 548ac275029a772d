"""Where and in which number format models run."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F

from autoreel.errors import UsageError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, by malloc.h
MOST_KEPT = 2**31 - 1  # bytes free at the top of the heap
MOST_IN_HEAP = 32 << 20  # bytes in one piece; glibc takes no more


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
    """bfloat16 where the hardware multiplies faster in it, else float32.

    On CPUs without units for it bfloat16 is emulated, and slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() and is_bfloat16_faster() else torch.float32


@functools.cache
def is_bfloat16_faster() -> bool:
    """Whether this CPU's dense convolutions are faster in bfloat16, measured once in a process (about 0.1 s).

    AVX-512 BF16 does not tell: Zen 4 multiplies twice as fast with it, Sapphire Rapids without AMX half as fast (95
    GFLOP/s a core, 177 in float32). A training that goes on bit for bit depends on the answer, so it must not turn with
    what else runs: processor time is compared, not wall time (with four programs on one core: 0.54 to 0.63 of
    bfloat16's in 60 tries, by wall time 0.35 to 0.75). Where the two are close, it is bfloat16.
    """
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    with torch.no_grad():
        for _ in range(5):  # the first round sets up
            for dtype in best:
                x = torch.ones(4, 128, 32, 32, dtype=dtype).to(memory_format=torch.channels_last)
                weight = torch.ones(128, 128, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
                began = time.thread_time()
                F.conv2d(x, weight, padding=1)
                best[dtype] = min(best[dtype], time.thread_time() - began)
    return best[torch.float32] > 0.8 * best[torch.bfloat16]


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Matrix products in `dtype`, everything that needs range in float32; nothing at all for float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def give_back_memory() -> None:
    """Hand memory that is free back to the system, where the C library can (glibc).

    It keeps what was freed, for what comes next; tensors that come and go beside small things that stay leave holes in
    it, and a process that does the same for minutes grows: eight takes of 64x64 pixels from 382 to 457 MiB in 80
    seconds of film. Asked once a second of film it stays between 364 and 400, in the same time (one core, 2026-11-28).
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def keep_memory() -> None:
    """Have the C library keep what a training frees, where it can (glibc): the next step takes as much again.

    For the whole process and for good; `give_back_memory` hands back what is free at a moment all the same.
    By its own rules it hands the top of its heap back to the system after every step, which then clears each page
    anew: 9,000 page faults in a step of `tiny`, 7 % of its time (two cores of an AMD EPYC, Zen 5, 2026-11-28). With
    this there are none, at a peak of 629 MiB instead of 622.
    """
    option = _of_glibc("mallopt")
    if option is not None:
        option(TRIM_THRESHOLD, MOST_KEPT)
        option(MMAP_THRESHOLD, MOST_IN_HEAP)


def _of_glibc(name: str) -> Callable[..., int] | None:
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    return found
