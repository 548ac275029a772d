"""What every codec is to the rest of the program: ours (codec.py), somebody else's (pretrained.py), one in tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from autoreel.models.blocks import Cache

if TYPE_CHECKING:
    from autoreel.models.codec import Posterior


class VideoCodec(nn.Module):
    """Videos (B, 3, 1 + t * k, H, W) in [-1, 1] to latents (B, C, 1 + k, H / s, W / s) and back, whole or as a stream.

    The first frame stands alone. A subclass sets the attributes and the two buffers, and overrides the two `_chunk`
    methods.

    Attributes:
        temporal_stride: t.
        spatial_stride: s, pixels.
        latent_channels: C.
        latent_mean: buffer (C,), of the footage's latents.
        latent_deviation: buffer (C,).
        tile_overlap: latent positions by which neighbouring tiles overlap (models/tiling.py), enough for what lies
            across their edges; where a network has windows, these begin at its multiples.
        has_encoder: False of a generator alone (family gan): its latents are drawn from N(0, I) and encoding is an
            error.
    """

    temporal_stride: int
    spatial_stride: int
    latent_channels: int
    tile_overlap: int = 8
    has_encoder: bool = True
    latent_mean: Tensor
    latent_deviation: Tensor

    def new_cache(self) -> Cache:
        """An empty memory for `encode_chunk` or `decode_chunk`; one for each stream and direction."""
        return {}

    def encode(self, video: Tensor) -> Posterior:
        """Write a video as latents.

        Args:
            video: (B, 3, 1 + t * k, H, W) in [-1, 1]; H and W multiples of the spatial stride.

        Returns:
            The posterior over latents (B, C, 1 + k, h, w).
        """
        return self.encode_chunk(video, None)

    def encode_chunk(self, video: Tensor, cache: Cache | None) -> Posterior:
        """Write the next frames of a stream.

        Args:
            video: (B, 3, n, H, W); n = 1 + t * j in a stream's first chunk, t * j later.
            cache: the stream's memory, changed in place; None when the video is whole.
        """
        raise NotImplementedError

    def decode(self, latent: Tensor) -> Tensor:
        """Paint latents (B, C, 1 + k, h, w) back as video (B, 3, 1 + t * k, H, W)."""
        return self.decode_chunk(latent, None)

    def decode_chunk(self, latent: Tensor, cache: Cache | None) -> Tensor:
        """Paint the next latents of a stream: the first gives one frame, each later one t.

        Args:
            latent: (B, C, n, h, w).
            cache: the stream's memory, changed in place; None when the latents are whole.
        """
        raise NotImplementedError

    def working_bytes(self, height: int, width: int, groups: int) -> int:
        """About the memory that encoding or decoding takes beside the weights.

        Args:
            height: of the frames, pixels.
            width: pixels.
            groups: latent frames at once.
        """
        raise NotImplementedError

    def normalise(self, latent: Tensor) -> Tensor:
        """To mean zero and deviation one per channel: what the prior sees."""
        return (latent - self.latent_mean.view(-1, 1, 1, 1)) / self.latent_deviation.view(-1, 1, 1, 1)

    def denormalise(self, latent: Tensor) -> Tensor:
        """Back to what `decode` takes."""
        return latent * self.latent_deviation.view(-1, 1, 1, 1) + self.latent_mean.view(-1, 1, 1, 1)
