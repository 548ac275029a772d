"""The files that a storyboard names, each looked at once: what it is, and whether a model of autoreel made it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from autoreel.film.effects import Effect, InsetEffect, SplitEffect
from autoreel.film.provenance import Kinds, told_by
from autoreel.film.storyboard import Shot
from autoreel.media.limits import FILM
from autoreel.media.probe import MediaInfo, probe
from autoreel.media.written import written_texts


@dataclass(frozen=True)
class Material:
    """A file of material, music or speech.

    Args:
        info: what it is.
        kinds: what its pictures are, by its own metadata; `original` where they say nothing of autoreel.
    """

    info: MediaInfo
    kinds: Kinds


def look_at(path: str) -> Material:
    """Look at one file in the jail.

    Raises:
        MediaError: neither video nor sound can be read.
        JailError: this machine has no jail.
    """
    info = probe(path, FILM)
    told = told_by({**info.texts, **written_texts(Path(path))})
    return Material(info, told[1] if told is not None else frozenset({"original"}))


def pictures_of(shot: Shot) -> Iterator[tuple[str, str]]:
    """The files whose pictures a shot shows or starts from, each with what names it."""
    for key, path in (("'source'", shot.source), ("'to'", shot.to)):
        if path is not None:
            yield key, path
    yield from pictures_of_effects(shot.effects)


def pictures_of_effects(effects: Iterable[Effect]) -> Iterator[tuple[str, str]]:
    """The files whose pictures effects show, each with what names it."""
    for effect in effects:
        if isinstance(effect, InsetEffect | SplitEffect):
            yield f"effect '{effect.name}': 'file'", effect.file
