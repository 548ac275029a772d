"""How like each other two clips are, frame by frame, without any network.

All take uint8 frames (T, H, W, 3), as arrays or CPU tensors, and compute in float64. A clip of less than a frame, or of
another shape than the one it is compared with, is an error. What they are averaged over is the caller's to print.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

PEAK = 255.0
_SIGMA, _RADIUS = 1.5, 5  # an 11-tap window, as in the paper
_K1, _K2 = 0.01, 0.03
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

Array = NDArray[np.float64]


def psnr(original: ArrayLike, made: ArrayLike) -> float:
    """Peak signal-to-noise ratio of a whole clip, from the squared error over all its values.

    Args:
        original: uint8 (T, H, W, 3).
        made: the same shape.

    Returns:
        Decibels; infinite when they are equal.
    """
    return _decibels(float(np.mean(_squared_errors(*_pair(original, made)))))


def frame_psnr(original: ArrayLike, made: ArrayLike) -> Array:
    """Peak signal-to-noise ratio of each frame, in decibels, (T,). Its mean is what most papers call PSNR."""
    return np.array([_decibels(error) for error in _squared_errors(*_pair(original, made))])


def temporal_psnr(original: ArrayLike, made: ArrayLike) -> float:
    """PSNR of the differences between neighbouring frames: flicker and lost motion, without what stands still.

    Args:
        original: uint8 (T, H, W, 3), T at least 2.
        made: the same shape.

    Returns:
        Decibels with the same peak of 255; infinite when all differences are equal.
    """
    first, second = _pair(original, made)
    if len(first) < 2:
        raise ValueError("differences in time need at least 2 frames")
    changes = (np.diff(clip.astype(np.int16), axis=0) for clip in (first, second))
    return _decibels(float(np.mean(_squared_errors(*changes))))


def ssim(original: ArrayLike, made: ArrayLike) -> float:
    """Structural similarity, the mean over frames and colour channels (Wang et al. 2004, Gaussian window of 1.5).

    Args:
        original: uint8 (T, H, W, 3), at least 11 pixels on each side.
        made: the same shape.

    Returns:
        At most 1, which is reached by equal clips.
    """
    return float(np.mean(frame_ssim(original, made)))


def frame_ssim(original: ArrayLike, made: ArrayLike) -> Array:
    """Structural similarity of each frame, (T,)."""
    first, second = _pair(original, made)
    _check_side(first, scales=1)
    pairs = zip(first, second, strict=True)
    return np.array([_similarity(x.astype(np.float64), y.astype(np.float64))[0].mean() for x, y in pairs])


def ms_ssim(original: ArrayLike, made: ArrayLike, scales: int = 5) -> float:
    """Multi-scale structural similarity (Wang et al. 2003), the mean over frames.

    Args:
        original: uint8 (T, H, W, 3); each side at least 11 · 2^(scales - 1) pixels: 176 for the usual five.
        made: the same shape.
        scales: 1 to 5; with fewer than five the weights are made to sum to one again, and figures compare only among
            those of the same number.

    Returns:
        At most 1. A negative similarity counts as zero, as in the authors' own programme.
    """
    if not 1 <= scales <= len(_SCALE_WEIGHTS):
        raise ValueError(f"scales must be 1 to {len(_SCALE_WEIGHTS)}, not {scales}")
    first, second = _pair(original, made)
    _check_side(first, scales)
    weights = np.array(_SCALE_WEIGHTS[:scales]) / sum(_SCALE_WEIGHTS[:scales])
    found = []
    for one, other in zip(first, second, strict=True):
        x, y = one.astype(np.float64), other.astype(np.float64)
        product = np.ones(x.shape[-1])
        for scale in range(scales):
            whole, contrast = _similarity(x, y)
            term = (whole if scale == scales - 1 else contrast).mean((0, 1))
            product = product * np.maximum(term, 0.0) ** weights[scale]
            x, y = _halve(x), _halve(y)
        found.append(product.mean())
    return float(np.mean(found))


def sharpness(clips: ArrayLike) -> float:
    """The mean difference of neighbouring pixels, across and down, in levels of 255: what blur takes away.

    Args:
        clips: uint8 (..., H, W, 3), at least 2 pixels on each side.
    """
    values = np.asarray(clips)
    if values.dtype != np.uint8 or values.ndim < 3 or min(values.shape[-3:-1]) < 2:
        raise ValueError(f"frames must be uint8 (..., H, W, 3), at least 2 x 2 pixels, not {values.shape}")
    signed = values.astype(np.int16)
    across, down = np.abs(np.diff(signed, axis=-2)).mean(), np.abs(np.diff(signed, axis=-3)).mean()
    return float(across + down) / 2


def sharpness_kept(original: ArrayLike, made: ArrayLike) -> float:
    """The sharpness of a clip over that of its original: 1 when none is lost, less when softer, more with noise.

    Args:
        original: uint8 (T, H, W, 3).
        made: the same shape.
    """
    first, second = _pair(original, made)
    return sharpness(second) / max(sharpness(first), 1e-9)


def _pair(original: ArrayLike, made: ArrayLike) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    first, second = np.asarray(original), np.asarray(made)
    for clip in (first, second):
        if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3 or clip.size == 0:
            raise ValueError(f"frames must be uint8 (T, H, W, 3), at least one, not {clip.dtype} {clip.shape}")
    if first.shape != second.shape:
        raise ValueError(f"clips must have the same shape, not {first.shape} and {second.shape}")
    return first, second


def _check_side(clip: NDArray[np.uint8], scales: int) -> None:
    needed = (2 * _RADIUS + 1) << (scales - 1)
    if min(clip.shape[1:3]) < needed:
        raise ValueError(f"frames must be at least {needed} pixels on each side for {scales} scales, not {clip.shape}")


def _squared_errors(first: NDArray[np.generic], second: NDArray[np.generic]) -> Array:
    """The mean squared error of each frame; frame by frame, so that a long clip needs little memory."""
    pairs = zip(first, second, strict=True)
    return np.array([np.mean(np.square(x.astype(np.float64) - y.astype(np.float64))) for x, y in pairs])


def _decibels(squared_error: float) -> float:
    return 10.0 * math.log10(PEAK**2 / squared_error) if squared_error > 0 else math.inf


def _similarity(x: Array, y: Array) -> tuple[Array, Array]:
    """Similarity, and contrast with structure alone, at each place where the window fits, (H - 10, W - 10, 3)."""
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * PEAK) ** 2, (_K2 * PEAK) ** 2
    contrast = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * contrast, contrast


def _blur(image: Array) -> Array:
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    window = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    window /= window.sum()
    for axis in (0, 1):
        length = image.shape[axis] - 2 * _RADIUS
        parts = (weight * image.take(range(i, i + length), axis) for i, weight in enumerate(window))
        image = np.add.reduce(list(parts))
    return image


def _halve(image: Array) -> Array:
    """Means of 2 by 2 pixels; an odd last row or column is left out."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    even = image[:height, :width]
    return np.asarray((even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]) / 4)
