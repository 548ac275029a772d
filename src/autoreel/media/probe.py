"""What a media file is, found out without trusting it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from autoreel.errors import MediaError
from autoreel.media import jail
from autoreel.media.limits import MAX_TEXT, TEXTS, Limits


@dataclass(frozen=True)
class MediaInfo:
    """What a file says and its first picture shows.

    Args:
        container: FFmpeg's name of the format.
        codec: of the video; None when there is none.
        width, height: in pixels as shown, after rotation and with square pixels; 0 without video.
        rate: pictures per second as the file says; None when it says nothing credible.
        duration_s: as the file says, which need not be true.
        rotation_deg: the clockwise turn that showing it takes.
        has_sound: a stream of sound with a known codec.
        sound_rate_hz, channels: of that sound.
        texts: what it says of itself: comment, description, title and the like, 600 letters of each at most.
    """

    container: str
    codec: str | None
    width: int
    height: int
    rate: Fraction | None
    duration_s: float | None
    rotation_deg: int
    has_sound: bool
    sound_rate_hz: int | None
    channels: int | None
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_video(self) -> bool:
        """True when pictures can be decoded."""
        return self.codec is not None


def probe(path: str | os.PathLike[str], limits: Limits | None = None) -> MediaInfo:
    """Look at one file in the jail; its first picture is decoded.

    Args:
        path: any file, trusted or not.
        limits: what it may cost.

    Raises:
        MediaError: it cannot be opened, or neither video nor sound can be read.
        JailError: this machine has no jail.
    """
    for found in jail.run(path, "probe", {}, limits or Limits()):
        if isinstance(found, dict):
            return _checked(found, path)
    raise MediaError(f"{jail.show(path)}: its decoder said nothing")


def _checked(found: dict[str, Any], path: str | os.PathLike[str]) -> MediaInfo:
    try:
        rate, codec, duration_s = found["rate"], found["codec"], found["duration_s"]
        if not 0 <= found["width"] < 1 << 20 or not 0 <= found["height"] < 1 << 20:
            raise ValueError("no size of a picture")
        if duration_s is not None and not math.isfinite(duration_s):
            raise ValueError("no length")
        return MediaInfo(
            container=str(found["container"])[:100],
            codec=None if codec is None else str(codec)[:100],
            width=int(found["width"]),
            height=int(found["height"]),
            rate=None if rate is None else Fraction(int(rate[0]), int(rate[1])),
            duration_s=None if duration_s is None else float(duration_s),
            rotation_deg=int(found["rotation_deg"]),
            has_sound=bool(found["has_sound"]),
            sound_rate_hz=None if found["sound_rate_hz"] is None else int(found["sound_rate_hz"]),
            channels=None if found["channels"] is None else int(found["channels"]),
            texts={key: str(found["texts"][key])[:MAX_TEXT] for key in TEXTS if key in found["texts"]},
        )
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
        raise MediaError(f"{jail.show(path)}: its decoder was taken over or broke down") from error
