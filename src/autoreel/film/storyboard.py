"""The storyboard: what a film consists of, as a TOML file a person can read and edit.

In memory every path is absolute; in a file it is relative to that file, so that a folder with its film can be moved.
docs/storyboard.md describes each field.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, PlainSerializer

from autoreel.config import Strict
from autoreel.film.effects import Effect, FilePath, Real, Whole

FORMAT_VERSION = 1
MAX_RATE_HZ = 240
MAX_RATE_DENOMINATOR = 100_000
QUIETEST_LUFS = -40
MAX_TITLE = 1000  # letters
NAMED_COLORS = {"black": "#000000", "white": "#ffffff", "grey": "#808080"}

GENERATED_VERBS = ("generate", "continue", "animate", "between", "loop", "vary")  # the prior makes something new
REPAINTED_VERBS = ("morph", "slow", "rebuild")  # the codec paints what it was given, changed or not
MAX_SHOTS = 10_000
LATENT_TRANSITIONS = ("morph", "between")  # the model paints the way
Verb = Literal[
    "generate", "continue", "animate", "between", "loop", "vary", "morph", "slow", "rebuild",
    "material", "still", "card",
]
TransitionKind = Literal[
    "cut", "fade", "dip", "dissolve", "wipe-left", "wipe-right", "wipe-up", "wipe-down",
    "slide-left", "slide-right", "slide-up", "slide-down", "circle-open", "circle-close", "morph", "between",
    "wipe-top-left", "wipe-top-right", "wipe-bottom-left", "wipe-bottom-right", "diagonal-top-left",
    "diagonal-top-right", "diagonal-bottom-left", "diagonal-bottom-right", "smooth-left", "smooth-right", "smooth-up",
    "smooth-down", "cover-left", "cover-right", "cover-up", "cover-down", "reveal-left", "reveal-right", "reveal-up",
    "reveal-down", "slice-left", "slice-right", "slice-up", "slice-down", "wind-left", "wind-right", "wind-up",
    "wind-down", "vertical-open", "vertical-close", "horizontal-open", "horizontal-close", "circle-crop",
    "rectangle-crop", "radial", "zoom-in", "squeeze-horizontal", "squeeze-vertical", "pixelize", "blur", "distance",
    "fade-black", "fade-white", "fade-grays", "fade-fast", "fade-slow",
]


def _as_rate(value: Any) -> Any:
    if isinstance(value, Fraction):
        rate = value
    elif isinstance(value, bool) or not isinstance(value, int | float | str) or _is_odd_text(value):
        raise ValueError("a rate is frames per second: 25, 23.976 or '24000/1001'")
    else:
        try:
            rate = Fraction(str(value))
            if "." in str(value):  # a decimal of many digits is one that was cut off: 29.97002997003 is 30000/1001
                rate = rate.limit_denominator(MAX_RATE_DENOMINATOR)
        except (ValueError, ZeroDivisionError):
            raise ValueError("a rate is frames per second: 25, 23.976 or '24000/1001'") from None
    if not 1 <= rate <= MAX_RATE_HZ or rate.denominator > MAX_RATE_DENOMINATOR:
        raise ValueError(
            f"a rate lies between 1 and {MAX_RATE_HZ} frames per second; a fraction has up to "
            f"{MAX_RATE_DENOMINATOR} below"
        )
    return rate


def _is_odd_text(value: int | float | str) -> bool:
    """A text that is no plain number: '1e999999999' would be a number of a billion digits."""
    return isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(/[0-9]{1,9}|\.[0-9]{1,18})?", value.strip()) is None


def _from_rate(rate: Fraction) -> int | str:
    return rate.numerator if rate.denominator == 1 else f"{rate.numerator}/{rate.denominator}"


def problem_of_title(text: str) -> str | None:
    """What keeps a text from being shown as a title, after the words "the title"; None when nothing does."""
    if not text.strip():
        return "is empty; give it words, or leave it out"
    if len(text) > MAX_TITLE:
        return f"has {len(text)} letters; it can have {MAX_TITLE}"
    if any(unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t" for letter in text):
        return "has characters in it that cannot be shown; leave them out"
    return None


def _as_title(text: str) -> str:
    problem = problem_of_title(text)
    if problem is not None:
        raise ValueError(f"it {problem}")
    return text


def _as_color(value: Any) -> Any:
    if isinstance(value, str):
        color = NAMED_COLORS.get(value.lower(), value.lower())
        if re.fullmatch(r"#[0-9a-f]{6}", color):
            return color
    raise ValueError(f"a color is '#rrggbb' or one of {', '.join(NAMED_COLORS)}")


Upscale = Literal["lanczos", "learned"]
Rate = Annotated[InstanceOf[Fraction], BeforeValidator(_as_rate), PlainSerializer(_from_rate)]
Color = Annotated[str, BeforeValidator(_as_color)]
TitleText = Annotated[str, AfterValidator(_as_title)]
Seed = Annotated[Whole, Field(ge=0, lt=2**31)]
Length = Annotated[Real, Field(gt=0, le=36_000)]
Volume = Annotated[Real, Field(ge=-60, le=24)]  # dB
Loudness = Annotated[Real, Field(ge=QUIETEST_LUFS, le=-5)]
Place = Annotated[Real, Field(ge=0, le=36_000)]


class Canvas(Strict):
    """The picture every shot is fitted to."""

    width: Annotated[Whole, Field(ge=16, le=7680, multiple_of=2)] = 512
    height: Annotated[Whole, Field(ge=16, le=4320, multiple_of=2)] = 512
    rate: Rate = Fraction(25)
    fit: Literal["crop", "letterbox"] = "crop"
    background: Color = "#000000"
    upscale: Upscale = "lanczos"  # how what a model made is enlarged


class Transition(Strict):
    """How a shot follows the one before it; it is centred on the cut and changes no length."""

    kind: TransitionKind = "fade"
    length_s: Annotated[Real, Field(ge=0, le=10)] = 0.5
    color: Color | None = None  # what a dip goes through; black when left out


class Fade(Strict):
    """The film comes out of a colour at its start, or goes into one at its end."""

    length_s: Annotated[Real, Field(gt=0, le=10)] = 1.0
    color: Color = "#000000"


class Shot(Strict):
    """One shot. Which fields it may have depends on its verb; `checks.py` says so."""

    verb: Verb = "generate"
    length_s: Length | None = None
    beats: Annotated[Whole, Field(ge=1, le=4096)] | None = None
    label: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    seed: Seed | None = None
    source: FilePath | None = None
    in_s: Place | None = None
    out_s: Place | None = None
    to: FilePath | None = None
    to_in_s: Place | None = None
    strength: Annotated[Real, Field(ge=0, le=1)] | None = None
    way_s: Annotated[Real, Field(gt=0, le=60)] | None = None
    factor: Annotated[Real, Field(ge=0.05, le=1)] | None = None
    color: Color | None = None
    volume_db: Volume | None = None
    transition: Transition | None = None
    effects: tuple[Effect, ...] = ()


class Title(Strict):
    """Text over the film."""

    text: TitleText
    start_s: Place = 0.0
    length_s: Length = 3.0
    place: Literal["upper", "center", "lower"] = "center"
    size: Annotated[Real, Field(ge=0.02, le=0.5)] = 0.1  # of the canvas's shorter side
    color: Color = "#ffffff"
    font: FilePath | None = None
    fade_s: Annotated[Real, Field(ge=0, le=10)] = 0.4


class Music(Strict):
    """The music under the film."""

    file: FilePath
    start_s: Place = 0.0
    fade_in_s: Annotated[Real, Field(ge=0, le=60)] = 0.05
    fade_out_s: Annotated[Real, Field(ge=0, le=60)] = 2.0
    volume_db: Volume = 0.0
    loudness_lufs: Loudness = -14.0


class Captions(Strict):
    """What is said, as text: over the pictures, or as a track that players can show."""

    file: FilePath
    mode: Literal["burnt", "track"] = "burnt"
    place: Literal["upper", "center", "lower"] = "lower"
    size: Annotated[Real, Field(ge=0.02, le=0.5)] = 0.06  # of the canvas's shorter side
    color: Color = "#ffffff"
    font: FilePath | None = None


class Voice(Strict):
    """Somebody who speaks over the film, or any other sound at a place in it."""

    file: FilePath
    start_s: Place = 0.0
    in_s: Place = 0.0
    out_s: Place | None = None
    volume_db: Volume = 0.0


class Mix(Strict):
    """How the film's sounds come together."""

    loudness_lufs: Loudness | None = None  # that of [music] when left out
    duck_db: Annotated[Real, Field(ge=0, le=40)] = 10.0
    duck_fade_s: Annotated[Real, Field(ge=0.05, le=5)] = 0.4


class Storyboard(Strict):
    """A whole film."""

    version: Literal[1] = 1
    run: FilePath | None = None
    tempo_bpm: Annotated[Real, Field(ge=20, le=400)] | None = None
    canvas: Canvas = Canvas()
    opening: Fade | None = None
    ending: Fade | None = None
    music: Music | None = None
    mix: Mix | None = None
    captions: Captions | None = None
    voices: Annotated[tuple[Voice, ...], Field(max_length=1000)] = ()
    titles: Annotated[tuple[Title, ...], Field(max_length=1000)] = ()
    shots: Annotated[tuple[Shot, ...], Field(min_length=1, max_length=MAX_SHOTS)]


def is_generated(shot: Shot) -> bool:
    """Whether the shot's frames come from the prior."""
    return shot.verb in GENERATED_VERBS


def is_repainted(shot: Shot) -> bool:
    """Whether the shot's frames come from the codec alone."""
    return shot.verb in REPAINTED_VERBS


def needs_run(shot: Shot) -> bool:
    """Whether the shot needs a trained model: what the prior makes, what the codec paints, and latent transitions."""
    leads_in = shot.transition is not None and shot.transition.kind in LATENT_TRANSITIONS
    return is_generated(shot) or is_repainted(shot) or leads_in


def with_paths(values: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The plain values of a storyboard with `change` applied to each path in them; other values as they are.

    Args:
        values: as read from a file or dumped from a model; may be wrong in any way.
        change: path text to path text.
    """
    changed = _entry(values, change, "run")
    if "shots" in changed and isinstance(changed["shots"], list | tuple):
        changed["shots"] = [
            {**shot, "effects": effects_with_paths(shot["effects"], change)}
            if isinstance(shot, Mapping) and "effects" in shot else shot
            for shot in changed["shots"]
        ]  # fmt: skip
    for key, keys in (("shots", ("source", "to")), ("titles", ("font",)), ("voices", ("file",))):
        if key in changed:
            changed[key] = _entries(changed[key], change, *keys)
    if "captions" in changed:
        changed["captions"] = _entry(changed["captions"], change, "file", "font")
    if "music" in changed:
        changed["music"] = _entry(changed["music"], change, "file")
    return dict(changed)


def effects_with_paths(effects: Any, change: Callable[[str], str]) -> Any:
    """`with_paths` for a list of effects."""
    return _entries(effects, change, "file")


def _entries(items: Any, change: Callable[[str], str], *keys: str) -> Any:
    return [_entry(item, change, *keys) for item in items] if isinstance(items, list | tuple) else items


def _entry(item: Any, change: Callable[[str], str], *keys: str) -> Any:
    if not isinstance(item, Mapping):
        return item
    return {k: change(v) if k in keys and isinstance(v, str) and v else v for k, v in item.items()}


def absolute(path: str, folder: Path) -> str:
    """A path of a storyboard, seen from the folder it stands in; one in the home of nobody stays as it is."""
    try:
        expanded = os.path.expanduser(path)
    except ValueError:  # a user's name with letters that no name has
        return path
    return expanded if expanded.startswith("~") else os.path.normpath(folder.absolute() / expanded)


def relative(path: str, folder: Path) -> str:
    """The same path as it is written into a file in `folder`: short when it lies near, absolute when far away."""
    folder = folder.absolute()
    near = Path(os.path.relpath(path, folder))
    climbs = near.parts.count("..")
    short = f"./{near.as_posix()}" if near.as_posix().startswith("~") else near.as_posix()
    return path if climbs > 4 or climbs >= len(folder.parts) - 1 else short


def plain_values(storyboard: Storyboard, folder: Path) -> dict[str, Any]:
    """The storyboard as plain values, without what is unset, with paths relative to `folder`."""
    values = storyboard.model_dump(mode="json", exclude_none=True)
    for shot, written in zip(storyboard.shots, values["shots"], strict=True):
        # An effect has many settings and most stay as they are.
        written["effects"] = [
            {"name": effect.name, **effect.model_dump(mode="json", exclude_defaults=True)} for effect in shot.effects
        ]
    return with_paths(values, lambda path: relative(path, folder))
