"""Titles: within the safe area, readable, shaped; a letter the font lacks is named."""

import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont, features

from autoreel.errors import UsageError
from autoreel.media import titles
from autoreel.media.layers import overlay
from autoreel.media.titles import SAFE_HEIGHT, SAFE_WIDTH, missing_letters, render_title

TEXTS = {
    "short": "Spring",
    "long": "A title that is much too long for one line and has to be set in several of them",
    "lines": "first\nsecond\nthird",
    "one word": "Donaudampfschifffahrtsgesellschaft",
    "accents": "Żółć, Größe, façade, Čeština",
    "greek": "Καλημέρα",
    "cyrillic": "Доброе утро",
    "arabic": "السلام عليكم",
    "chinese": "春天的迹象",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [(64, 64), (96, 128), (512, 512)])
@pytest.mark.parametrize("place", ["upper", "center", "lower"])
def test_letters_stay_within_the_safe_area(text: str, size: tuple[int, int], place: str) -> None:
    layer = render_title(text, size=size, scale=0.12, place=place)
    left, top, right, bottom = layer.text_box
    height, width = size
    slack = 2  # an accent or a tail may stand out of its line by a pixel or two
    assert left >= width * (1 - SAFE_WIDTH) / 2 - slack and right <= width * (1 + SAFE_WIDTH) / 2 + slack
    assert top >= height * (1 - SAFE_HEIGHT) / 2 - slack and bottom <= height * (1 + SAFE_HEIGHT) / 2 + slack
    middle = (top + bottom) / 2 / height
    if size[0] >= 512 and text == TEXTS["short"]:
        assert {"upper": middle < 0.3, "center": 0.4 < middle < 0.6, "lower": middle > 0.7}[place]


def test_a_small_picture_has_readable_letters() -> None:
    layer = render_title("Hello", size=(64, 64), scale=0.05)
    assert layer.text_box[3] - layer.text_box[1] >= 6


def test_it_is_seen_on_white_and_on_black_and_fades() -> None:
    layer = render_title("Hello", size=(128, 256), scale=0.2)
    for ground in ("#ffffff", "#000000"):
        picture = Image.new("RGB", (256, 128), ground)
        whole, half = (np.asarray(overlay(picture, layer, opacity)).astype(int) for opacity in (1.0, 0.5))
        changed = np.abs(whole - np.asarray(picture)).max()
        assert changed > 120
        assert np.abs(half - np.asarray(picture)).max() < 0.6 * changed
        assert np.array_equal(np.asarray(overlay(picture, layer, 0.0)), np.asarray(picture))


def test_arabic_is_shaped_and_runs_to_the_left() -> None:
    assert features.check("raqm"), "Pillow without Raqm cannot shape Arabic; install its own wheel"
    joined, apart = (render_title(text, size=(100, 400), scale=0.3).text_box for text in ("سلام", "س ل ا م"))
    assert joined[2] - joined[0] < 0.8 * (apart[2] - apart[0])


def test_the_color_is_the_letters_color() -> None:
    picture = overlay(Image.new("RGB", (200, 100)), render_title("I", size=(100, 200), scale=0.8, color="#ff0000"))
    assert np.asarray(picture).reshape(-1, 3).max(axis=0).tolist() == [255, 0, 0]


def test_letters_the_font_has_not_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_letters("abc é ا") == []
    assert missing_letters("a中文") == [] and missing_letters("直角骨, 春天") == []
    monkeypatch.setattr("autoreel.media.titles.SYSTEM_FOLDERS", ())
    assert missing_letters("aสวัสดี") == ["ด", "ว", "ส"]
    with pytest.raises(UsageError, match="the bundled font has no letter for ด"):
        render_title("สวัสดี", size=(64, 64))


def test_a_font_of_the_system_is_taken_when_no_bundled_one_has_the_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the system's font is the bundled Chinese one under another name."""
    bundled = resources.files("autoreel.media") / "fonts"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "msyh.ttc").write_bytes((bundled / "NotoSansSC-Bold-common.otf").read_bytes())
    (tmp_path / "unifont.otf").write_bytes(b"no font")
    monkeypatch.setattr("autoreel.media.titles.BUNDLED_FONTS", ("DejaVuSans-Bold.ttf",))
    monkeypatch.setattr("autoreel.media.titles.SYSTEM_FOLDERS", (str(tmp_path), "/nowhere"))
    assert missing_letters("春天") == []
    assert missing_letters("ส") == ["ส"]


def test_chinese_is_wrapped_between_letters() -> None:
    layer = render_title("春天的迹象春天的迹象春天的迹象", size=(200, 200), scale=0.2)
    left, top, right, bottom = layer.text_box
    assert right - left <= 200 * SAFE_WIDTH + 2 and bottom - top > 2 * 0.2 * 200


def test_a_font_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_bytes(b"no font at all")
    for name in ("font.ttf", "absent.ttf"):
        with pytest.raises(UsageError, match="cannot be read"):
            render_title("a", size=(64, 64), font=tmp_path / name)


def test_a_place_that_is_none() -> None:
    with pytest.raises(UsageError, match="upper, center, lower"):
        render_title("a", size=(64, 64), place="top")


def test_a_persons_font_is_opened_in_the_jail_and_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.ttf"
    own.write_bytes((resources.files("autoreel.media") / "fonts" / titles.BUNDLED_FONTS[0]).read_bytes())
    here = render_title("Lights \u05d0", size=(120, 200))

    def forbidden(*_: object) -> None:
        pytest.fail("FreeType reads it outside of the jail")

    monkeypatch.setattr(ImageFont, "truetype", forbidden)
    there = render_title("Lights \u05d0", size=(120, 200), font=own)
    assert there.image.tobytes() == here.image.tobytes()
    assert (there.left, there.top, there.text_box) == (here.left, here.top, here.text_box)
    assert titles.missing_letters("a\u4e2d", own) == ["\u4e2d"]
    with pytest.raises(UsageError, match="has no letter for \u4e2d"):
        render_title("a\u4e2d", size=(64, 64), font=own)
    with pytest.raises(UsageError, match="4000 at most"):
        render_title("a" * 4001, size=(64, 64), font=own)


def test_a_font_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ttf")
    with pytest.raises(UsageError, match="it is not a plain file; give a"):
        render_title("a", size=(64, 64), font=tmp_path / "pipe.ttf")
