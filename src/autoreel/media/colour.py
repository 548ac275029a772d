"""High dynamic range and wide gamut pictures to standard ones (BT.709 primaries, display gamma).

High dynamic range says how much light; a standard screen has less of it. The curve of ITU-R BT.2390 (5.4.1) leaves
dark and middle tones as they are and bends the highlights into what is left.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

# Numbers of ITU-T H.273, as decoders give them.
TRANSFER_PQ, TRANSFER_HLG = 16, 18
PRIMARIES_BT2020, PRIMARIES_P3 = 9, 12
MATRIX_BT709, MATRIX_BT601, MATRIX_SMPTE240, MATRIX_BT2020, MATRIX_FCC, MATRIX_RGB = 1, 5, 7, 9, 4, 0

WHITE_NITS = 203.0  # diffuse white of HDR footage, ITU-R BT.2408
PEAK_NITS = 1000.0  # brightest highlight that keeps its drawing
DISPLAY_GAMMA = 2.4  # ITU-R BT.1886

# Linear light, from wide primaries to BT.709 (D65 white in all three).
_TO_BT709 = {
    PRIMARIES_BT2020: np.array(
        [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]],
        np.float32,
    ),
    PRIMARIES_P3: np.array(
        [[1.224940, -0.224940, 0.0], [-0.042057, 1.042057, 0.0], [-0.019638, -0.078636, 1.098274]],
        np.float32,
    ),
}


def needs_conversion(transfer: int, primaries: int) -> bool:
    """True for pictures that a standard screen would show wrong."""
    return transfer in (TRANSFER_PQ, TRANSFER_HLG) or primaries in _TO_BT709


def matrix_name(matrix: int, height: int, width: int) -> str:
    """Name of the luma matrix for the scaler; what is not said is guessed by size, as players do.

    Args:
        matrix: H.273 matrix coefficients.
        height, width: coded size in pixels.
    """
    known = {
        MATRIX_BT709: "bt709", MATRIX_FCC: "fcc", MATRIX_BT601: "smpte170m", 6: "smpte170m",
        MATRIX_SMPTE240: "smpte240m", MATRIX_BT2020: "bt2020", 10: "bt2020",
    }  # fmt: skip
    return known.get(matrix, "bt709" if height >= 720 or width >= 1280 else "smpte170m")


def to_standard(frame: NDArray[np.uint16], transfer: int, primaries: int) -> NDArray[np.uint8]:
    """One picture to standard range and gamut.

    Args:
        frame: uint16 (H, W, 3), full range, coded by `transfer`.
        transfer: H.273 transfer characteristics; other than PQ and HLG means display gamma.
        primaries: H.273 colour primaries; unknown ones mean BT.709.

    Returns:
        uint8 (H, W, 3).
    """
    linear = _light_table(transfer)[frame]  # 1 is diffuse white
    if transfer == TRANSFER_HLG:
        # The scene's light becomes the screen's: BT.2100 table 5, gamma 1.2 on luminance at 1000 nits.
        luminance = linear @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        gain = np.maximum(luminance, 1e-6) ** np.float32(0.2) * np.float32(PEAK_NITS / WHITE_NITS)
        linear = linear * gain[..., None]
    matrix = _TO_BT709.get(primaries)
    if matrix is not None:
        linear = np.maximum(linear @ matrix.T, 0)
    if transfer in (TRANSFER_PQ, TRANSFER_HLG):
        # Scaled by its largest channel, so that a bright colour keeps its hue.
        largest = linear.max(axis=2, keepdims=True)
        linear = linear * (_bend(largest) / np.maximum(largest, 1e-6))
    coded = np.clip(linear, 0, 1) ** np.float32(1 / DISPLAY_GAMMA)
    return np.asarray(np.rint(coded * 255), np.uint8)


@functools.lru_cache(maxsize=4)
def _light_table(transfer: int) -> NDArray[np.float32]:
    code = np.arange(65536) / 65535
    if transfer == TRANSFER_PQ:
        return np.asarray(_pq_to_nits(code) / WHITE_NITS, np.float32)
    if transfer == TRANSFER_HLG:  # BT.2100 table 5, inverse OETF; scene light in [0, 1]
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.asarray(np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12), np.float32)
    return np.asarray(code**DISPLAY_GAMMA, np.float32)


def _pq_to_nits(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084, equation 4.1."""
    power = np.power(np.clip(code, 0, 1), 32 / 2523)
    return 10000 * np.power(np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power), 16384 / 2610)


def _nits_to_pq(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084, equation 5.1."""
    power = np.power(np.clip(nits, 0, 10000) / 10000, 2610 / 16384)
    return np.power((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power), 2523 / 32)


@functools.lru_cache(maxsize=1)
def _bend_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """BT.2390 5.4.1, steps 1 to 3, as (light in, light out), both relative to diffuse white."""
    peak = float(_nits_to_pq(np.array(PEAK_NITS)))
    top = float(_nits_to_pq(np.array(WHITE_NITS))) / peak
    knee = 1.5 * top - 0.5
    code = np.linspace(0, 1, 4096)
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * top
    bent = np.where(code < knee, code, spline)
    return _pq_to_nits(code * peak) / WHITE_NITS, _pq_to_nits(bent * peak) / WHITE_NITS


def _bend(light: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.interp(light, *_bend_table()).astype(np.float32)
