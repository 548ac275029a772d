"""The effects a shot can have: their names, settings and ranges. `filters.py` holds what each does to the picture.

One effect is one class here and one function there under the same name; a test holds the two tables together.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from autoreel.config import Strict

Share = Annotated[float, Field(ge=0, le=1)]


class ColorEffect(Strict):
    """Brightness, contrast, saturation, gamma and warmth; the defaults change nothing."""

    name: Literal["color"] = "color"
    brightness: Annotated[float, Field(ge=-1, le=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=4)] = 1.0
    saturation: Annotated[float, Field(ge=0, le=4)] = 1.0
    gamma: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    warmth: Annotated[float, Field(ge=-1, le=1)] = 0.0


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
    size: Annotated[int, Field(ge=1, le=8)] = 1  # pixels


class BlurEffect(Strict):
    """Out of focus."""

    name: Literal["blur"] = "blur"
    radius: Annotated[float, Field(ge=0, le=0.2)] = 0.01  # of the canvas's shorter side


class SharpenEffect(Strict):
    """Unsharp masking."""

    name: Literal["sharpen"] = "sharpen"
    strength: Annotated[float, Field(ge=0, le=3)] = 0.6
    radius: Annotated[float, Field(ge=0.001, le=0.05)] = 0.006  # of the canvas's shorter side


class GlowEffect(Strict):
    """Bright places shine into their surroundings."""

    name: Literal["glow"] = "glow"
    strength: Share = 0.4
    radius: Annotated[float, Field(ge=0.005, le=0.1)] = 0.03  # of the canvas's shorter side


class ZoomEffect(Strict):
    """A slow move into or across the picture (Ken Burns)."""

    name: Literal["zoom"] = "zoom"
    start: Annotated[float, Field(ge=1, le=8)] = 1.0
    end: Annotated[float, Field(ge=1, le=8)] = 1.15
    start_x: Share = 0.5  # where the middle of the view lies, of the room there is to move
    start_y: Share = 0.5
    end_x: Share = 0.5
    end_y: Share = 0.5


class ShakeEffect(Strict):
    """A camera held by hand."""

    name: Literal["shake"] = "shake"
    strength: Annotated[float, Field(ge=0, le=0.1)] = 0.01  # of the canvas's shorter side


class BarsEffect(Strict):
    """Dark bars above and below, or left and right, for a picture of another shape."""

    name: Literal["bars"] = "bars"
    aspect: Annotated[float, Field(ge=0.2, le=5)] = 2.39


class ReverseEffect(Strict):
    """The shot runs backwards."""

    name: Literal["reverse"] = "reverse"


class SpeedEffect(Strict):
    """Faster (above 1) or slower (below 1); the shot's length on the timeline stays."""

    name: Literal["speed"] = "speed"
    factor: Annotated[float, Field(ge=0.1, le=10)] = 1.0


EFFECTS: dict[str, type[Strict]] = {
    effect.model_fields["name"].default: effect
    for effect in (
        ColorEffect, BlackAndWhiteEffect, SepiaEffect, VignetteEffect, GrainEffect, BlurEffect, SharpenEffect,
        GlowEffect, ZoomEffect, ShakeEffect, BarsEffect, ReverseEffect, SpeedEffect,
    )
}

Effect = Annotated[
    ColorEffect | BlackAndWhiteEffect | SepiaEffect | VignetteEffect | GrainEffect | BlurEffect | SharpenEffect
    | GlowEffect | ZoomEffect | ShakeEffect | BarsEffect | ReverseEffect | SpeedEffect,
    Field(discriminator="name"),
]
