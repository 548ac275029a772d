"""Enlarging frames as they come: the same to the bit for every way a clip is cut."""

from __future__ import annotations

import numpy as np
import torch

from autoreel.config import UpscalerConfig
from autoreel.generation.enlarging import Enlarger
from autoreel.models.compute import matrix_dtype
from autoreel.models.upscaler import Upscaler

CPU = torch.device("cpu")


def test_however_a_clip_is_cut_it_is_the_same_to_the_bit() -> None:
    torch.manual_seed(0)
    upscaler = Upscaler(UpscalerConfig(width=8, depth=2), 2)
    for parameter in upscaler.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    enlarger = Enlarger(upscaler, CPU, matrix_dtype(CPU))
    clip = np.random.default_rng(0).integers(0, 256, (19, 16, 24, 3), np.uint8)
    whole = np.concatenate(list(enlarger.stream([clip])))
    assert whole.shape == (19, 32, 48, 3) and whole.dtype == np.uint8
    for length in (1, 3, 8, 11):
        chunks = (clip[i : i + length] for i in range(0, 19, length))
        assert np.array_equal(np.concatenate(list(enlarger.stream(chunks))), whole)
    assert list(enlarger.stream([])) == list(enlarger.stream([clip[:0]])) == []
