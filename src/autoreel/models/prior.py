"""The prior: a rectified-flow transformer over latent frames, causal in the order of its sequence.

    sequence   one entry per latent frame: its values, its noise level, its true time
    causality  a frame sees itself and the frames before it IN THE SEQUENCE, whatever their times:
               known frames come first, so a known future is seen by what is made before it

    frame 0   [p p p p]            p: one token per patch of latent values
    frame 5   [p p p p][p p p p]   (known, hence early in the order)
    frame 1   [p p p p][p p p p][p p p p]

Independent noise levels per frame: Diffusion Forcing (Chen et al. 2024); frame-causal attention: FAR (Gu et al. 2025);
velocity of the straight path x_t = (1 - t) x + t n: rectified flow (Liu et al. 2022), network output n - x;
modulation by the noise level with one matrix for all blocks: PixArt-alpha (Chen et al. 2023).

Were the latents, whose deviation is 1, white noise, the velocity would be (2t - 1) / (t^2 + (1 - t)^2) x_t on average.
That is added, and the network learns the rest, as in the preconditioning of EDM (Karras et al. 2022).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoreel.config import PriorConfig

LEVEL_FEATURES = 64
FAR = 4  # a first frame that is further from the others than this is told to be this far: how far hardly matters
ROTARY_BASE = 100.0  # windows are short: the slowest turn is about one radian per 100 positions


class PriorCache:
    """Keys and values of the frames that were seen, one pair per block; grows with every frame that is kept."""

    def __init__(self) -> None:
        self.entries: list[tuple[Tensor, Tensor]] = []

    @property
    def num_tokens(self) -> int:
        """How many tokens are remembered."""
        return int(self.entries[0][0].shape[2]) if self.entries else 0

    def first(self, count: int) -> PriorCache:
        """The memory of the first `count` sequences of the batch; itself when there are no more."""
        if not self.entries or len(self.entries[0][0]) == count:
            return self
        part = PriorCache()
        part.entries = [(k[:count], v[:count]) for k, v in self.entries]
        return part


class Prior(nn.Module):
    """Velocity of noisy latent frames, given the frames before them in the sequence.

    Args:
        config: width, depth, heads and patch, and whether it is preconditioned.
        latent_channels: C of the latents.
        latent_size: (h, w) of a latent frame, multiples of the patch.
        num_labels: how many labels there are; any number of clips may have none.
    """

    def __init__(
        self, config: PriorConfig, latent_channels: int, latent_size: tuple[int, int], num_labels: int
    ) -> None:
        super().__init__()
        height, width = latent_size
        if height % config.patch or width % config.patch:
            raise ValueError(f"latent frames of {height}x{width} cannot be cut into patches of {config.patch}")
        if config.width % (4 * config.heads):
            raise ValueError(f"width {config.width} must be a multiple of 4 x heads ({config.heads})")
        self.config, self.latent_channels, self.latent_size = config, latent_channels, latent_size
        self.num_labels = num_labels
        self.grid = (height // config.patch, width // config.patch)
        self.num_tokens = self.grid[0] * self.grid[1]
        w, token_values = config.width, latent_channels * config.patch**2
        self.embed = nn.Linear(token_values, w)
        self.place = nn.Parameter(0.02 * torch.randn(self.num_tokens, w))
        self.level = nn.Sequential(nn.Linear(LEVEL_FEATURES, w), nn.SiLU(), nn.Linear(w, w))
        self.label = nn.Embedding(num_labels + 1, w)  # the last is "no label"
        self.mirrored = nn.Parameter(torch.empty(w)) if config.mirror else None
        self.alone = nn.Parameter(torch.zeros(w))  # the frame at time 0 holds one picture, later ones a group of them
        self.modulation = nn.Linear(w, 6 * w)
        self.blocks = nn.ModuleList(Block(w, config.heads, config.dropout) for _ in range(config.depth))
        self.last_modulation = nn.Linear(w, 2 * w)
        self.velocity = nn.Linear(w, token_values)
        # As large as the level's part: labels are heeded from the start, and so is whether a window is mirrored.
        nn.init.normal_(self.label.weight, std=0.5)
        if self.mirrored is not None:
            nn.init.normal_(self.mirrored, std=0.5)
        for layer in (self.modulation, self.last_modulation, self.velocity):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def new_cache(self) -> PriorCache:
        """An empty memory for a sequence that is fed in parts."""
        return PriorCache()

    def forward(
        self,
        latents: Tensor,
        level: Tensor,
        time: Tensor,
        label: Tensor,
        cache: PriorCache | None = None,
        keep: bool = False,
        bias: Tensor | None = None,
        mirrored: Tensor | None = None,
    ) -> Tensor:
        """Velocity n - x of every frame.

        Args:
            latents: (B, C, T, h, w), normalised, noised to `level`.
            level: (B, T) in [0, 1]; 0 is clean, 1 pure noise.
            time: (B, T) true places in latent frames; 0 is the frame that stands alone.
            label: int64 (B,); -1 is no label.
            cache: the frames that come before these in the sequence; None when there are none.
            keep: also remember these frames in the cache.
            bias: which token sees which (`clean_context_bias`); None is each frame's own and those before it.
            mirrored: bool (B,), which sequences are mirrored left to right; None is none of them. What is told apart
                hardly leaks into what is made (non-leaky augmentation, Karras et al. 2022).

        Returns:
            (B, C, T, h, w).
        """
        batch, _, frames, _, _ = latents.shape
        none = torch.full_like(label, self.num_labels)
        condition = self.level(_level_features(level)) + self.label(torch.where(label < 0, none, label))[:, None]
        if mirrored is not None and self.mirrored is not None:
            condition = condition + mirrored[:, None, None] * self.mirrored
        condition = condition + (time == 0)[..., None] * self.alone  # (B, T, width)
        x = self.embed(self._cut(latents)) + self.place + condition[:, :, None]  # (B, T, N, width)
        condition = F.silu(condition)
        turns = self._turns(time).to(x.dtype)
        past = cache.num_tokens if cache is not None else 0
        if bias is None:
            bias = _causal_bias(frames, self.num_tokens, past, latents.device)
        modulation = self.modulation(condition)
        for index, block in enumerate(self.blocks):
            entry = cache.entries[index] if cache is not None and past else None
            x, seen = block(x, modulation, turns, bias, entry)
            if cache is not None and keep:
                cache.entries[index : index + 1] = [seen]
        shift, scale = self.last_modulation(condition)[:, :, None].chunk(2, -1)
        x = torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)
        velocity = self._join(self.velocity(x).reshape(batch, frames, self.num_tokens, -1))
        if self.config.preconditioned:
            t = level[:, None, :, None, None]
            velocity = torch.addcmul(velocity, latents, (2 * t - 1) / (t**2 + (1 - t) ** 2))
        return velocity.to(latents.dtype)

    def clean_context_bias(self, frames: int) -> Tensor:
        """What sees what in a sequence of `frames - 1` clean frames and then `frames` noisy ones, for `forward`.

        A clean frame sees the clean ones up to itself, a noisy one the clean ones before it and itself:

            noisy 0 sees                     itself     so every frame of a window is learned as a rollout makes it,
            noisy 1 sees  clean 0        and itself     all of them in one pass (FAR, Gu et al. 2025)
            noisy 2 sees  clean 0 and 1  and itself
        """
        return _clean_context_bias(frames, self.num_tokens, self.place.device)

    def matrices(self) -> list[nn.Parameter]:
        """The weight matrices inside the blocks (an optimizer for matrices may treat them apart)."""
        return [p for block in self.blocks for p in block.parameters() if p.ndim == 2 and min(p.shape) > 6]

    def _cut(self, latents: Tensor) -> Tensor:
        (rows, columns), p = self.grid, self.config.patch
        b, c, t = latents.shape[:3]
        x = latents.reshape(b, c, t, rows, p, columns, p)
        return x.permute(0, 2, 3, 5, 1, 4, 6).reshape(b, t, rows * columns, c * p * p)

    def _join(self, tokens: Tensor) -> Tensor:
        (rows, columns), p = self.grid, self.config.patch
        b, t = tokens.shape[:2]
        x = tokens.reshape(b, t, rows, columns, self.latent_channels, p, p)
        return x.permute(0, 4, 1, 2, 5, 3, 6).reshape(b, self.latent_channels, t, rows * p, columns * p)

    def _turns(self, time: Tensor) -> Tensor:
        """Cosines and sines (2, B, T*N, 1, 1, D/2) of the rotary angles: half by time, a quarter by y and by x each."""
        b, t = time.shape
        rows, columns = self.grid
        half = self.config.width // self.config.heads // 2
        by_time, by_place = half - 2 * (half // 4), half // 4
        y, x = torch.meshgrid(
            torch.arange(rows, device=time.device), torch.arange(columns, device=time.device), indexing="ij"
        )
        parts = [
            time.float()[:, :, None, None] * _frequencies(by_time, time.device),
            y.reshape(1, 1, -1, 1) * _frequencies(by_place, time.device),
            x.reshape(1, 1, -1, 1) * _frequencies(by_place, time.device),
        ]
        angles = torch.cat([part.expand(b, t, self.num_tokens, -1) for part in parts], -1)
        angles = angles.reshape(b, t * self.num_tokens, 1, 1, half)
        return torch.stack([angles.cos(), angles.sin()])


class Block(nn.Module):
    """Attention and a two-layer network, both modulated by the frame's condition."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.modulation = nn.Parameter(torch.zeros(6, width))  # this block's share beside the common matrix
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.narrow.weight)

    def forward(
        self, x: Tensor, modulation: Tensor, turns: Tensor, bias: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        b, t, n, w = x.shape
        m = modulation.view(b, t, 1, 6, w) + self.modulation
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = m.unbind(-2)
        h = torch.addcmul(shift_a, F.layer_norm(x, (w,)), 1 + scale_a)
        qkv = self.qkv(h).view(b, t * n, 3, self.heads, w // self.heads)
        qk = _turn(F.layer_norm(qkv[:, :, :2], qkv.shape[-1:]), turns.to(qkv.dtype))
        q, k = qk.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, tokens, D)
        v = qkv[:, :, 2].transpose(1, 2)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        a = attend(q, k, v, bias).transpose(1, 2).reshape(b, t, n, w)
        x = torch.addcmul(x, 1 + gate_a, self._thinned(self.out(a)))
        h = torch.addcmul(shift_m, F.layer_norm(x, (w,)), 1 + scale_m)
        x = torch.addcmul(x, 1 + gate_m, self._thinned(self.narrow(F.gelu(self.widen(h)))))
        return x, (k.detach(), v.detach())

    def _thinned(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention with an additive bias.

    Args:
        q: (B, heads, Q, D).
        k: (B, heads, K, D).
        v: as k.
        bias: (Q, K); 0 where seen, very negative where not.

    On CPUs two plain products train three times faster than the fused kernel at these lengths
    (144 tokens, bfloat16, one thread of Zen 4: 23 ms against 75, forward and backward).
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
    (b, heads, tokens, d), dtype = q.shape, v.dtype
    q3, k3, v3 = (z.reshape(b * heads, -1, d) for z in (q, k, v))
    scores = torch.baddbmm(bias.to(q.dtype), q3, k3.transpose(1, 2), alpha=d**-0.5)
    return torch.bmm(scores.softmax(-1).to(dtype), v3).view(b, heads, tokens, d)


def _turn(x: Tensor, turns: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    cos, sin = turns.unbind(0)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _frequencies(count: int, device: torch.device) -> Tensor:
    return ROTARY_BASE ** (-torch.arange(count, device=device) / max(count, 1))


def _level_features(level: Tensor) -> Tensor:
    """Cosines and sines of the level, periods from 1/16 to 4 times its range."""
    rates = 2 * math.pi * torch.logspace(-2, 4, LEVEL_FEATURES // 2, base=2.0, device=level.device)
    angles = level.float()[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], -1)


@lru_cache(maxsize=64)
def _causal_bias(frames: int, tokens: int, past: int, device: torch.device) -> Tensor:
    """(frames*tokens, past + frames*tokens): all of the past is seen, and frames up to one's own."""
    order = torch.arange(frames, device=device).repeat_interleave(tokens)
    unseen = order[:, None] < order[None, :]
    bias = torch.zeros(frames * tokens, past + frames * tokens, device=device)
    bias[:, past:].masked_fill_(unseen, -1e4)
    return bias


@lru_cache(maxsize=16)
def _clean_context_bias(frames: int, tokens: int, device: torch.device) -> Tensor:
    """(tokens, tokens) of 2 * frames - 1 frames."""
    place = torch.cat([torch.arange(frames - 1, device=device), torch.arange(frames, device=device)])
    noisy = torch.arange(2 * frames - 1, device=device) >= frames - 1
    earlier = place[:, None] > place[None, :]
    itself = (place[:, None] == place[None, :]) & (noisy[:, None] == noisy[None, :])
    seen = (earlier & ~noisy[None, :] | itself).repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
    return torch.zeros(seen.shape, device=device).masked_fill_(~seen, -1e4)
