"""The kinds of film the director knows: data, one small file each in the folder `kinds`, or a person's own file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import Field

from autoreel.config import Strict, from_mapping, nearest, read_toml
from autoreel.errors import UsageError
from autoreel.film.effects import BlurEffect, ColorEffect, Effect, Real, ZoomEffect
from autoreel.film.storyboard import Color, Fade, TransitionKind, absolute, effects_with_paths

Seconds = Annotated[Real, Field(gt=0, le=600)]
Weight = Annotated[Real, Field(ge=0, le=1)]


class Kind(Strict):
    """How the director makes a film of one kind. docs/storyboard.md describes each field."""

    about: str = ""
    shot_s: Seconds = 4.0
    shots_from_s: Seconds = 2.0
    shots_to_s: Seconds = 6.0
    transitions: dict[TransitionKind, Weight] = Field(default={"cut": 0.65, "fade": 0.35})
    transition_lengths_s: Annotated[tuple[Annotated[Real, Field(gt=0, le=10)], ...], Field(min_length=1)] = (0.4, 0.6)
    dip_every_s: Seconds | None = None
    dip_color: Color = "#000000"
    effects: tuple[Effect, ...] = ()
    title_effects: tuple[Effect, ...] = (
        BlurEffect(radius=0.025), ColorEffect(gamma=0.65, saturation=0.85), ZoomEffect(start=1.0, end=1.12),
    )
    title_size: Annotated[Real, Field(ge=0.02, le=0.5)] = 0.11
    opening: Fade = Fade(length_s=0.5)
    ending: Fade = Fade(length_s=1.0)


def known_kinds() -> Sequence[str]:
    """The names of the kinds that come with the program."""
    folder = resources.files("autoreel.film") / "kinds"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_kind(name: str) -> Kind:
    """A kind of film; the files that its effects name are seen from its own folder.

    Args:
        name: one of `known_kinds`, or the path of a person's own file ending in `.toml`.

    Raises:
        UsageError: there is no such kind.
        ConfigError: the file has problems; all of them.
    """
    if name.endswith(".toml"):
        values, folder = read_toml(Path(name)), Path(name).absolute().parent
        for key in ("effects", "title_effects"):
            if key in values:
                values[key] = effects_with_paths(values[key], lambda path: absolute(path, folder))
        return from_mapping(Kind, values, name)
    if name not in known_kinds():
        raise UsageError(f"unknown kind of film '{name}'{nearest(name, list(known_kinds()))}, or a file of your own")
    with resources.as_file(resources.files("autoreel.film") / "kinds" / f"{name}.toml") as path:
        return from_mapping(Kind, read_toml(path), name)
