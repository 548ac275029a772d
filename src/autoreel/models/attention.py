"""The blocks of the transformer backbone: attention inside windows of space over a group and the groups before it.

    group g - 1          group g
    +----+----+          +----+----+     a position sees its window of M x M positions in its own group and in the
    | ## | .. |    <--   | #q | .. |     `past` groups before: motion is looked up where it came from.
    +----+----+          +----+----+     Every second block lays its windows half a window further, so that what
    | .. | .. |          | .. | .. |     lies in two windows meets in the next block (Swin, Liu et al. 2021).
    +----+----+          +----+----+

Never the future, and never more of the past than `past` groups: a stream remembers their keys and values and no more.
Places are told by rotary angles (Su et al. 2021) of the place in the window and of the distance in groups, not of the
distance from the beginning: the thousandth group is computed like the first. What lies outside the picture or before
the beginning is a key and a value of zeros, as a convolution pads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autoreel.models.blocks import Cache

HEAD_WIDTH = 32  # channels of a head, at least
SLOWEST = 0.1  # radians per position; the quickest angle turns by one


def heads_of(width: int) -> int:
    """How many heads a block has: the most of 32 channels and more, each of a multiple of 4 (for the rotary pairs)."""
    return next((heads for heads in range(width // HEAD_WIDTH, 0, -1) if width % (4 * heads) == 0), 1)


class WindowAttention(nn.Module):
    """Attention of every position to its window, in its own group and the groups before.

    Args:
        width: channels.
        window: positions a side, M.
        past: groups before its own that are seen.
        shifted: whether the windows lie half a window further up and left.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, width: int, window: int, past: int, shifted: bool) -> None:
        super().__init__()
        self.heads, self.window, self.past = heads_of(width), window, past
        self.shift = window // 2 if shifted else 0
        self.always_fills = False  # also where nothing is missing: then the graph is the same for every size
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)  # a calm start
        self.name = ""  # its place in the network, set by the codec: the key in the cache
        angles = _angles(window, past, width // self.heads // 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, groups: int, cache: Cache | None) -> Tensor:
        """Attend.

        Args:
            x: (B * G, h, w, C), normalised over channels; any size.
            groups: G.
            cache: the stream's memory, changed in place; None when the video is whole.
        """
        n, height, width, channels = x.shape
        d, past = channels // self.heads, self.past
        qkv = self.qkv(x).view(n, height, width, 3, self.heads, d)
        qk = F.layer_norm(qkv[..., :2, :, :], (d,)).to(qkv.dtype)
        windows = self._cut(torch.cat([qk, qkv[..., 2:, :, :]], 3).flatten(3))
        number = windows.shape[1]
        # (3, B, G, windows, heads, M * M, d)
        q, k, v = windows.view(-1, groups, number, self.window**2, 3, self.heads, d).permute(4, 0, 1, 2, 5, 3, 6)

        before = None if cache is None else cache.get(self.name)
        if before is None:
            before = torch.zeros_like(k[:, None, :1]).repeat(1, 2, past, 1, 1, 1, 1)  # (B, 2, past, ...)
        k = torch.cat([before[:, 0].to(k.dtype), k], 1)
        v = torch.cat([before[:, 1].to(v.dtype), v], 1)
        if cache is not None:
            cache[self.name] = torch.stack([k[:, -past:], v[:, -past:]], 1).detach()

        keys = [self._turn(k[:, past - back : past - back + groups], back) for back in range(past + 1)]
        values = [v[:, past - back : past - back + groups] for back in range(past + 1)]
        q, k, v = (x.flatten(0, 3) for x in (self._turn(q, 0), torch.cat(keys, -2), torch.cat(values, -2)))
        seen = attend(q, k, v)
        seen = seen.view(n, number, self.heads, self.window**2, d).transpose(2, 3)
        out: Tensor = self.out(self._join(seen.reshape(n, number, -1, channels), height, width))
        return out

    def _cut(self, x: Tensor) -> Tensor:
        """(N, h, w, C) to (N, windows, M * M, C), zeros where a window reaches over the edge."""
        m, shift = self.window, self.shift
        n, height, width, c = x.shape
        right, bottom = (m * self._windows(size) - shift - size for size in (width, height))
        x = F.pad(x, (0, 0, shift, right, shift, bottom))
        rows, columns = x.shape[1] // m, x.shape[2] // m
        return x.view(n, rows, m, columns, m, c).transpose(2, 3).reshape(n, rows * columns, m * m, c)

    def _join(self, windows: Tensor, height: int, width: int) -> Tensor:
        """(N, windows, M * M, C) back to (N, h, w, C)."""
        m, shift = self.window, self.shift
        n, c = windows.shape[0], windows.shape[-1]
        rows, columns = self._windows(height), self._windows(width)
        x = windows.view(n, rows, columns, m, m, c).transpose(2, 3).reshape(n, rows * m, columns * m, c)
        return x[:, shift : shift + height, shift : shift + width]

    def _windows(self, size: int) -> int:
        """How many windows lie along an axis."""
        places = size + self.shift
        return places // self.window + 1 if self.always_fills else -(-places // self.window)

    def _turn(self, x: Tensor, back: int) -> Tensor:
        """Rotary angles of places in a window, `back` groups before the one that looks."""
        cos, sin = self.cos[back].to(x.dtype), self.sin[back].to(x.dtype)
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class AttentionBlock(nn.Module):
    """x + attention(norm(x)), then x + narrow(act(widen(norm(x)))); norms are over channels only.

    Args:
        width: channels.
        window: positions a side of the attention's windows.
        past: groups before its own that are seen.
        shifted: whether the windows lie half a window further.
    """

    def __init__(self, width: int, window: int, past: int, shifted: bool) -> None:
        super().__init__()
        self.attention = WindowAttention(width, window, past, shifted)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor, groups: int, cache: Cache | None) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        c = x.shape[-1]
        x = x + self.attention(F.rms_norm(x, (c,)), groups, cache)
        x = x + self.narrow(F.silu(self.widen(F.rms_norm(x, (c,)))))
        return x.permute(0, 3, 1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention without a mask: (N, Q, d), (N, K, d), (N, K, d) to (N, Q, d).

    On CPUs two plain products train faster than the fused kernel at these lengths (see `models/prior.py`).
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
    return torch.bmm(scores.softmax(-1).to(v.dtype), v)


def _angles(window: int, past: int, pairs: int) -> Tensor:
    """Rotary angles (past + 1, M * M, pairs): a third of the pairs by row, a third by column, the rest by group."""
    by_place = pairs // 3
    by_group = pairs - 2 * by_place
    place = torch.arange(window).float()
    row, column = place.repeat_interleave(window)[:, None], place.repeat(window)[:, None]
    back = -torch.arange(past + 1).float()[:, None, None].expand(-1, window**2, 1)
    still = torch.cat([row * _rates(by_place), column * _rates(by_place)], -1).expand(past + 1, -1, -1)
    return torch.cat([still, back * _rates(by_group)], -1)


def _rates(count: int) -> Tensor:
    return SLOWEST ** (torch.arange(count) / max(count - 1, 1))
