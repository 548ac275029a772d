"""The effects a shot can have: their names, settings and ranges. `filters.py` holds what each does to the picture.

One effect is one class here and one function there under the same name; a test holds the two tables together.
"""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from autoreel.config import Strict


def _as_path(path: str) -> str:
    try:
        expanded = os.path.expanduser(path)
    except ValueError:  # a user's name with letters that no name has
        expanded = path
    if expanded.startswith("~"):
        raise ValueError("there is no such home folder; write the path in full, or ./~name for a file of that name")
    return expanded


FilePath = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$"), AfterValidator(_as_path)]
Real = Annotated[float, Field(strict=True)]  # a number is no text, and no truth
Whole = Annotated[int, Field(strict=True)]
Share = Annotated[Real, Field(ge=0, le=1)]
Tone = Annotated[Real, Field(ge=-1, le=1)]
Shift = tuple[Tone, Tone, Tone]
Points = Annotated[tuple[tuple[Share, Share], ...], Field(max_length=32)]


class ColorEffect(Strict):
    """Brightness, contrast, saturation, gamma and warmth; the defaults change nothing."""

    name: Literal["color"] = "color"
    brightness: Annotated[Real, Field(ge=-1, le=1)] = 0.0
    contrast: Annotated[Real, Field(ge=0, le=4)] = 1.0
    saturation: Annotated[Real, Field(ge=0, le=4)] = 1.0
    gamma: Annotated[Real, Field(ge=0.1, le=10)] = 1.0
    warmth: Annotated[Real, Field(ge=-1, le=1)] = 0.0


class BlackAndWhiteEffect(Strict):
    """Luma only."""

    name: Literal["black-and-white"] = "black-and-white"


class SepiaEffect(Strict):
    """The brown of old prints."""

    name: Literal["sepia"] = "sepia"
    strength: Share = 1.0


class VignetteEffect(Strict):
    """Darker towards the corners."""

    name: Literal["vignette"] = "vignette"
    strength: Share = 0.4


class GrainEffect(Strict):
    """Film grain, new in every frame and the same in every rendering."""

    name: Literal["grain"] = "grain"
    strength: Share = 0.15
    size: Annotated[Whole, Field(ge=1, le=8)] = 1  # pixels


class BlurEffect(Strict):
    """Out of focus."""

    name: Literal["blur"] = "blur"
    radius: Annotated[Real, Field(ge=0, le=0.2)] = 0.01  # of the canvas's shorter side


class SharpenEffect(Strict):
    """Unsharp masking."""

    name: Literal["sharpen"] = "sharpen"
    strength: Annotated[Real, Field(ge=0, le=3)] = 0.6
    radius: Annotated[Real, Field(ge=0.001, le=0.05)] = 0.006  # of the canvas's shorter side


class GlowEffect(Strict):
    """Bright places shine into their surroundings."""

    name: Literal["glow"] = "glow"
    strength: Share = 0.4
    radius: Annotated[Real, Field(ge=0.005, le=0.1)] = 0.03  # of the canvas's shorter side


class ZoomEffect(Strict):
    """A slow move into or across the picture (Ken Burns)."""

    name: Literal["zoom"] = "zoom"
    start: Annotated[Real, Field(ge=1, le=8)] = 1.0
    end: Annotated[Real, Field(ge=1, le=8)] = 1.15
    start_x: Share = 0.5  # where the middle of the view lies, of the room there is to move
    start_y: Share = 0.5
    end_x: Share = 0.5
    end_y: Share = 0.5


class ShakeEffect(Strict):
    """A camera held by hand."""

    name: Literal["shake"] = "shake"
    strength: Annotated[Real, Field(ge=0, le=0.1)] = 0.01  # of the canvas's shorter side


class BarsEffect(Strict):
    """Dark bars above and below, or left and right, for a picture of another shape."""

    name: Literal["bars"] = "bars"
    aspect: Annotated[Real, Field(ge=0.2, le=5)] = 2.39


class ReverseEffect(Strict):
    """The shot runs backwards."""

    name: Literal["reverse"] = "reverse"


class SpeedEffect(Strict):
    """Faster (above 1) or slower (below 1); the shot's length on the timeline stays."""

    name: Literal["speed"] = "speed"
    factor: Annotated[Real, Field(ge=0.1, le=10)] = 1.0


class RampEffect(Strict):
    """The shot gets faster or slower on its way; its length on the timeline stays."""

    name: Literal["ramp"] = "ramp"
    start: Annotated[Real, Field(ge=0.1, le=10)] = 1.0
    end: Annotated[Real, Field(ge=0.1, le=10)] = 2.0


class FreezeEffect(Strict):
    """The picture at a time of the shot stands still for a while, and then goes on."""

    name: Literal["freeze"] = "freeze"
    at_s: Annotated[Real, Field(ge=0, le=3600)] = 1.0
    length_s: Annotated[Real, Field(ge=0.01, le=3600)] = 1.0


class CurvesEffect(Strict):
    """Tones along curves through points [from, to], each 0 to 1; without points nothing changes."""

    name: Literal["curves"] = "curves"
    all: Points = ()
    red: Points = ()
    green: Points = ()
    blue: Points = ()


class BalanceEffect(Strict):
    """Dark, middle and bright tones, each with its own shift [red, green, blue]."""

    name: Literal["balance"] = "balance"
    shadows: Shift = (0.0, 0.0, 0.0)
    midtones: Shift = (0.0, 0.0, 0.0)
    highlights: Shift = (0.0, 0.0, 0.0)


class LutEffect(Strict):
    """Colours looked up in a table of a .cube file."""

    name: Literal["lut"] = "lut"
    file: FilePath
    strength: Share = 1.0


class InsetEffect(Strict):
    """Another clip in a corner of the picture."""

    name: Literal["inset"] = "inset"
    file: FilePath
    in_s: Annotated[Real, Field(ge=0, le=36_000)] = 0.0
    place: Literal["upper-left", "upper-right", "lower-left", "lower-right"] = "lower-right"
    size: Annotated[Real, Field(ge=0.05, le=0.9)] = 0.3  # of the canvas's sides
    margin: Annotated[Real, Field(ge=0, le=0.2)] = 0.04  # of the canvas's shorter side
    border: Annotated[Real, Field(ge=0, le=0.02)] = 0.004  # of the canvas's shorter side, white


class SplitEffect(Strict):
    """Another clip beside the shot, on a part of the picture."""

    name: Literal["split"] = "split"
    file: FilePath
    in_s: Annotated[Real, Field(ge=0, le=36_000)] = 0.0
    side: Literal["left", "right", "upper", "lower"] = "right"
    share: Annotated[Real, Field(ge=0.1, le=0.9)] = 0.5
    gap: Annotated[Real, Field(ge=0, le=0.05)] = 0.006  # of the canvas's shorter side, black


class SmoothEffect(Strict):
    """Frames in between, along the motion, where the film shows more of them than the shot has."""

    name: Literal["smooth"] = "smooth"


TIMING_EFFECTS = ("reverse", "speed", "ramp", "freeze", "smooth")  # which frame is shown, not how it looks
TIME_EFFECTS = ("reverse", "speed", "ramp", "freeze")  # one of each, and no sound of the clip's own
FILE_EFFECTS = ("lut", "inset", "split")

EFFECTS: dict[str, type[Strict]] = {
    effect.model_fields["name"].default: effect
    for effect in (
        ColorEffect, BlackAndWhiteEffect, SepiaEffect, VignetteEffect, GrainEffect, BlurEffect, SharpenEffect,
        GlowEffect, ZoomEffect, ShakeEffect, BarsEffect, ReverseEffect, SpeedEffect, RampEffect, FreezeEffect,
        SmoothEffect, CurvesEffect, BalanceEffect, LutEffect, InsetEffect, SplitEffect,
    )
}

Effect = Annotated[
    ColorEffect | BlackAndWhiteEffect | SepiaEffect | VignetteEffect | GrainEffect | BlurEffect | SharpenEffect
    | GlowEffect | ZoomEffect | ShakeEffect | BarsEffect | ReverseEffect | SpeedEffect | RampEffect | FreezeEffect
    | SmoothEffect | CurvesEffect | BalanceEffect | LutEffect | InsetEffect | SplitEffect,
    Field(discriminator="name"),
]
