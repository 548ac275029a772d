"""High dynamic range to standard range: the curve at the points that standards give."""

import numpy as np
import pytest

from autoreel.media.colour import (
    PRIMARIES_BT2020,
    PRIMARIES_P3,
    TRANSFER_HLG,
    TRANSFER_PQ,
    matrix_name,
    needs_conversion,
    to_standard,
)

BT709 = 1


def grey(code: float, transfer: int, primaries: int = PRIMARIES_BT2020) -> int:
    frame = np.full((1, 1, 3), round(code * 65535), np.uint16)
    result = to_standard(frame, transfer, primaries)[0, 0].astype(int)
    assert result.max() - result.min() <= 1, "grey stays grey"
    return int(result[0])


# ST 2084 codes of 0, 10, 100, 203 and 1000 nits.
PQ = {0: 0.0, 10: 0.3005, 100: 0.5081, 203: 0.5807, 1000: 0.7518}


def test_pq_black_white_and_everything_between() -> None:
    assert grey(PQ[0], TRANSFER_PQ) == 0
    assert grey(PQ[1000], TRANSFER_PQ) == 255
    assert grey(1.0, TRANSFER_PQ) == 255
    # Below the knee light is kept: (nits / 203) ** (1 / 2.4).
    assert grey(PQ[10], TRANSFER_PQ) == pytest.approx(255 * (10 / 203) ** (1 / 2.4), abs=1.5)
    # White is bent but stays bright, to leave room for highlights.
    assert 200 < grey(PQ[203], TRANSFER_PQ) < 250
    values = [grey(c, TRANSFER_PQ) for c in np.linspace(0, 0.75, 40)]
    assert values == sorted(values)


def test_hlg_reference_levels() -> None:
    assert grey(0.0, TRANSFER_HLG) == 0
    assert grey(1.0, TRANSFER_HLG) == 255
    # 75 % is diffuse white, 203 nits: the same as in PQ.
    assert grey(0.75, TRANSFER_HLG) == pytest.approx(grey(PQ[203], TRANSFER_PQ), abs=2)
    # BT.2408: 38 % is 26 nits (18 % grey card).
    assert grey(0.38, TRANSFER_HLG) == pytest.approx(255 * (26 / 203) ** (1 / 2.4), abs=3)


@pytest.mark.parametrize("primaries", [PRIMARIES_BT2020, PRIMARIES_P3])
def test_wide_gamut_keeps_grey_and_saturates_colour(primaries: int) -> None:
    assert [grey(v / 255, BT709, primaries) for v in (0, 1, 60, 128, 255)] == pytest.approx([0, 1, 60, 128, 255], abs=1)
    red = to_standard(np.array([[[40000, 20000, 20000]]], np.uint16), BT709, primaries)[0, 0].astype(int)
    assert red[0] > 40000 / 257 and red[1] < 20000 / 257


def test_only_what_needs_it_is_converted() -> None:
    assert not needs_conversion(1, 1)
    assert not needs_conversion(2, 2)
    assert needs_conversion(TRANSFER_PQ, 9)
    assert needs_conversion(1, PRIMARIES_P3)


def test_unsaid_matrices_are_guessed_by_size() -> None:
    assert matrix_name(2, 480, 720) == "smpte170m"
    assert matrix_name(2, 1080, 1920) == "bt709"
    assert matrix_name(1, 64, 64) == "bt709"
    assert matrix_name(9, 2160, 3840) == "bt2020"
