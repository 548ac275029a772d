"""Large frames in overlapping tiles, so that memory does not grow with their size.

    positions   0       8      16      24      32      40      48
    tile 0      |-------------------------------|
    tile 1                              |-------------------------|
    weight 0    1 1 1 1 1 1 1 1 1 1 1 1 1 1 \\ 0
    weight 1    0 0 0 0 0 0 0 0 0 0 0 0 0 0 / 1      both add up to 1

A tile's edge has seen no neighbours: the outer quarter of each overlap is left out, and the middle is blended.
Every tile is a stream of its own, so that time works as without tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from autoreel.models.blocks import Cache
from autoreel.models.memory import free_memory
from autoreel.models.video_codec import VideoCodec

if TYPE_CHECKING:
    from autoreel.models.codec import Posterior

SHARE = 0.5  # of the memory that is free, which one encoding or decoding may take


class TiledCodec(VideoCodec):
    """A codec that takes frames of any size in tiles of at most one size.

    Args:
        codec: any.
        tile: side of a tile in latent positions: a multiple of the codec's `tile_overlap`, at least two of them.
    """

    def __init__(self, codec: VideoCodec, tile: int) -> None:
        super().__init__()
        overlap = codec.tile_overlap
        if tile % overlap or tile < 2 * overlap:
            raise ValueError(f"a tile is a multiple of {overlap} latent positions from {2 * overlap}, not {tile}")
        self.codec, self.tile, self.tile_overlap = codec, tile, overlap
        self.temporal_stride = codec.temporal_stride
        self.spatial_stride = codec.spatial_stride
        self.latent_channels, self.has_encoder = codec.latent_channels, codec.has_encoder
        self.latent_mean, self.latent_deviation = codec.latent_mean, codec.latent_deviation

    def encode_chunk(self, video: Tensor, cache: Cache | None) -> Posterior:
        """See `VideoCodec.encode_chunk`."""
        from autoreel.models.codec import Posterior

        def encode(part: Tensor, inner: Cache | None) -> Tensor:
            found = self.codec.encode_chunk(part, inner)
            return found.mean if found.log_variance is None else torch.cat([found.mean, found.log_variance], 1)

        moments = self._tiled(video, encode, cache, self.spatial_stride, 1)
        if moments.shape[1] == self.latent_channels:
            return Posterior(moments, None)
        mean, log_variance = moments.chunk(2, 1)
        return Posterior(mean, log_variance)

    def decode_chunk(self, latent: Tensor, cache: Cache | None) -> Tensor:
        """See `VideoCodec.decode_chunk`."""
        return self._tiled(latent, self.codec.decode_chunk, cache, 1, self.spatial_stride)

    def working_bytes(self, height: int, width: int, groups: int) -> int:
        """See `VideoCodec.working_bytes`: no more than one tile's."""
        most = self.tile * self.spatial_stride
        return self.codec.working_bytes(min(height, most), min(width, most), groups)

    def _tiled(
        self, x: Tensor, change: Callable[[Tensor, Cache | None], Tensor], cache: Cache | None, grain: int, scale: int
    ) -> Tensor:
        """Change each tile and blend the results.

        Args:
            x: (B, C, T, h, w).
            change: a tile and its stream's memory to (B, C', T', h', w').
            cache: of the whole stream.
            grain: values of `x` in a latent position.
            scale: values of the result in a latent position.
        """
        overlap = self.tile_overlap
        rows, columns = (tile_spans(size // grain, self.tile, overlap) for size in x.shape[-2:])
        if len(rows) == len(columns) == 1:
            return change(x, cache)
        out: Tensor | None = None
        for top, bottom in rows:
            for left, right in columns:
                part = x[..., top * grain : bottom * grain, left * grain : right * grain]
                made = _with_own_memory(change, part, cache, f"tile {top} {left}/")
                if out is None:
                    out = made.new_zeros(*made.shape[:3], rows[-1][1] * scale, columns[-1][1] * scale)
                down = weights((top, bottom), rows[-1][1], overlap, scale, made).unsqueeze(1)
                across = weights((left, right), columns[-1][1], overlap, scale, made)
                out[..., top * scale : bottom * scale, left * scale : right * scale] += made * (down * across)
        assert out is not None  # there is always a tile
        return out


def tile_spans(size: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Where tiles begin and end along an axis: each shares `overlap` with the next; the last may be shorter."""
    return [(start, min(start + tile, size)) for start in range(0, max(1, size - overlap), tile - overlap)]


def weights(span: tuple[int, int], size: int, overlap: int, scale: int, like: Tensor) -> Tensor:
    """How much each value of a tile counts, along an axis; those of all tiles add up to one.

    Args:
        span: of the tile, in latent positions.
        size: of the whole, in latent positions.
        overlap: of neighbours, in latent positions.
        scale: values in a latent position.
        like: gives number format and device.
    """
    start, end = span
    count = overlap * scale
    place = (torch.arange(count, device=like.device, dtype=torch.float32) + 0.5) / count
    ramp = ((place - 0.25) * 2).clamp(0.0, 1.0)
    found = torch.ones((end - start) * scale, device=like.device)
    if start > 0:
        found[:count] *= ramp
    if end < size:
        found[-count:] *= ramp.flip(0)
    return found.to(like.dtype)


def tiled_where_needed(
    codec: VideoCodec, size: tuple[int, int], groups: int, device: torch.device, *, free_bytes: int | None = None
) -> VideoCodec:
    """The codec itself while frames of a size fit into memory, else in the largest tiles that do.

    Args:
        codec: any.
        size: (height, width) of the frames, pixels.
        groups: latent frames at once.
        device: where it computes.
        free_bytes: memory that is free; None looks.
    """
    allowed = SHARE * (free_memory(device) if free_bytes is None else free_bytes)
    if codec.working_bytes(*size, groups) <= allowed:
        return codec
    stride = codec.spatial_stride
    for tile in _sides(-(-max(size) // stride), codec.tile_overlap):
        if codec.working_bytes(min(size[0], tile * stride), min(size[1], tile * stride), groups) <= allowed:
            break
    return TiledCodec(codec, tile)  # the smallest, when not even that fits by this estimate


def pad_to_stride(video: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of the stride; what comes back is cut again.

    Args:
        video: (B, 3, T, H, W).
        stride: pixels.
    """
    height, width = video.shape[-2:]
    bottom, right = -height % stride, -width % stride
    if not (bottom or right):
        return video
    flat = F.pad(video.flatten(1, 2), (0, right, 0, bottom), mode="replicate")
    return flat.view(*video.shape[:3], *flat.shape[-2:])


def _with_own_memory(
    change: Callable[[Tensor, Cache | None], Tensor], part: Tensor, cache: Cache | None, name: str
) -> Tensor:
    """Change a tile with the part of the stream's memory that is its own."""
    if cache is None:
        return change(part, None)
    inner = {key.removeprefix(name): kept for key, kept in cache.items() if key.startswith(name)}
    made = change(part, inner)
    cache |= {name + key: kept for key, kept in inner.items()}
    return made


def _sides(most: int, overlap: int) -> Iterator[int]:
    """Sides of tiles to try, from the largest down."""
    yield from range(max(2 * overlap, (most - 1) // overlap * overlap), overlap, -overlap)
