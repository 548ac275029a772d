"""Known answers: by hand, and against scikit-image."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from autoreel.evaluation.metrics import frame_psnr, frame_ssim, ms_ssim, psnr, ssim, temporal_psnr

Frames = NDArray[np.uint8]
reference_psnr: Any = peak_signal_noise_ratio
reference_ssim: Any = partial(
    structural_similarity,
    channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255,
)  # fmt: skip
METRICS: dict[str, Callable[[Frames, Frames], float]] = {
    "psnr": psnr, "temporal_psnr": temporal_psnr, "ssim": ssim, "ms_ssim": ms_ssim,
}  # fmt: skip


def clips(noise: float, size: int = 64) -> tuple[Frames, Frames]:
    """A smooth moving picture, and the same with noise."""
    random = np.random.default_rng(0)
    t, y, x, c = np.meshgrid(np.arange(5), np.arange(size), np.arange(size + 8), np.arange(3), indexing="ij")
    original = 127 + 90 * np.sin(x / 7 + t / 2 + c) * np.cos(y / 5 - c)
    made = original + random.normal(0, noise, original.shape)
    return original.astype(np.uint8), np.clip(made, 0, 255).astype(np.uint8)


def test_psnr_by_hand() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    assert psnr(black, black + 255) == 0.0
    assert psnr(black, black + 1) == pytest.approx(48.1308, abs=1e-4)  # 20 log10 255
    half = black.copy()
    half[0] = 1
    assert psnr(black, half) == pytest.approx(48.1308 + 3.0103, abs=1e-4)
    assert frame_psnr(black, half).tolist() == [pytest.approx(48.1308, abs=1e-4), math.inf]


def test_bytes_do_not_wrap_around() -> None:
    white = np.full((1, 2, 2, 3), 255, np.uint8)
    assert psnr(white, np.zeros_like(white)) == psnr(np.zeros_like(white), white) == 0.0


@pytest.mark.parametrize("noise", [2.0, 20.0])
def test_psnr_and_ssim_agree_with_scikit_image(noise: float) -> None:
    original, made = clips(noise)
    assert psnr(original, made) == pytest.approx(reference_psnr(original, made), abs=1e-9)
    for x, y, found, similar in zip(
        original, made, frame_psnr(original, made), frame_ssim(original, made), strict=True
    ):  # fmt: skip
        assert found == pytest.approx(reference_psnr(x, y), abs=1e-9)
        assert similar == pytest.approx(reference_ssim(x, y), abs=1e-9)


def test_temporal_psnr_sees_flicker_and_not_a_constant_error() -> None:
    original, _ = clips(0.0)
    low = (original // 2).astype(np.uint8)
    assert temporal_psnr(low, low + 40) == math.inf
    flicker = low.copy()
    flicker[1::2] += 1  # every difference is off by one
    assert temporal_psnr(low, flicker) == pytest.approx(48.1308, abs=1e-4)


@pytest.mark.parametrize(("size", "scales"), [(64, 3), (180, 5)])
def test_ms_ssim_agrees_with_its_definition(size: int, scales: int) -> None:
    original, made = clips(30.0, size)
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    weights /= weights.sum()
    values = []
    for x, y in zip(original.astype(float), made.astype(float), strict=True):
        channels = []
        for c in range(3):
            product, a, b = 1.0, x[..., c], y[..., c]
            for scale in range(scales):
                luminance, contrast = terms(a, b)
                product *= (luminance * contrast if scale == scales - 1 else contrast).mean() ** weights[scale]
                a, b = (z[: len(z) // 2 * 2, : z.shape[1] // 2 * 2] for z in (a, b))
                a, b = (z.reshape(len(z) // 2, 2, -1, 2).mean((1, 3)) for z in (a, b))
            channels.append(product)
        values.append(np.mean(channels))
    assert ms_ssim(original, made, scales) == pytest.approx(float(np.mean(values)), abs=1e-9)


def terms(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Luminance and contrast with structure, by scipy's Gaussian, where the window fits."""

    def blur(z: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(z, 1.5, radius=5))[5:-5, 5:-5]

    mean_a, mean_b = blur(a), blur(b)
    variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    contrast = (2 * (blur(a * b) - mean_a * mean_b) + 7.65**2) / (variances + 7.65**2)
    return (2 * mean_a * mean_b + 2.55**2) / (mean_a**2 + mean_b**2 + 2.55**2), contrast


def test_equal_clips_are_perfect() -> None:
    original, _ = clips(0.0, 176)
    assert psnr(original, original) == temporal_psnr(original, original) == math.inf
    assert ssim(original, original) == pytest.approx(1.0)
    assert ms_ssim(original, original) == pytest.approx(1.0)


def test_an_opposite_picture_does_not_make_ms_ssim_undefined() -> None:
    original, _ = clips(0.0, 176)
    assert ms_ssim(original, 255 - original) == 0.0


@pytest.mark.parametrize("name", METRICS)
def test_tensors_are_frames_too_and_more_noise_is_worse(name: str) -> None:
    original, little = clips(5.0, 176)
    _, much = clips(25.0, 176)
    metric = METRICS[name]
    assert metric(torch.from_numpy(original), torch.from_numpy(little)) == metric(original, little)  # type: ignore[arg-type]
    assert metric(original, little) > metric(original, much)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 8, 8, 3), np.float32), "uint8"),
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8), "at least one"),
        (np.zeros((2, 176, 176, 3), np.uint8), np.zeros((3, 176, 176, 3), np.uint8), "same shape"),
    ],
)
def test_what_cannot_be_compared_is_refused(name: str, first: Frames, second: Frames, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        METRICS[name](first, second)


def test_what_is_too_small_is_refused() -> None:
    small = np.zeros((1, 10, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(small, small)
    with pytest.raises(ValueError, match="at least 176 pixels"):
        ms_ssim(small, small)
    with pytest.raises(ValueError, match="at least 2 frames"):
        temporal_psnr(small, small)
    with pytest.raises(ValueError, match="1 to 5"):
        ms_ssim(small, small, scales=6)
