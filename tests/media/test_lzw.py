"""What only counting the pixels of a GIF notices."""

import os
from pathlib import Path

import pytest

from autoreel.errors import MediaError
from autoreel.media.decode import decode
from autoreel.media.limits import Limits
from autoreel.media.lzw import check_lzw, count_pixels


def packed(codes: list[tuple[int, int]]) -> bytes:
    """(code, width in bits) one after the other, the low bit first."""
    held = place = 0
    for code, width in codes:
        held |= code << place
        place += width
    return held.to_bytes((place + 7) // 8, "little")


@pytest.mark.parametrize(
    ("codes", "pixels"),
    [
        ([(4, 3), (1, 3), (5, 3)], 1),
        ([(4, 3), (1, 3), (6, 3), (6, 3), (5, 4)], 5),  # 6 is made by what stands before it; then codes grow to 4 bits
        ([(4, 3), (1, 3), (4, 3), (2, 3), (3, 3), (5, 3)], 3),  # a table that begins anew
        ([(4, 3), (1, 3), (7, 3)], -1),
        ([(4, 3), (1, 3)], 1),  # without an end
        ([], 0),
    ],
)
def test_pixels_are_counted(codes: list[tuple[int, int]], pixels: int) -> None:
    assert count_pixels(packed(codes), 2, 100) == pixels


def test_many_flipped_bits_are_noticed(hostile: Path) -> None:
    """The others stand for another run that is as long, and change a few pixels."""
    content = (hostile / "pigs_in_a_polka.gif").read_bytes()
    noticed = 0
    for number in range(8):
        damaged = bytearray(content)
        damaged[70_000 * (number + 1)] ^= 1 << number
        noticed += is_damaged(bytes(damaged))
    assert noticed >= 4 and not is_damaged(content)


def is_damaged(content: bytes) -> bool:
    descriptor = os.memfd_create("gif")
    try:
        os.write(descriptor, content)
        check_lzw(descriptor)
    except MediaError as error:
        assert "another number of pixels" in str(error)
        return True
    finally:
        os.close(descriptor)
    return False


def test_encoders_that_count_in_their_own_way_pass() -> None:
    image = b",\0\0\0\0\1\0\1\0\0\2\2" + packed([(4, 3), (1, 3), (1, 3), (5, 3)]) + b"\0"
    whole = b",\0\0\0\0\1\0\1\0\0\2\2" + packed([(4, 3), (1, 3), (5, 3)]) + b"\0"
    head = b"GIF89a\1\0\1\0\0\0\0"
    assert not is_damaged(head + 3 * image + b";") and is_damaged(head + image + 2 * whole + b";")
    assert not is_damaged(head + whole[:5]) and not is_damaged(head + b"!\xff\3abc\0" + whole + b";")


def test_the_jail_counts_when_asked_to(hostile: Path, tmp_path: Path) -> None:
    damaged = bytearray((hostile / "pigs_in_a_polka.gif").read_bytes())
    damaged[350_000] ^= 4
    (tmp_path / "damaged.gif").write_bytes(damaged)
    with pytest.raises(MediaError, match="another number of pixels"):
        next(decode(tmp_path / "damaged.gif", size=(16, 16), limits=Limits(twice=True)))


def test_whole_pictures_pass(hostile: Path) -> None:
    chunks = decode(hostile / "pigs_in_a_polka.gif", size=(16, 16), limits=Limits(twice=True))
    assert sum(len(chunk.frames) for chunk in chunks) == 30
