"""An edit as Final Cut Pro XML 1.9: developer.apple.com/documentation/professional-video-applications/fcpxml-reference

Sounds and titles hang on the picture that is shown when they begin, and move with it. A lane below 0 is under the
pictures, one above 0 over them.
"""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from xml.etree import ElementTree as xml

from autoreel.film.cutlist import Edit, Media, Piece, Text, plain_text, side_by_side

BASIC_TITLE = ".../Titles.localized/Bumper:Opener.localized/Basic Title.localized/Basic Title.moti"
POSITION_KEY = "9999/999166631/999166633/1/100/101"  # of that title's parameter
OFF_CENTER = 0.36  # of the height: where titles stand that are upper or lower
SOUND_RATE_HZ = 48_000


def to_fcpxml(edit: Edit) -> str:
    """The edit as FCPXML, version 1.9."""
    rate = edit.layout.rate
    root = xml.Element("fcpxml", version="1.9")
    ids = _resources(xml.SubElement(root, "resources"), edit)
    event = xml.SubElement(xml.SubElement(root, "library"), "event", name=edit.name)
    sequence = xml.SubElement(
        xml.SubElement(event, "project", name=edit.name), "sequence", format="r1", tcStart="0s", tcFormat="NDF",
        duration=_seconds(edit.layout.num_frames / rate), audioLayout="stereo", audioRate="48k",
    )  # fmt: skip
    spine = xml.SubElement(sequence, "spine")
    hosts: list[tuple[Piece, xml.Element]] = []
    for piece in edit.pictures:
        if piece.into is not None:
            begin = piece.begin - piece.into_length // 2
            xml.SubElement(spine, "transition", name="Cross Dissolve", offset=_seconds(begin / rate),
                           duration=_seconds(piece.into_length / rate))  # fmt: skip
        clip = _asset_clip(spine, piece, ids[piece.media], rate, piece.begin)
        if piece.media.has_sound:
            clip.set("srcEnable", "video")  # what is heard of it has a clip of its own
        if piece.fills and piece.media.size != edit.size:
            xml.SubElement(clip, "adjust-conform", type="fill")
        hosts.append((piece, clip))

    def hung(begin: int) -> tuple[xml.Element, int]:
        """The clip that is shown at a frame of the film, and that frame's place in its own time."""
        piece, clip = hosts[bisect_right(hosts, begin, key=lambda host: host[0].begin) - 1]
        return clip, begin - piece.begin + piece.media_begin

    shown = [text for text in edit.texts if text.is_burnt]
    number = 0
    for lane, texts in enumerate(side_by_side(shown, lambda text: (text.begin, text.length)), start=1):
        for text in texts:
            number += 1
            clip, offset = hung(text.begin)
            _title(clip, text, number, edit.size).attrib.update(lane=str(lane), offset=_seconds(offset / rate))
            clip[-1].set("duration", _seconds(text.length / rate))
    for lane, (_, pieces) in enumerate(edit.sounds, start=1):
        for piece in pieces:
            clip, offset = hung(piece.begin)
            sound = _asset_clip(clip, piece, ids[piece.media], rate, offset)
            sound.set("lane", str(-lane))
            sound.set("audioRole", piece.role or "dialogue")
    xml.indent(root)
    body = xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'


def _resources(resources: xml.Element, edit: Edit) -> dict[Media, str]:
    """Formats, files and the title's effect; the id of each file."""
    used = list(dict.fromkeys(piece.media for piece in (*edit.pictures, *(p for _, ps in edit.sounds for p in ps))))
    canvas = (edit.size, edit.layout.rate)
    formats = dict.fromkeys([canvas, *((media.size, media.rate) for media in used if media.size is not None)])
    of_format = {found: f"r{number}" for number, found in enumerate(formats, start=1)}
    for (size, rate), name in of_format.items():
        assert size is not None  # of the canvas, or of a file with pictures
        made = xml.SubElement(resources, "format", id=name, width=str(size[1]), height=str(size[0]))
        if rate is None:
            made.set("name", "FFVideoFormatRateUndefined")
        else:
            made.set("frameDuration", _seconds(1 / rate))
    ids = {media: f"r{number}" for number, media in enumerate(used, start=len(of_format) + 1)}
    for media, name in ids.items():
        asset = xml.SubElement(resources, "asset", id=name, name=plain_text(media.file.name), start="0s",
                               duration=_seconds(media.length / edit.layout.rate))  # fmt: skip
        if media.size is not None:
            asset.attrib.update(hasVideo="1", format=of_format[media.size, media.rate])
        else:
            asset.attrib.update(audioSources="1", audioChannels="2", audioRate=str(SOUND_RATE_HZ))
        if media.has_sound:
            asset.set("hasAudio", "1")
        xml.SubElement(asset, "media-rep", kind="original-media", src=media.file.absolute().as_uri())
    if any(text.is_burnt for text in edit.texts):
        xml.SubElement(resources, "effect", id="title", name="Basic Title", uid=BASIC_TITLE)
    return ids


def _title(clip: xml.Element, text: Text, number: int, size: tuple[int, int]) -> xml.Element:
    title = xml.SubElement(clip, "title", ref="title", name=text.text.strip().splitlines()[0][:60], start="0s")
    if text.place != "center":
        away = round(size[0] * (OFF_CENTER if text.place == "upper" else -OFF_CENTER))
        xml.SubElement(title, "param", name="Position", key=POSITION_KEY, value=f"0 {away}")
    style = xml.SubElement(xml.SubElement(title, "text"), "text-style", ref=f"ts{number}")
    style.text = text.text
    red, green, blue = (int(text.color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    define = xml.SubElement(title, "text-style-def", id=f"ts{number}")
    xml.SubElement(define, "text-style", font="Helvetica", fontSize=str(max(1, round(text.size * min(size)))),
                   fontColor=f"{red:.4g} {green:.4g} {blue:.4g} 1", alignment="center")  # fmt: skip
    return title


def _asset_clip(parent: xml.Element, piece: Piece, ref: str, rate: Fraction, offset: int) -> xml.Element:
    return xml.SubElement(
        parent, "asset-clip", ref=ref, name=piece.name, offset=_seconds(offset / rate),
        start=_seconds(piece.media_begin / rate), duration=_seconds(piece.length / rate), tcFormat="NDF",
    )  # fmt: skip


def _seconds(time: Fraction) -> str:
    """Rational seconds as FCPXML writes them: 1001/30000s."""
    return f"{time.numerator}s" if time.denominator == 1 else f"{time.numerator}/{time.denominator}s"
