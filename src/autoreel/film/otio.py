"""An edit as OpenTimelineIO: https://opentimelineio.readthedocs.io, schemas Timeline.1 to Marker.2."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from autoreel.film.cutlist import Edit, Piece, plain_text


def to_otio(edit: Edit) -> str:
    """The edit as JSON: a track of pictures, tracks of sounds, titles and captions as markers."""
    rate = float(edit.layout.rate)

    def time(frames: int) -> dict[str, Any]:
        return {"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": float(frames)}

    def span(begin: int, length: int) -> dict[str, Any]:
        return {"OTIO_SCHEMA": "TimeRange.1", "duration": time(length), "start_time": time(begin)}

    def item(schema: str, name: str, **more: Any) -> dict[str, Any]:
        plain = {"name": name, "metadata": {}, "effects": [], "markers": [], "enabled": True}
        return {"OTIO_SCHEMA": schema, **plain, **more}

    def clip(piece: Piece) -> dict[str, Any]:
        media = {
            "OTIO_SCHEMA": "ExternalReference.1", "name": plain_text(piece.media.file.name), "metadata": {},
            "available_image_bounds": None, "available_range": span(0, piece.media.length),
            "target_url": piece.media.file.absolute().as_uri(),
        }  # fmt: skip
        return item("Clip.2", piece.name, source_range=span(piece.media_begin, piece.length),
                    media_references={"DEFAULT_MEDIA": media}, active_media_reference_key="DEFAULT_MEDIA")  # fmt: skip

    def track(name: str, kind: str, children: Sequence[Any]) -> dict[str, Any]:
        return item("Track.1", name, kind=kind, source_range=None, children=list(children))

    video: list[dict[str, Any]] = []
    for piece in edit.pictures:
        if piece.into is not None:
            before = piece.into_length // 2
            video.append({
                "OTIO_SCHEMA": "Transition.1", "name": piece.into, "metadata": {"autoreel": {"kind": piece.into}},
                "transition_type": "SMPTE_Dissolve" if piece.into in ("fade", "dissolve") else "Custom_Transition",
                "in_offset": time(before), "out_offset": time(piece.into_length - before),
            })  # fmt: skip
        video.append(clip(piece))
    tracks = [track("pictures", "Video", video)]
    for name, pieces in edit.sounds:
        children, at = [], 0
        for piece in pieces:
            if piece.begin > at:
                children.append(item("Gap.1", "", source_range=span(0, piece.begin - at)))
            children.append(clip(piece))
            at = piece.begin + piece.length
        tracks.append(track(name, "Audio", children))
    markers = [
        {"OTIO_SCHEMA": "Marker.2", "name": text.text, "color": "GREEN" if text.kind == "title" else "CYAN",
         "comment": text.kind, "marked_range": span(text.begin, text.length),
         "metadata": {"autoreel": {"place": text.place, "size": text.size, "color": text.color}}}
        for text in edit.texts
    ]  # fmt: skip
    stack = {**item("Stack.1", "tracks", source_range=None, children=tracks), "markers": markers}
    timeline = {
        "OTIO_SCHEMA": "Timeline.1", "name": edit.name, "metadata": {}, "global_start_time": None, "tracks": stack,
    }  # fmt: skip
    return json.dumps(timeline, indent=1, ensure_ascii=False) + "\n"
