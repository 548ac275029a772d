"""Text over a picture: shaped and set by Pillow (FreeType, HarfBuzz, FriBidi), in a bundled font or another.

A font file that somebody names is a program for FreeType, and opened in the jail like a film (`lettering.py`). The
bundled ones and the system's own are not.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter, ImageFont, features

from autoreel.errors import MediaError, UsageError
from autoreel.media import jail
from autoreel.media.layers import TitleLayer
from autoreel.media.limits import Limits
from autoreel.media.typeface import Face, is_drawn

Load = Callable[[int], Face]  # fonts, at a size in pixels
Font = Path | str  # a file, or the name of a bundled one

BUNDLED_FONTS = ("DejaVuSans-Bold.ttf", "NotoSansSC-Bold-common.otf")  # the first that has all letters of a text
SYSTEM_FONTS = (  # for scripts that no bundled font has; where they are is asked only then
    "NotoSansCJK-Bold.ttc", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "wqy-microhei.ttc", "PingFang.ttc",
    "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc", "Arial Unicode.ttf", "msyhbd.ttc", "msyh.ttc", "YuGothB.ttc",
    "malgunbd.ttf", "Nirmala.ttf", "NotoSans-Bold.ttf", "NotoSansDevanagari-Bold.ttf", "NotoSansThai-Bold.ttf",
    "NotoSansHebrew-Bold.ttf", "LeelawUI.ttf", "unifont.otf",
)  # fmt: skip
SYSTEM_FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts", "/System/Library/Fonts",
    "/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts",
)  # fmt: skip
SAFE_WIDTH = 0.84  # of the picture: televisions and phones cut the rest
SAFE_HEIGHT = 0.84
SMALLEST_PX = 9  # letters below this cannot be read
LINE_SPACING = 1.25
PLACES = ("upper", "center", "lower")
MAX_LETTERS = 4000  # that a request to the jail has room for, whatever they are
LIMITS = Limits(wall_s=60.0, cpu_s=60)
_MISSING = "\U0010fffe"  # a noncharacter: every font shows its box for it
UNSHAPED = (
    "Pillow finds no FriBidi, without which Arabic, Hebrew, Indian and such scripts are drawn wrong; install it "
    "(Debian and Ubuntu: apt install libfribidi0, Fedora: fribidi, macOS: brew install fribidi)"
)


def render_title(
    text: str,
    *,
    size: tuple[int, int],
    scale: float = 0.1,
    place: str = "center",
    color: str = "#ffffff",
    font: Path | None = None,
) -> TitleLayer:
    """Set a text: wrapped, made smaller until it lies within the safe area, with a soft shadow.

    Args:
        text: any script the font has; line breaks are kept.
        size: (height, width) of the picture in pixels.
        scale: height of the letters' line, as a share of the picture's shorter side.
        place: upper, center or lower.
        color: '#rrggbb'.
        font: a font file; None for a bundled one that has the letters, or one of the system's, or several of them.

    Raises:
        UsageError: the font cannot be read or has no sign for a letter of the text, or nothing here can shape it.
    """
    if place not in PLACES:
        raise UsageError(f"place is {place!r}; it must be one of {', '.join(PLACES)}")
    if font is not None:
        check_shaping(text)
        return _jailed(font, text, {"size": size, "scale": scale, "place": place, "color": color})[1]
    return set_text(text, _together(check_text(text)), size=size, scale=scale, place=place, color=color)


def set_text(
    text: str, load: Load, *, size: tuple[int, int], scale: float, place: str, color: str
) -> TitleLayer:  # fmt: skip
    """`render_title` in fonts that have the letters.

    Args:
        load: the fonts at a size in pixels.
    """
    height, width = size
    room = (int(width * SAFE_WIDTH), int(height * SAFE_HEIGHT))
    pixels, lines = _fit(text, load, max(SMALLEST_PX, round(scale * min(size))), room)
    return _draw(lines, load(pixels), pixels, size, place, color)


def _jailed(font: Path, text: str, request: dict[str, Any] | None) -> tuple[list[str], TitleLayer]:
    """What a font lacks of a text; and the text as a layer, where a request says how, and nothing is lacking.

    Raises:
        UsageError: the font cannot be read, or lacks a letter that is to be drawn.
    """
    if len(text) > MAX_LETTERS:
        raise UsageError(f"a text of {len(text)} letters cannot be set in {font}; give {MAX_LETTERS} at most")
    slot_bytes = 3 * request["size"][0] * request["size"][1] if request is not None else 0
    said: dict[str, Any] = {}
    planes = []
    try:
        for found in jail.run(font, "letters", {"text": text, "layer": request}, LIMITS, slot_bytes):
            if isinstance(found, jail.Chunk):
                planes.append(found.array[0])
            else:
                said |= found
        missing = [str(letter)[:1] for letter in said["missing"]]
        if missing or request is None:
            layer = TitleLayer(Image.new("RGBA", (1, 1)), 0, 0, (0, 0, 1, 1))
        else:
            image, alpha = (Image.fromarray(plane) for plane in planes)
            image.putalpha(alpha.getchannel(0))
            left, top, *box = (int(number) for number in (said["left"], said["top"], *said["text_box"]))
            layer = TitleLayer(image, left, top, (box[0], box[1], box[2], box[3]))
    except MediaError as error:
        reason = str(error).removeprefix(f"{jail.show(font)}: ")
        raise UsageError(f"font {font} cannot be read: {reason}; give a .ttf or .otf file") from None
    except (LookupError, TypeError, ValueError):
        raise UsageError(f"font {font} cannot be read: its reader was taken over or broke down") from None
    if missing and request is not None:
        raise UsageError(_lacks(font.name, missing))
    return missing, layer


def check_text(text: str, font: Path | None = None) -> tuple[Font, ...]:
    """The fonts that a text is set in, the one of most letters first.

    Raises:
        UsageError: the font cannot be read or has no sign for a letter of the text, or nothing here can shape it.
    """
    check_shaping(text)
    chosen, missing = _fonts_for(text, font)
    if missing:
        raise UsageError(_lacks(font.name if font else "the bundled font", missing))
    return chosen


def check_shaping(text: str) -> None:
    """See that letters which join, change places or run to the left can be set.

    Raises:
        UsageError: the text has such letters, and the library for them is not on this machine.
    """
    letters = [c for c in sorted(set(unicodedata.normalize("NFC", text))) if _needs_shaping(c)]
    if letters and not features.check("raqm"):
        raise UsageError(f"{' '.join(letters[:8])} cannot be set: {UNSHAPED}")


def _needs_shaping(c: str) -> bool:
    """Whether a text with this letter is not one sign a letter, from left to right."""
    return (
        unicodedata.bidirectional(c) in ("R", "AL")
        or (unicodedata.category(c) in ("Mn", "Mc") and not "\ufe00" <= c <= "\ufe0f")  # these choose among pictures
        or "\u1800" <= c <= "\u18af"  # Mongolian, which joins and has few marks
    )


def _lacks(name: str, missing: list[str]) -> str:
    return f"{name} has no letter for {' '.join(missing[:8])}; name a font file that has it with 'font'"


def missing_letters(text: str, font: Path | None = None) -> list[str]:
    """The letters of `text` that the font, or without one each font at hand, has no sign for.

    Raises:
        UsageError: the font cannot be read.
    """
    return _fonts_for(text, font)[1]


def _fonts_for(text: str, font: Path | None) -> tuple[tuple[Font, ...], list[str]]:
    """The fonts that a text is set in, and the letters that none has.

    One font where one has all letters; else that of most letters, and for the others those of most of what is left.
    """
    if font is not None:
        return (font,), _jailed(font, text, None)[0]
    letters = {c for c in text if is_drawn(c)}
    found: list[tuple[Font, set[str]]] = []
    names: Iterator[Font] = itertools.chain(BUNDLED_FONTS, _system_fonts())
    for name in names:
        try:
            found.append((name, {c for c in letters if not _has(name, c)}))
        except UsageError:  # a font of the system that cannot be read is none
            continue
        if not found[-1][1]:
            return (name,), []
    chosen: list[Font] = []
    missing = letters
    while True:
        name, lacks = min(found, key=lambda one: len(one[1] & missing))
        if chosen and not missing - lacks:
            return tuple(chosen), sorted(missing)
        chosen.append(name)
        missing = missing & lacks
        if not missing:
            return tuple(chosen), []


def _system_fonts() -> Iterator[Path]:
    for folder in SYSTEM_FOLDERS:
        root = Path(folder).expanduser()
        there = {path.name: path for path in root.rglob("*") if path.name in SYSTEM_FONTS} if root.is_dir() else {}
        yield from (there[name] for name in SYSTEM_FONTS if name in there)


def lacking(load: Load, text: str) -> list[str]:
    """The letters of a text that a font has no sign for."""
    face = load(24).fonts[0]
    box = bytes(face.getmask(_MISSING))
    return [c for c in sorted(set(filter(is_drawn, text))) if bytes(face.getmask(c)) == box]


@lru_cache(maxsize=1 << 16)
def _has(font: Font, letter: str) -> bool:
    """Whether a font of ours or of the system has a sign for a letter."""
    return not lacking(lambda _: _sample(font), letter)


@lru_cache(maxsize=64)
def _sample(font: Font) -> Face:
    return Face((_opened(font, 24),))


def _opened(font: Font, pixels: int) -> ImageFont.FreeTypeFont:
    try:
        if isinstance(font, Path):
            return ImageFont.truetype(str(font), pixels)
        with resources.as_file(resources.files("autoreel.media") / "fonts" / font) as path:
            return ImageFont.truetype(str(path), pixels)
    except OSError as error:
        raise UsageError(f"font {font} cannot be read: {error}; give a .ttf or .otf file") from None


def _together(fonts: tuple[Font, ...]) -> Load:
    """Fonts for sizes in pixels."""
    return lambda pixels: Face(
        tuple(_opened(font, pixels) for font in fonts), lambda number, letter: _has(fonts[number], letter)
    )


def _fit(
    text: str, load: Load, asked: int, room: tuple[int, int]
) -> tuple[int, list[str]]:
    """The largest size up to `asked` at which the text fits; a little smaller when that saves a line.

    A word that does not fit at half the size is broken: better in two pieces than too small to read.
    """
    parts = text.strip().splitlines()
    fewest = len(_wrapped(parts, load(max(SMALLEST_PX, int(asked * 0.8))), room[0], False))
    pixels = asked
    while True:
        face = load(pixels)
        lines = _wrapped(parts, face, room[0], pixels <= max(SMALLEST_PX, asked // 2))
        widest = max((face.getlength(line) for line in lines), default=0.0)
        fits = widest <= room[0] and len(lines) * pixels * LINE_SPACING <= room[1]
        if (fits and len(lines) <= fewest) or pixels <= SMALLEST_PX // 2:
            return pixels, lines
        if fits and pixels <= asked * 0.8:
            return pixels, lines
        pixels -= 1


def _wrapped(parts: list[str], face: Face, room: int, may_break: bool) -> list[str]:
    return [line for part in parts for line in _wrap(part, face, room, may_break)]


def _wrap(text: str, face: Face, room: int, may_break: bool) -> list[str]:
    """Lines no wider than `room` where the words allow it, and of about equal width."""
    pieces = _pieces(text)
    if may_break:
        pieces = [part for piece in pieces for part in _broken(piece, face, room)]
    if face.getlength(text) <= room or len(pieces) < 2:
        return [text]
    greedy = _greedy(pieces, face, room)
    # Even lines look set, a lone last word looks lost: the narrowest width that needs no more lines.
    low, high = 0, room
    while high - low > 4:
        middle = (low + high) // 2
        narrower = _greedy(pieces, face, middle)
        if len(narrower) <= len(greedy) and max(map(face.getlength, narrower)) <= middle:
            high = middle
        else:
            low = middle
    return _greedy(pieces, face, high)


def _greedy(pieces: list[str], face: Face, room: int) -> list[str]:
    lines, line = [], pieces[0]
    for piece in pieces[1:]:
        if face.getlength((line + piece).rstrip()) <= room:
            line += piece
        else:
            lines.append(line.strip())
            line = piece
    return [*lines, line.strip()]


def _pieces(text: str) -> list[str]:
    """Where a line may end: after a space, and between the characters of scripts written without spaces."""
    pieces = [""]
    for c in text:
        if pieces[-1] and (pieces[-1][-1].isspace() or (_is_wide(c) and _is_wide(pieces[-1][-1]))):
            pieces.append("")
        pieces[-1] += c
    return pieces


def _broken(word: str, face: Face, room: int) -> list[str]:
    """The word, or what of it fits on a line each."""
    if face.getlength(word) <= room:
        return [word]
    parts = [""]
    for c in word:
        if parts[-1] and face.getlength(parts[-1] + c) > room:
            parts.append("")
        parts[-1] += c
    return parts


def _is_wide(c: str) -> bool:
    return unicodedata.east_asian_width(c) in "WF" and unicodedata.category(c)[0] == "L"


def _draw(
    lines: list[str], face: Face, pixels: int, size: tuple[int, int], place: str, color: str
) -> TitleLayer:
    height, width = size
    step = round(pixels * LINE_SPACING)
    tall = step * len(lines)
    top = {
        "upper": round(height * (1 - SAFE_HEIGHT) / 2),
        "center": (height - tall) // 2,
        "lower": height - round(height * (1 - SAFE_HEIGHT) / 2) - tall,
    }[place]
    mask = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mask)
    for i, line in enumerate(lines):
        face.draw(draw, (width / 2, top + step * (i + 0.5)), line)
    letters = mask.getbbox() or (width // 2, height // 2, width // 2 + 1, height // 2 + 1)
    spread = max(1.0, pixels * 0.12)
    # The shadow is wide and soft for the text to stand on, and tight enough to give thin strokes an edge.
    wide = mask.filter(ImageFilter.GaussianBlur(spread * 2)).point([min(190, round(v * 1.3)) for v in range(256)])
    tight = mask.filter(ImageFilter.GaussianBlur(spread / 3)).point([min(190, v) for v in range(256)])
    shadow = Image.composite(wide, tight, wide.point([255 if v > 90 else v * 2 for v in range(256)]))
    alpha = Image.new("L", (width, height))
    alpha.paste(shadow)
    alpha.paste(255, (0, 0), mask)
    # Straight alpha: shadow pixels black, letters in their colour, their soft edges in between.
    layer = Image.new("RGB", (width, height), "#000000")
    layer.paste(Image.new("RGB", (width, height), color), (0, 0), mask)
    box = alpha.getbbox() or letters
    image = layer.crop(box)
    image.putalpha(alpha.crop(box))
    return TitleLayer(image, box[0], box[1], letters)
