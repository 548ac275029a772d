"""Videos of any length through a codec, chunk by chunk: the same operations as at once, in memory that does not grow.

    chunks given   [3][9][2][7][4]             any sizes, as they come
    pieces         [1 + 4 + 4][4][4][4 + 4]    whole groups; what is left over waits for the next chunk
    the end        the last frame is repeated until its group is full; what comes back is cut to what was given
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from autoreel.models.blocks import Cache
from autoreel.models.codec import Posterior
from autoreel.models.tiling import pad_to_stride
from autoreel.models.video_codec import VideoCodec

GROUPS_AT_ONCE = 4  # encoded or decoded together, at most


def whole_groups(
    chunks: Iterable[Tensor], temporal_stride: int, at_once: int = GROUPS_AT_ONCE
) -> Iterator[tuple[Tensor, int]]:
    """Cut a stream of frames into pieces that a codec takes.

    Args:
        chunks: (B, 3, n, H, W) each, n of any size.
        temporal_stride: frames in a group.
        at_once: groups in a piece, at most.

    Yields:
        1 + t * j frames first, later t * j; and how many of them were given: fewer only at the end.
    """
    t, first = temporal_stride, True
    waiting: Tensor | None = None
    for chunk in chunks:
        waiting = chunk if waiting is None else torch.cat([waiting, chunk], 2)
        while waiting.shape[2] - first >= t or (first and waiting.shape[2]):
            take = first + t * min(at_once, (waiting.shape[2] - first) // t)
            yield waiting[:, :, :take], take
            waiting, first = waiting[:, :, take:], False
    if waiting is not None and waiting.shape[2]:
        given = waiting.shape[2]
        still = waiting[:, :, -1:].expand(-1, -1, t - given, -1, -1)
        yield torch.cat([waiting, still], 2), given


def encode_stream(codec: VideoCodec, chunks: Iterable[Tensor]) -> Iterator[Posterior]:
    """Encode a video as it comes.

    Args:
        codec: any.
        chunks: (B, 3, n, H, W) in [-1, 1], n, H and W of any size; H and W are filled up to the stride.

    Yields:
        Posteriors of one latent frame and more.
    """
    cache = codec.new_cache()
    for piece, _ in whole_groups(chunks, codec.temporal_stride):
        yield codec.encode_chunk(pad_to_stride(piece, codec.spatial_stride), cache)


def decode_stream(codec: VideoCodec, latents: Iterable[Tensor], cache: Cache | None = None) -> Iterator[Tensor]:
    """Decode latents as they come.

    Args:
        codec: any.
        latents: (B, C, n, h, w), n of any size.
        cache: the memory of a stream that has begun.

    Yields:
        (B, 3, m, H, W); m = 1 + t * j first, later t * j.
    """
    cache = codec.new_cache() if cache is None else cache
    for latent in latents:
        for piece in torch.split(latent, GROUPS_AT_ONCE, 2):
            yield codec.decode_chunk(piece, cache)


def rebuild_stream(codec: VideoCodec, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Encode and decode a video as it comes: as many frames as were given, of the same size.

    Args:
        codec: any.
        chunks: as for `encode_stream`.
    """
    encoding, decoding = codec.new_cache(), codec.new_cache()
    for piece, given in whole_groups(chunks, codec.temporal_stride):
        height, width = piece.shape[-2:]
        latent = codec.encode_chunk(pad_to_stride(piece, codec.spatial_stride), encoding).mode()
        yield codec.decode_chunk(latent, decoding)[:, :, :given, :height, :width]
