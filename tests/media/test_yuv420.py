"""Pictures in the layout of encoders: they are what they would be in red, green and blue, and nobody's are changed."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autoreel.clip import Frames
from autoreel.errors import UsageError
from autoreel.media.decode import decode
from autoreel.media.encode import VideoWriter
from autoreel.media.layers import overlay
from autoreel.media.titles import render_title
from autoreel.media.watermark import Watermark
from autoreel.media.yuv420 import Planar, as_planar, as_rgb, blended, composed, from_rgb, packed, plain, to_rgb

SIZE = (46, 62)  # neither a multiple of 4


def _smooth(seed: int = 0, size: tuple[int, int] = SIZE) -> Frames:
    """Soft colours: what halved colour keeps."""
    small = np.random.default_rng(seed).integers(20, 230, (4, 5, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _psnr_db(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, float(((one.astype(float) - other) ** 2).mean()))))


def test_there_and_back() -> None:
    frame = _smooth()
    picture = from_rgb(frame)
    assert picture.size == (62, 46) and [plane.shape for plane in picture.planes()] == [SIZE, (23, 31), (23, 31)]
    assert _psnr_db(to_rgb(picture), frame) > 44
    assert as_planar(picture) is picture and np.array_equal(packed(*picture.planes()).data, picture.data)
    assert as_rgb(picture).size == picture.size


@pytest.mark.parametrize(("color", "levels"), [("#000000", (16, 128, 128)), ("#ffffff", (235, 128, 128)),
                                               ("#ff0000", (63, 102, 240))])  # fmt: skip
def test_colors_are_those_of_bt_709(color: str, levels: tuple[int, int, int]) -> None:
    assert [int(plane.mean()) for plane in plain((62, 46), color).planes()] == pytest.approx(levels, abs=1)


def test_enlarging_is_lanczos_as_pillow_does_it() -> None:
    small = _smooth(3, (32, 32))
    other = from_rgb(np.asarray(Image.fromarray(small).resize((130, 90), Image.Resampling.LANCZOS)))
    for one, expected in zip(from_rgb(small, (90, 130)).planes(), other.planes(), strict=True):
        assert _psnr_db(one, expected) > 44


def test_fades_and_masks_are_those_of_rgb() -> None:
    before, after = _smooth(1), _smooth(2)
    mask = Image.fromarray(np.repeat(np.linspace(0, 255, 62).astype(np.uint8)[None], 46, axis=0))
    one, other = Image.fromarray(before), Image.fromarray(after)
    pairs = [
        (blended(from_rgb(before), from_rgb(after), 0.3), Image.blend(one, other, 0.3)),
        (composed(from_rgb(after), from_rgb(before), mask), Image.composite(other, one, mask)),
    ]
    for planar, rgb in pairs:
        assert _psnr_db(planar.data, from_rgb(np.asarray(rgb)).data) > 46


@pytest.mark.parametrize("place", ["upper", "lower"])
def test_a_title_is_the_same_over_both(place: str) -> None:
    frame, layer = _smooth(size=(90, 130)), render_title("Wg", size=(90, 130), scale=0.3, place=place, color="#ffe080")
    picture = from_rgb(frame)
    kept = picture.data.copy()
    over = overlay(picture, layer, 0.8)
    assert isinstance(over, Planar) and np.array_equal(picture.data, kept)
    rgb = overlay(Image.fromarray(frame), layer, 0.8)
    assert isinstance(rgb, Image.Image)
    for one, expected in zip(over.planes(), from_rgb(np.asarray(rgb)).planes(), strict=True):
        assert _psnr_db(one, expected) > 38
    assert _psnr_db(over.planes()[0], picture.planes()[0]) < 30


def test_the_mark_adds_as_much_light_and_no_color() -> None:
    frame = _smooth(size=(128, 128))
    noisy = np.clip(frame + np.random.default_rng(0).normal(0, 6, (128, 128, 1)), 0, 255).astype(np.uint8)
    picture = from_rgb(noisy)
    marked = Watermark((128, 128), 25, 77).mark_planar(picture, 12)
    in_rgb = Watermark((128, 128), 25, 77).mark(noisy, 12)
    light = noisy.astype(float) @ (0.2126, 0.7152, 0.0722), in_rgb.astype(float) @ (0.2126, 0.7152, 0.0722)
    luma = [one.planes()[0].astype(float) * 255 / 219 for one in (picture, marked)]
    added, expected = luma[1] - luma[0], light[1] - light[0]
    assert np.corrcoef(added.ravel(), expected.ravel())[0, 1] > 0.9
    assert np.sqrt((added**2).mean()) == pytest.approx(np.sqrt((expected**2).mean()), rel=0.1)
    assert all(np.array_equal(*pair) for pair in zip(marked.planes()[1:], picture.planes()[1:], strict=True))


@pytest.mark.parametrize("source", [(48, 64), (72, 96), (60, 64)])
def test_material_is_decoded_as_it_is_encoded(tmp_path: Path, source: tuple[int, int]) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, source, Fraction(25), quality=8) as writer:
        assert writer.takes_planar
        writer.write(np.stack([_smooth(seed, source) for seed in range(3)]))
    size = (48, 64)
    rgb = np.concatenate([chunk.frames for chunk in decode(path, size=size)])
    planar = np.concatenate([chunk.frames for chunk in decode(path, size=size, planar=True)])
    assert planar.shape == (3, 72, 64)
    for one, other in zip(planar, rgb, strict=True):
        assert _psnr_db(to_rgb(Planar(one)), other) > 42
    with pytest.raises(UsageError, match="even"):
        decode(path, size=(45, 64), planar=True)


@pytest.mark.parametrize(("name", "takes"), [("a.mp4", True), ("a.webm", True), ("a.gif", False), ("frames/", False)])
def test_every_kind_of_file_takes_them(tmp_path: Path, name: str, takes: bool) -> None:
    path, frame = tmp_path / name, _smooth(size=(48, 64))
    with VideoWriter(f"{path}/" if name.endswith("/") else path, (48, 64), Fraction(10)) as writer:
        assert writer.takes_planar is takes
        for _ in range(3):
            writer.write(from_rgb(frame))
    back = path / "00001.png" if name.endswith("/") else path
    seen = np.asarray(Image.open(back)) if back.suffix == ".png" else next(decode(back)).frames[1]
    assert _psnr_db(seen, frame) > (28 if name.endswith("gif") else 36)


def test_prores_keeps_its_colors(tmp_path: Path) -> None:
    assert not VideoWriter(tmp_path / "a.mov", (48, 64), 25, codec="prores").takes_planar
