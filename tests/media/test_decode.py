"""Decoding gives the pictures that were meant, at the times that were meant."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autoreel.errors import MediaError, UsageError
from autoreel.media.decode import Limits, decode, decode_images, first_frame, read_clip
from autoreel.media.probe import probe

Make = Callable[..., Path]
Name = Callable[[NDArray[np.uint8]], str]


def greys(values: list[int], size: tuple[int, int] = (32, 32)) -> list[NDArray[np.uint8]]:
    """Pictures that can be told apart after coding: flat, of the given brightness."""
    return [np.full((*size, 3), v, np.uint8) for v in values]


def brightness(frames: NDArray[np.uint8]) -> list[int]:
    return [round(float(f.mean()) / 10) * 10 for f in frames]


@pytest.mark.parametrize(
    ("degrees", "mirror", "expected", "shown"),
    [
        (0, False, "rgbw", (96, 64)),
        (90, False, "gwrb", (64, 96)),
        (180, False, "wbgr", (96, 64)),
        (270, False, "brwg", (64, 96)),
        (0, True, "grwb", (96, 64)),
        (90, True, "wgbr", (64, 96)),
    ],
)
def test_pictures_are_turned_and_mirrored(
    make_video: Make, corners: NDArray[np.uint8], name_corners: Name, degrees: int, mirror: bool, expected: str,
    shown: tuple[int, int],
) -> None:  # fmt: skip
    def turn(stream: Any) -> None:
        stream.set_display_rotation(degrees, hflip=mirror)  # anticlockwise

    path = make_video("turned.mp4", [corners] * 3, prepare=turn)
    info = probe(path)
    assert (info.width, info.height) == shown
    assert name_corners(first_frame(path)) == expected
    assert name_corners(first_frame(path, size=(40, 40))) == expected
    assert first_frame(path).shape == (shown[1], shown[0], 3)


def test_wide_pixels(make_video: Make) -> None:
    def widen(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2)

    path = make_video("wide.mkv", greys([200] * 3), prepare=widen)
    assert (probe(path).width, probe(path).height) == (64, 32)
    letterboxed = first_frame(path, size=(32, 32), fit="letterbox")
    assert letterboxed[:7].max() < 20 and letterboxed[9:23].min() > 180 and letterboxed[25:].max() < 20


def test_uneven_times_become_even(make_video: Make) -> None:
    path = make_video(
        "uneven.mkv", greys([0, 50, 100, 150, 200]), times=[0, 100, 400, 500, 1200], time_base=Fraction(1, 1000)
    )
    clip = read_clip(path, rate=Fraction(10))
    assert clip.rate == 10
    assert brightness(clip.frames)[:12] == [0, 50, 50, 50, 100, 150, 150, 150, 150, 150, 150, 150]
    assert clip.pts_s is not None
    assert clip.pts_s == pytest.approx(np.arange(len(clip.frames)) / 10)


@pytest.mark.parametrize(("rate", "expected"), [(25, 50), (50, 100), (10, 20), (30, 60)])
def test_the_number_of_pictures_after_resampling(make_video: Make, rate: int, expected: int) -> None:
    path = make_video("even.mp4", greys([100] * 50))
    assert sum(len(c.frames) for c in decode(path, rate=Fraction(rate))) == expected
    assert sum(len(c.frames) for c in decode(path)) == 50


def test_a_span_and_the_picture_on_show_at_its_start(make_video: Make) -> None:
    path = make_video("long.mp4", greys([10 * (i % 25) for i in range(250)]), options={"crf": "1", "g": "25"})
    clip = read_clip(path, start_s=5.0, end_s=6.0)
    assert clip.pts_s is not None
    assert clip.pts_s[0] == 5.0 and len(clip.frames) == 25
    assert brightness(clip.frames)[:4] == [0, 10, 20, 30]
    assert brightness(read_clip(path, start_s=5.05, end_s=5.2, rate=Fraction(25)).frames)[:2] == [10, 20]
    assert brightness(first_frame(path, at_s=7.2)[None]) == [50]


def test_a_picture_is_on_show_until_the_next_one(make_video: Make) -> None:
    path = make_video("slides.mkv", greys([50, 150, 250]), times=[0, 5, 10], time_base=Fraction(1))
    assert brightness(read_clip(path, start_s=2, end_s=4, rate=Fraction(5)).frames) == [50] * 10
    assert brightness(read_clip(path, start_s=4, end_s=6, rate=Fraction(5)).frames) == [50] * 5 + [150] * 5


def test_first_times_that_are_not_zero_are_zero(hostile: Path) -> None:
    chunk = next(decode(hostile / "bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4", size=(16, 16)))
    assert chunk.pts_s[:3] == pytest.approx([0, 1 / 30, 2 / 30])


def test_a_delayed_video_keeps_its_delay_to_the_sound(hostile: Path) -> None:
    assert next(decode(hostile / "edit_list_positive_shift.mp4", size=(16, 16))).pts_s[0] == pytest.approx(1.0)


@pytest.mark.parametrize(("pix_fmt", "matrix", "full"), [
    ("yuv420p", 1, False), ("yuv420p", 5, False), ("yuvj420p", 5, True), ("yuv444p", 1, False),
])  # fmt: skip
def test_colours_survive_matrix_and_range(make_video: Make, pix_fmt: str, matrix: int, full: bool) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :32], picture[:32, 32:], picture[32:, :32] = (200, 60, 30), (30, 180, 90), (40, 50, 220)
    picture[32:, 32:] = 128

    def tag(stream: Any) -> None:
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1

    path = make_video("colours.mkv", [picture] * 2, pix_fmt=pix_fmt, prepare=tag)
    # PyAV's writer converts by the untagged default (BT.601); only those files have the colours that went in.
    result = first_frame(path).astype(int)
    grey = result[48, 48]
    assert abs(grey - 128).max() <= 3
    if matrix == 5:
        for y, x in ((16, 16), (16, 48), (48, 16)):
            assert abs(result[y, x] - picture[y, x]).max() <= 6


def test_shrinking_averages_over_areas(make_video: Make) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = first_frame(make_video("stripes.mkv", [stripes], codec="ffv1", pix_fmt="bgr0", options={}), size=(16, 16))
    assert abs(small.astype(int) - 128).max() <= 2


def test_transparent_is_black_without_fringes(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[...] = (255, 255, 255, 0)  # white, but not there
    pixels[:, 16:] = (200, 100, 50, 255)
    pixels[16:, 16:, 3] = 128
    path = tmp_path / "alpha.png"
    Image.fromarray(pixels).save(path)
    frame = first_frame(path).astype(int)
    assert frame[:, :15].max() <= 1
    assert abs(frame[8, 24] - (200, 100, 50)).max() <= 2
    assert abs(frame[24, 24] - (100, 50, 25)).max() <= 2
    assert first_frame(path, size=(8, 8))[:, 3].max() <= 1


def test_combed_pictures_are_deinterlaced(make_video: Make) -> None:
    pictures = []
    for index in range(12):
        picture = np.zeros((64, 128, 3), np.uint8)
        for field in (0, 1):  # a bar that moves 4 pixels from field to field
            left = 8 * index + 4 * field
            picture[field::2, left : left + 16] = 255
        pictures.append(picture)
    path = make_video(
        "combed.mkv", pictures, options={"crf": "4", "preset": "ultrafast", "x264-params": "tff=1:interlaced=1"}
    )
    clip = read_clip(path)
    assert len(clip.frames) == 12

    def combing(frames: NDArray[np.uint8]) -> float:
        rows = frames[2:-2, 8:-8].astype(float)
        return float(np.abs(rows[:, 1:-1] - (rows[:, :-2] + rows[:, 2:]) / 2).mean())

    assert combing(clip.frames) < 0.3 * combing(np.stack(pictures))


def test_gif_and_images_in_order(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    images = [Image.new("RGB", (20, 10), c) for c in colours]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100)
    clip = read_clip(tmp_path / "a.gif")
    assert clip.rate == 10 and clip.frames.shape == (3, 10, 20, 3)
    assert [int(f[5, 10].argmax()) for f in clip.frames] == [0, 1, 2]

    paths = []
    for index, image in enumerate(images * 22):
        paths.append(tmp_path / f"{index:03d}.png")
        image.save(paths[-1])
    chunks = list(decode_images(paths, rate=Fraction(5), size=(8, 16)))
    assert [len(c.frames) for c in chunks] == [64, 2]
    frames, pts_s = np.concatenate([c.frames for c in chunks]), np.concatenate([c.pts_s for c in chunks])
    assert [int(f[4, 8].argmax()) for f in frames] == [0, 1, 2] * 22
    assert pts_s == pytest.approx(np.arange(66) / 5)


def test_a_photo_turned_by_exif(tmp_path: Path, corners: NDArray[np.uint8], name_corners: Name) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to show it
    Image.fromarray(corners).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    assert name_corners(first_frame(tmp_path / "photo.jpg")) == "brwg"


def test_chunks_are_bounded_and_closing_is_enough(make_video: Make) -> None:
    path = make_video("many.mp4", greys([100] * 150))
    stream = decode(path, size=(16, 16))
    assert len(next(stream).frames) == 64
    stream.close()  # type: ignore[attr-defined]
    assert [len(c.frames) for c in decode(path, size=(16, 16))] == [64, 64, 22]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(max_decoded_frames=20), "more than 20 pictures are coded"),
        (Limits(max_frames=20), "more than 20 pictures"),
        (Limits(max_duration_s=1), "longer than 1 s"),
        (Limits(max_pixels=32 * 32 - 1), "pixels"),
    ],
)
def test_limits(make_video: Make, limits: Limits, reason: str) -> None:
    path = make_video("fine.mp4", greys([100] * 50))
    with pytest.raises(MediaError, match=reason):
        for _ in decode(path, limits=limits, rate=Fraction(25)):
            pass


def test_a_gap_of_years_is_not_filled(make_video: Make) -> None:
    year = 365 * 24 * 3600
    path = make_video("years.mkv", greys([0, 100, 200]), times=[0, 1, year], time_base=Fraction(1))
    with pytest.raises(MediaError, match="gap"):
        for _ in decode(path, rate=Fraction(25)):
            pass


def test_good_pictures_come_before_the_error(hostile: Path) -> None:
    given = 0
    with pytest.raises(MediaError, match=r"corrupted\.mp4: damaged after 2\.\d"):
        for chunk in decode(hostile / "corrupted.mp4", size=(16, 16)):
            given += len(chunk.frames)
    assert given == 27  # of 28 whole ones; how long the last is on show only the next would say


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    import os

    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, reason in {
        "empty.mp4": "cannot be opened", "absent.mp4": "no such file", "": "it is a folder",
        "pipe.mp4": "not a plain file",
        "a\0b.mp4": "cannot be a name",
    }.items():  # fmt: skip
        with pytest.raises(MediaError, match=reason):
            probe(tmp_path / name)


def test_senseless_arguments(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"size": (0, 5)},
        {"rate": Fraction(0)},
        {"start_s": -1.0},
        {"start_s": 2.0, "end_s": 1.0},
    ]
    for arguments in wrong:
        with pytest.raises(UsageError):
            decode(tmp_path / "x.mp4", **arguments)


def test_names_are_shown_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.mp4"
    path.write_text("no film")
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert "\n" not in str(caught.value)


def test_pictures_that_an_edit_list_hides_are_not_missed(footage: Path) -> None:
    path = footage / "sports" / "basketball.mp4"
    assert sum(len(c.frames) for c in decode(path, size=(16, 16))) == 214


def test_real_footage_decodes(footage: Path) -> None:
    clip = read_clip(footage / "asl_gestures" / "bird.mkv", size=(48, 64), rate=Fraction(25), with_sound=True)
    assert clip.frames.shape == (53, 48, 64, 3)
    assert clip.frames.std() > 10
    assert clip.sound is None


def trimmed(path: Path) -> bytes:
    """The file with an edit list that shows its first half only, as trimming on a phone leaves it."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    data[at : at + 4] = (int.from_bytes(data[at : at + 4], "big") // 2).to_bytes(4, "big")
    return bytes(data)


def test_pictures_that_an_edit_list_cuts_away_are_not_missed(make_video: Make, tmp_path: Path) -> None:
    path = make_video("whole.mp4", greys([*range(0, 200, 2)]), options={"g": "10", "bf": "2", "movflags": "+faststart"})
    (tmp_path / "trimmed.mp4").write_bytes(trimmed(path))
    assert sum(len(chunk.frames) for chunk in decode(tmp_path / "trimmed.mp4")) == 50
    (tmp_path / "cut.mp4").write_bytes(trimmed(path)[:-1500])
    with pytest.raises(MediaError, match="cut off"):
        list(decode(tmp_path / "cut.mp4"))


def test_flipped_bits_in_vp9_are_noticed(make_video: Make, tmp_path: Path) -> None:
    """FFmpeg's own decoder paints most of these without a word; the second one hears them."""
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 255, (16, 24, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    path = make_video("good.webm", [np.roll(scene, 3 * n, 1) for n in range(30)], codec="libvpx-vp9", options={})
    whole = read_clip(path, size=(32, 48)).frames
    content, changed, refused = path.read_bytes(), 0, 0
    for place in np.linspace(len(content) * 0.1, len(content) * 0.6, 24).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 16
        (tmp_path / "damaged.webm").write_bytes(damaged)
        try:
            changed += not np.array_equal(read_clip(tmp_path / "damaged.webm", size=(32, 48)).frames, whole)
        except MediaError:
            refused += 1
    assert refused >= 16 and changed <= 6
