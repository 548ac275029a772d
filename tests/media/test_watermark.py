"""The mark in what a model made: it is faint, stays out of the dark, survives packing and scaling, is not imagined."""

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autoreel.clip import Frames
from autoreel.errors import UsageError
from autoreel.media.decode import FrameChunk, decode
from autoreel.media.encode import VideoWriter
from autoreel.media.watermark import GRID, PERIOD, Watermark, box_mean, carriers, pattern, run_id, sync_signs
from autoreel.media.watermark_search import FALSE_FINDS, Found, find, tail

RATE = Fraction(25, 2)
IDENTITY = 0xA5C31E


def _film(size: tuple[int, int] = (64, 64), num_frames: int = 150, seed: int = 0) -> Frames:
    """Shots of soft shapes that drift, with a little noise, as footage has it."""
    rng = np.random.default_rng(seed)
    frames = []
    for start in range(0, num_frames, 40):
        small = rng.uniform(30, 225, (9, 16, 3)).astype(np.uint8)
        wide = np.asarray(Image.fromarray(small).resize((size[1] * 2, size[0]), Image.Resampling.BICUBIC))
        for number in range(min(40, num_frames - start)):
            at = number * size[1] // 60
            noise = rng.normal(0, 2, (*size, 1))
            frames.append(np.clip(wide[:, at : at + size[1]] + noise, 0, 255).astype(np.uint8))
    return np.stack(frames)


def _marked(frames: Frames, rate: Fraction = RATE) -> Frames:
    watermark = Watermark((frames.shape[1], frames.shape[2]), rate, IDENTITY)
    return np.stack([watermark.mark(frame, number) for number, frame in enumerate(frames)])


def _chunks(frames: Frames, rate: Fraction = RATE) -> Iterator[FrameChunk]:
    for begin in range(0, len(frames), 50):
        part = frames[begin : begin + 50]
        yield FrameChunk(part, (begin + np.arange(len(part))) / float(rate))


def _search(path: Path) -> Found | None:
    return find(decode(path, size=(GRID, GRID), fit="stretch"))


def _psnr_db(one: Frames, other: Frames) -> float:
    difference: NDArray[np.float64] = one.astype(float) - other
    return float(10 * np.log10(255**2 / (difference**2).mean()))


@pytest.mark.parametrize("size", [(64, 64), (90, 160)])
def test_it_is_faint_and_survives_an_encoder(tmp_path: Path, size: tuple[int, int]) -> None:
    plain = _film(size, 250)
    marked = _marked(plain)
    assert _psnr_db(marked, plain) >= 42
    for name, frames in (("plain", plain), ("marked", marked)):
        with VideoWriter(tmp_path / f"{name}.mp4", size, RATE, quality=28) as writer:
            writer.write(frames)
    assert _search(tmp_path / "plain.mp4") is None
    found = _search(tmp_path / "marked.mp4")
    assert found is not None and found.false_find <= FALSE_FINDS
    assert found.start_s == 0 and found.identity in (IDENTITY, None)
    assert sum(end - begin for begin, end in found.seconds) >= 15


def test_a_clean_file_tells_all() -> None:
    marked = _marked(_film())
    found = find(_chunks(marked))
    assert found is not None and found.identity == IDENTITY and found.score > 15


def test_it_is_found_in_a_part_and_the_part_is_placed() -> None:
    marked = _marked(_film(num_frames=200))
    found = find(_chunks(marked[50:]))
    assert found is not None and found.start_s == pytest.approx(4.0, abs=0.25) and found.identity == IDENTITY


def test_it_tells_marked_seconds_from_others() -> None:
    plain = _film(num_frames=300)
    mixed = np.concatenate([plain[:100], _marked(plain)[100:200], plain[200:]])
    found = find(_chunks(mixed))
    assert found is not None and len(found.seconds) == 1
    assert found.seconds[0] == pytest.approx((8.0, 16.0), abs=1.01)


def test_it_is_found_in_a_picture_of_another_size() -> None:
    marked = _marked(_film((240, 320)))
    scaled = [np.asarray(Image.fromarray(f).resize((100, 56), Image.Resampling.LANCZOS)) for f in marked]
    again = [np.asarray(Image.fromarray(f).resize((GRID, GRID), Image.Resampling.BOX)) for f in scaled]
    found = find(_chunks(np.stack(again)))
    assert found is not None and found.identity == IDENTITY


def test_black_and_white_stay_as_they_are() -> None:
    for value in (0, 3, 255):
        frames = np.full((30, 64, 64, 3), value, np.uint8)
        assert np.array_equal(_marked(frames), frames)
    dark = np.full((30, 64, 64, 3), 10, np.uint8)
    assert np.abs(_marked(dark).astype(int) - dark).max() <= 1


def test_nothing_wraps_at_the_ends_of_the_scale() -> None:
    rng = np.random.default_rng(1)
    frames = rng.choice([0, 1, 2, 120, 253, 254, 255], (50, 64, 64, 3)).astype(np.uint8)
    assert np.abs(_marked(frames).astype(int) - frames).max() < 10


def test_smooth_places_carry_less() -> None:
    smooth = np.full((10, 64, 64, 3), 128, np.uint8)
    assert np.abs(_marked(smooth).astype(int) - smooth).std() < 0.9


def test_the_same_again_and_another_run() -> None:
    frames = _film(num_frames=20)
    assert np.array_equal(_marked(frames), _marked(frames))
    other = Watermark((64, 64), RATE, IDENTITY + 1)
    assert not np.array_equal(other.mark(frames[0], 0), _marked(frames)[0])


def test_the_pattern_of_version_1_stays_what_it_is() -> None:
    """A film that is marked today is found by later versions."""
    sync, groups = carriers()
    assert float((pattern(3, 77) ** 2).mean()) == pytest.approx(1.0, rel=1e-4)
    signs = np.stack([sync_signs(second) for second in (0, 1, 59, PERIOD - 1)])
    digest = hashlib.sha256((signs > 0).tobytes() + np.concatenate([sync, *groups]).astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "8063744fcbf715ec"


def test_short_dark_and_empty_films_carry_nothing() -> None:
    assert find(iter([])) is None
    assert find(_chunks(np.zeros((1, 64, 64, 3), np.uint8))) is None
    assert find(_chunks(np.zeros((100, 64, 64, 3), np.uint8))) is None
    assert find(_chunks(_film(num_frames=1))) is None


def test_clean_films_are_clean() -> None:
    for seed in range(3):
        assert find(_chunks(_film(seed=seed))) is None


def test_the_bound_and_the_id() -> None:
    assert tail(5.2) < 1e-6 < tail(4.5)
    assert run_id(None) == 0 and 0 < run_id("abc") < 1 << 24
    with pytest.raises(UsageError, match="24 bits"):
        Watermark((64, 64), 25, 1 << 24)
    flat = np.ones((5, 6), np.float32)
    assert np.allclose(box_mean(flat, 3), 1)
