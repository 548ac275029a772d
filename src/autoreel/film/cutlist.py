"""The clips of a film as an editing program sees them: what is shown when, and from which file. Times are its frames.

    pictures   |==1==|~2~|=====3=====|=way=|==4==|      without gaps; ~ is a crossfade
    sounds     |------------- music -------------|      on tracks of their own
                    |--voice--|      |--clip--|
    texts        |title|        |caption|
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from autoreel.film.layout import Layout

T = TypeVar("T")
_NEVER = "\ufffe\uffff"  # no letters, and not allowed in XML


@dataclass(frozen=True)
class Media:
    """A file of an edit.

    Args:
        file: where it lies.
        length: in the film's frames.
        size: (height, width) of its pictures; None where it has none.
        rate: of its pictures; None where it says none.
        has_sound: whether anything is heard in it.
    """

    file: Path
    length: int
    size: tuple[int, int] | None = None
    rate: Fraction | None = None
    has_sound: bool = False


@dataclass(frozen=True)
class Piece:
    """A clip of the edit.

    Args:
        name: for people.
        media: its file. Of one with pictures they alone are meant, of another its sound.
        begin: where in the film it begins.
        length: how long it is shown.
        media_begin: where in its file that is.
        into, into_length: the kind of transition into it, and how long that is; half of it lies before `begin`.
        fills: its pictures fill the canvas, and what stands out of it is cut off; else they are shown whole.
        role: of a sound: music, dialogue or effects.
    """

    name: str
    media: Media
    begin: int
    length: int
    media_begin: int = 0
    into: str | None = None
    into_length: int = 0
    fills: bool = True
    role: str | None = None


@dataclass(frozen=True)
class Text:
    """A title or a caption.

    Args:
        kind: title or caption.
        text: without control characters other than ends of lines.
        begin, length: when it is seen.
        place: upper, center or lower.
        size: of the letters, as a share of the canvas's shorter side.
        color: '#rrggbb'.
        is_burnt: it is seen over the pictures, not in a track of captions.
    """

    kind: str
    text: str
    begin: int
    length: int
    place: str
    size: float
    color: str
    is_burnt: bool = True


@dataclass(frozen=True)
class Edit:
    """A whole film as an editing program sees it.

    Args:
        name: of the film.
        size: (height, width) of its canvas.
        layout: its timeline.
        pictures: one after the other.
        sounds: tracks of clips that do not overlap, with the name of each track.
        texts: titles, then captions.
    """

    name: str
    size: tuple[int, int]
    layout: Layout
    pictures: tuple[Piece, ...]
    sounds: tuple[tuple[str, tuple[Piece, ...]], ...]
    texts: tuple[Text, ...]


def plain_text(text: str) -> str:
    """A text without what XML cannot hold: control characters but ends of lines and tabs, and halves of letters."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in lines if c in "\n\t" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _NEVER))


def side_by_side(items: Sequence[T], span: Callable[[T], tuple[int, int]]) -> list[list[T]]:
    """Items on as few tracks as hold them without overlap.

    Args:
        items: in any order.
        span: the begin and length of one.

    Returns:
        For each track its items by time.
    """
    tracks: list[list[T]] = []
    for item in sorted(items, key=span):
        for track in tracks:
            begin, length = span(track[-1])
            if begin + length <= span(item)[0]:
                track.append(item)
                break
        else:
            tracks.append([item])
    return tracks
