"""Frames of a run made larger by what it learned of its footage, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from autoreel.clip import Frames, to_frames, to_model
from autoreel.models.blocks import Cache
from autoreel.models.compute import autocast
from autoreel.models.upscaler import Upscaler

MOST_FRAMES, MOST_PIXELS = 8, 1 << 18  # enlarged at once


class Enlarger:
    """An upscaler that takes and gives frames.

    Args:
        upscaler: trained; it is put on `device`.
        device, dtype: to compute on and in.
    """

    def __init__(self, upscaler: Upscaler, device: torch.device, dtype: torch.dtype) -> None:
        self.times = upscaler.times
        self._upscaler, self._device, self._dtype = upscaler.to(device).eval(), device, dtype

    def stream(self, chunks: Iterable[Frames]) -> Iterator[Frames]:
        """Enlarge a clip as it comes.

        Args:
            chunks: uint8 (n, H, W, 3), n of any size. However a clip is cut into chunks, what is made of it is the same
                to the bit: it is computed in pieces of a length that only the frames' size decides.

        Yields:
            uint8 (n, times * H, times * W, 3).
        """
        cache: Cache = {}
        for piece in _pieces(chunks):
            with torch.no_grad(), autocast(self._device, self._dtype):
                yield to_frames(self._upscaler(to_model(piece, self._device), cache))[0]


def _pieces(chunks: Iterable[Frames]) -> Iterator[Frames]:
    waiting: Frames | None = None
    for chunk in chunks:
        waiting = chunk if waiting is None else np.concatenate([waiting, chunk])
        length = max(1, min(MOST_FRAMES, MOST_PIXELS // (waiting.shape[1] * waiting.shape[2])))
        while len(waiting) >= length:
            yield waiting[:length]
            waiting = waiting[length:]
    if waiting is not None and len(waiting):
        yield waiting
