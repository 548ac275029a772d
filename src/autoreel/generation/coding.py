"""Between frames and latents: the codec and its streams, for clips of any size and length in memory that does not grow.

    frames 0 | 1 2 3 4 | 5 6 7 8 | 9 ...     the first stands alone, then whole groups
    latents 0      1         2

Frames are uint8 (T, H, W, 3); latents here are normalised float32 (B, C, n, h, w), as the prior sees them.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from autoreel.clip import Frames, to_frames, to_model
from autoreel.errors import UsageError
from autoreel.generation.fitting import fit_frames
from autoreel.media.geometry import Fit
from autoreel.models.blocks import Cache
from autoreel.models.compute import autocast, give_back_memory
from autoreel.models.streaming import GROUPS_AT_ONCE, decode_stream, encode_stream, rebuild_stream
from autoreel.models.tiling import pad_to_stride, tiled_where_needed
from autoreel.models.video_codec import VideoCodec

GIVE_BACK_EVERY = 8  # pieces of a stream; one latent frame or a few are a piece

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Known:
    """What is left of a clip that was encoded and painted again.

    Args:
        latents: (C, K, h, w), the first latent frame, then the latest: more is never looked at.
        left_out: how many were between them.
        decoding: the decoder's memory after the clip's last frame.
    """

    latents: Tensor
    left_out: int
    decoding: Cache


class FrameCodec:
    """A codec that takes and gives frames.

    Args:
        codec: trained, on `device`.
        size: (height, width) of its frames, any; large ones are cut into tiles where memory asks for it.
        fit: how other sizes are brought to it.
        device, dtype: to compute on and in.
    """

    def __init__(
        self, codec: VideoCodec, size: tuple[int, int], fit: Fit, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._codec = tiled_where_needed(codec, size, GROUPS_AT_ONCE, device)
        self.size, self._fit, self.device, self._dtype = size, fit, device, dtype
        self.stride = codec.temporal_stride

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, h, w) of a latent frame."""
        stride = self._codec.spatial_stride
        return self._codec.latent_channels, self.size[0] // stride, self.size[1] // stride

    def latents_for(self, num_frames: int) -> int:
        """Latent frames that hold so many frames, the first alone."""
        if num_frames < 1:
            raise UsageError(f"a clip has at least one frame, not {num_frames}")
        return 1 - (-(num_frames - 1) // self.stride)

    def groups_for(self, num_frames: int) -> int:
        """Groups that hold so many frames."""
        if num_frames < 1:
            raise UsageError(f"at least one new frame is needed, not {num_frames}")
        return -(-num_frames // self.stride)

    def fitted(self, frames: Frames) -> Frames:
        """Frames of any size, brought to the run's."""
        return fit_frames(frames, self.size, self._fit)

    # --- to latents

    def encode(self, clip: Iterable[Frames]) -> tuple[Tensor, int]:
        """A clip of any length, in chunks, to latents (1, C, n, h, w) on the CPU, and how many frames it had.

        The last frame is repeated until its group is full.

        Raises:
            UsageError: there is no frame.
        """
        given = [0]
        stream = self._computed(encode_stream(self._codec, self._as_model(clip, given)))
        pieces = [self._normal(posterior.mode()).cpu() for posterior in stream]
        if not pieces:
            raise UsageError("there is no frame in it")
        return torch.cat(pieces, 2), given[0]

    def encode_with_past(self, frames: Frames) -> Tensor:
        """Latents (C, n, h, w) of which none stands alone: a still first frame is their past."""
        frames = self.fitted(frames)
        return self.encode([np.concatenate([frames[:1], frames])])[0][0, :, 1:]

    def encode_pictures(self, frames: Frames) -> Tensor:
        """Every frame as a picture of its own: (T, C, 1, h, w)."""
        frames = self.fitted(frames)
        return self._normal(self._encoded(frames[:, None], None))

    # --- to frames

    def paint(
        self, latents: Iterable[Tensor], num_frames: int | None = None, decoding: Cache | None = None
    ) -> Iterator[Frames]:
        """Decode pieces of one stream.

        Args:
            latents: (B, C, n, h, w).
            num_frames: how many to paint; None for all there are.
            decoding: of a stream that has begun.

        Yields:
            uint8 (B, n, H, W, 3).
        """
        if num_frames is not None and num_frames <= 0:
            return
        height, width = self.size
        whole = (self._codec.denormalise(piece.to(self.device)) for piece in latents)
        left = num_frames
        for video in self._computed(decode_stream(self._codec, whole, decoding)):
            frames = to_frames(video[..., :height, :width])[:, :left]
            yield frames
            if left is not None:
                left -= frames.shape[1]
                if left <= 0:
                    return

    def paint_pictures(self, latents: Tensor) -> Frames:
        """Every latent (T, C, 1, h, w) as a picture of its own: uint8 (T, H, W, 3)."""
        return self._painted(self._codec.denormalise(latents.to(self.device)), None)[:, 0]

    # --- there and back

    def repainted(self, chunks: Iterable[Frames], window: int) -> Generator[Frames, None, Known]:
        """Encode and paint a clip that something follows: its last group ends with its last frame.

        What is missing to whole groups is known at the end only. So what the prior will see is held back, and a still
        of one to three frames is put before it: before the clip itself when that is short.

        Args:
            chunks: of any size and length.
            window: latent frames the prior sees at once.

        Yields:
            the codec's own reconstruction of the clip, uint8 (n, H, W, 3).
        """
        encoding, decoding = self._codec.new_cache(), self._codec.new_cache()
        known: list[Tensor] = []
        left_out = 0
        for piece, still in self._ending_on_a_group(chunks, window * self.stride):
            latent = self._encoded(piece, encoding)
            yield self._painted(latent, decoding)[0, still:]
            known += torch.split(self._normal(latent)[0].cpu(), 1, 1)
            excess = max(0, len(known) - window)
            del known[1 : 1 + excess]
            left_out += excess
        return Known(torch.cat(known, 1), left_out, decoding)

    def rebuilt(self, chunks: Iterable[Frames]) -> Iterator[Frames]:
        """Encode and paint a clip: frames (n, H, W, 3) come out as they go in."""
        for video in self._computed(rebuild_stream(self._codec, self._as_model(chunks, [0]))):
            yield to_frames(video)[0]

    def _as_model(self, chunks: Iterable[Frames], given: list[int]) -> Iterator[Tensor]:
        """Frames of any size as the codec takes them, few at a time; how many they were is added to `given`."""
        at_once = GROUPS_AT_ONCE * self.stride
        for chunk in chunks:
            for start in range(0, len(chunk), at_once):
                piece = self.fitted(chunk[start : start + at_once])
                given[0] += len(piece)
                yield to_model(piece, self.device)

    def _computed(self, items: Iterator[ItemT]) -> Iterator[ItemT]:
        """What a stream computes, without gradients and in the precision of this codec."""
        for number in itertools.count(1):
            with torch.no_grad(), autocast(self.device, self._dtype):
                item = next(items, None)
            if item is None:
                return
            yield item
            if number % GIVE_BACK_EVERY == 0:
                give_back_memory()

    def _ending_on_a_group(self, chunks: Iterable[Frames], held: int) -> Iterator[tuple[Frames, int]]:
        """Pieces to encode, of which the last ends with the clip, and how many still frames they begin with."""
        at_once = GROUPS_AT_ONCE * self.stride
        waiting: Frames = np.empty((0, *self.size, 3), np.uint8)
        started = False
        for chunk in chunks:
            waiting = np.concatenate([waiting, self.fitted(chunk)])
            while len(waiting) >= held + at_once + (not started):
                take = at_once + (not started)
                yield waiting[:take], 0
                waiting, started = waiting[take:], True
        if not len(waiting):
            raise UsageError("there is no frame to go on from")
        still = -(len(waiting) - (not started)) % self.stride
        waiting = np.concatenate([np.repeat(waiting[:1], still, axis=0), waiting])
        while len(waiting):
            take = at_once + (not started)
            yield waiting[:take], still
            waiting, started, still = waiting[take:], True, 0

    def _encoded(self, frames: Frames, cache: Cache | None) -> Tensor:
        video = pad_to_stride(to_model(frames, self.device), self._codec.spatial_stride)
        with torch.no_grad(), autocast(self.device, self._dtype):
            return self._codec.encode_chunk(video, cache).mode()

    def _painted(self, latent: Tensor, cache: Cache | None) -> Frames:
        height, width = self.size
        with torch.no_grad(), autocast(self.device, self._dtype):
            return to_frames(self._codec.decode_chunk(latent, cache)[..., :height, :width])

    def _normal(self, latent: Tensor) -> Tensor:
        return self._codec.normalise(latent.float())


def shared(cache: Cache, count: int) -> Cache:
    """The memory of one stream for `count` streams that go on from it, each its own way."""
    return {
        name: past.expand(count, *past.shape[1:]) if past.ndim > 1 and len(past) == 1 else past
        for name, past in cache.items()
    }
