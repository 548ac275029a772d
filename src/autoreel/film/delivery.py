"""How a film's file is written: by which codec, how well, and whether it is all of the film. Its record keeps that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from autoreel.config import Strict, from_mapping
from autoreel.errors import ConfigError, UsageError
from autoreel.film.layout import Layout
from autoreel.film.storyboard import Upscale
from autoreel.media.encoders import CODECS, CONTAINER_SUFFIXES, Codec, Quality

Seconds = Annotated[float, Field(ge=0, le=1e6)]


@dataclass(frozen=True)
class Delivery:
    """How a film's file is written.

    Args:
        codec: of the pictures; "auto" is the ending's usual one.
        quality: of the pictures; None is "draft" for a preview and "good" for a film.
        hardware: encode on a graphics chip where one works.
        preview: small and fast, to look at an edit.
        upscale: how what a model made is enlarged; None as the storyboard says.
        from_s, to_s: only this part of the film; None for its start and its end.
        shots_of: the film whose kept shots are used; None for the one that is written.
    """

    codec: Codec = "auto"
    quality: Quality | None = None
    hardware: bool = False
    preview: bool = False
    upscale: Upscale | None = None
    from_s: float | None = None
    to_s: float | None = None
    shots_of: Path | None = None

    @property
    def own_quality(self) -> Quality:
        """The quality, whether or not somebody said one."""
        return self.quality or ("draft" if self.preview else "good")

    def frames_of(self, layout: Layout) -> tuple[int, int]:
        """The first frame of the part, and the one after its last.

        Raises:
            UsageError: there is no such part.
        """
        whole_s = float(layout.num_frames / layout.rate)
        first = round(Fraction(str(self.from_s or 0.0)) * layout.rate)
        last = layout.num_frames if self.to_s is None else round(Fraction(str(self.to_s)) * layout.rate)
        if not 0 <= first < min(last, layout.num_frames):
            end_s = self.to_s if self.to_s is not None else whole_s
            raise UsageError(f"{self.from_s or 0.0:g} s to {end_s:g} s is no part of a film of {whole_s:g} s")
        return first, min(last, layout.num_frames)

    def instead_of(self, before: Delivery, out: Path) -> Delivery:
        """This, and where nothing was said, as the film was written before.

        Args:
            before: how it was written, from its record.
            out: what is written now; a codec that its ending does not take is left out.
        """
        # Whoever wants a first look at a finished film wants it small and fast, not in the film's own codec.
        alike = before.preview or not self.preview
        keeps_codec = alike and before.codec in CONTAINER_SUFFIXES.get(out.suffix.lower(), ())
        said_part = self.from_s is not None or self.to_s is not None
        return replace(
            self,
            codec=before.codec if self.codec == "auto" and keeps_codec else self.codec,
            quality=before.quality if self.quality is None and alike else self.quality,
            hardware=self.hardware or (alike and before.hardware),
            preview=self.preview or before.preview,
            from_s=self.from_s if said_part else before.from_s,
            to_s=self.to_s if said_part else before.to_s,
        )

    def as_record(self, codec: str) -> dict[str, Any]:
        """Plain values for a film's record, which `recorded` reads; how shots are enlarged stands in its storyboard.

        Args:
            codec: that was taken.
        """
        values = {
            "codec": codec if codec in CODECS else "auto", "quality": self.own_quality, "hardware": self.hardware,
            "preview": self.preview, "from_s": self.from_s, "to_s": self.to_s,
        }  # fmt: skip
        return {key: value for key, value in values.items() if value is not None}


class _Recorded(Strict):
    codec: Codec = "auto"
    quality: Quality = "good"
    hardware: bool = False
    preview: bool = False
    from_s: Seconds | None = None
    to_s: Seconds | None = None


def recorded(record: Mapping[str, Any], where: str) -> Delivery:
    """How the film of a record was written; the usual for one from before it was noted.

    Raises:
        ConfigError: every problem of the record's table `delivery`.
    """
    values = record.get("delivery", {})
    if not isinstance(values, Mapping):
        raise ConfigError(["'delivery' is no table; leave it out, and the film is written as usual"], where)
    read = from_mapping(_Recorded, values, f"{where}: delivery")
    return Delivery(read.codec, read.quality, read.hardware, read.preview, None, read.from_s, read.to_s)
