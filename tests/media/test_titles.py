"""Titles: within the safe area, readable, shaped; a letter the font lacks is named."""

import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont, features

from autoreel import preflight
from autoreel.errors import UsageError
from autoreel.media import titles
from autoreel.media.layers import overlay
from autoreel.media.titles import SAFE_HEIGHT, SAFE_WIDTH, check_text, missing_letters, render_title
from autoreel.media.typeface import Face, chosen_fonts, in_order
from autoreel.training.budget import Budget
from autoreel.training.doctor import examine

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


@pytest.mark.parametrize("text", ["♪ 你好 ♪", "春天 سلام", "سلام 你好 spring"])
def test_a_text_of_several_scripts_takes_a_font_for_each(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles, "SYSTEM_FOLDERS", ())
    assert sorted(map(str, check_text(text))) == sorted(titles.BUNDLED_FONTS) and not missing_letters(text)
    layer = render_title(text, size=(100, 400), scale=0.3)
    words = [render_title(word, size=(100, 400), scale=0.3).text_box for word in text.split()]
    width = layer.text_box[2] - layer.text_box[0]
    assert width > sum(box[2] - box[0] for box in words), "every word is there, as wide as by itself: joined"
    assert width < 400 * SAFE_WIDTH + 2
    with pytest.raises(UsageError, match="no letter for ส"):
        render_title(f"{text} ส", size=(64, 64))


@pytest.mark.parametrize(
    ("text", "seen"),
    [("ab 你好", "ab 你好"), ("ab אב 你好", "ab בא 你好"), ("אב 你好 גד", "דג 你好 בא"),
     ("אב 你好 12 גד", "דג 你好 12 בא"), ("אב12你", "12你בא"),
     ("你 אב 1,5% גד", "你 דג 1,5% בא"), ("你אבab", "你באab"),
     ("אב: 你!", "!你 :בא"),
     ("ab\u05d0\u05b8 你", "ab\u05b8\u05d0 你")],
)  # fmt: skip
def test_parts_of_several_fonts_lie_as_one_would_set_them(text: str, seen: str) -> None:
    fonts = [int(c in "你好") for c in text]
    parts = in_order(text, fonts)
    assert all(set(part.text) <= set("你好") or part.font == 0 for part in parts)
    shown = ""
    for part in parts:  # within a part, Raqm turns the letters, but not the numbers in it
        assert not (part.is_leftward and any(c.isdigit() for c in part.text))
        shown += part.text[::-1] if part.is_leftward else part.text
    assert shown == seen


def test_a_word_stays_in_one_font() -> None:
    letters = ("abc!", "xyz!", "abcx")
    assert chosen_fonts("abc cx xz! xa", 3, lambda font, c: c in letters[font]) == [0] * 4 + [2] * 3 + [1] * 4 + [2, 2]
    assert chosen_fonts("czc", 3, lambda font, c: c in letters[font]) == [0, 1, 0]


def test_one_font_is_left_to_raqm() -> None:
    font = ImageFont.truetype(str(resources.files("autoreel.media") / "fonts" / titles.BUNDLED_FONTS[0]), 40)
    for text in ("سلام ab 12 (c)", "AVATAR", ""):
        assert Face((font,)).getlength(text) == font.getlength(text)


@pytest.mark.parametrize("text", ["سلام", "a ש", "हिन्दी", "ᠮᠣᠩ"])
def test_what_cannot_be_shaped_here_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: name != "raqm")
    for font in (None, tmp_path / "own.ttf"):
        with pytest.raises(UsageError, match=r"FriBidi, without which Arabic.*install it .*libfribidi0"):
            render_title(text, size=(64, 64), font=font)
    (problem,) = preflight.check_title(text)
    assert "FriBidi" in str(problem)
    assert any("FriBidi" in line for line in examine(Budget(steps=1), measure=False))
    for plain in ("Žluťoučký 你好 ♪", "cafe\u0301", "\u2600\ufe0f"):
        titles.check_shaping(plain)
