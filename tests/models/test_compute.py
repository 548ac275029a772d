from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from autoreel.models import compute

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("amx", "avx512", "faster", "wanted"),
    [
        (True, True, False, torch.bfloat16), (False, True, True, torch.bfloat16), (False, True, False, torch.float32),
        (False, False, True, torch.float32),
    ],
)  # fmt: skip
def test_matrices_are_multiplied_in_what_is_faster(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, faster: bool, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(compute, "is_bfloat16_faster", lambda: faster)
    assert compute.matrix_dtype(CPU) == wanted


def test_what_is_faster_is_measured_once_and_leaves_random_numbers_alone() -> None:
    compute.is_bfloat16_faster.cache_clear()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = compute.is_bfloat16_faster()
    assert compute.is_bfloat16_faster() is first
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("platform", "asked"), [("linux", [0]), ("darwin", []), ("win32", [])])
def test_memory_is_given_back_where_the_c_library_can(
    monkeypatch: pytest.MonkeyPatch, platform: str, asked: list[int]
) -> None:
    found: list[int] = []
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace(malloc_trim=found.append))
    compute.give_back_memory()
    assert found == asked
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace())
    compute.give_back_memory()  # a C library of another kind


@pytest.mark.parametrize(("platform", "asked"), [("linux", 2), ("darwin", 0), ("win32", 0)])
def test_memory_is_kept_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch, platform: str, asked: int) -> None:
    found: list[tuple[int, int]] = []
    wanted = [(-1, 2**31 - 1), (-3, 32 << 20)]  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    monkeypatch.setattr("sys.platform", platform)
    library = SimpleNamespace(mallopt=lambda option, value: found.append((option, value)))
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    compute.keep_memory()
    assert found == wanted[:asked]
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace())
    compute.keep_memory()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="a C library without mallopt")
def test_the_c_library_takes_what_is_asked_for() -> None:
    asked = [(compute.TRIM_THRESHOLD, compute.MOST_KEPT), (compute.MMAP_THRESHOLD, compute.MOST_IN_HEAP)]
    code = f"import ctypes, sys; sys.exit(not all(ctypes.CDLL(None).mallopt(*pair) for pair in {asked}))"
    subprocess.run([sys.executable, "-c", code], check=True)  # it lasts as long as the process
