"""Captions: SubRip as people write it, mistakes by their line, and a track in every format."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from autoreel.errors import MediaError
from autoreel.media.captions import Caption, one_at_a_time, parse_captions, read_captions, write_captions
from autoreel.media.encode import VideoWriter

SRT = """1
00:00:00,200 --> 00:00:01,000
First <i>line</i>
second line

2
00:00:01,5 --> 0:0:02.25
{\\an8}Žluťoučký 世界 مرحبا
3
00:00:02,500 --> 00:00:03,000
no empty line before
"""


def test_what_people_write_is_read(tmp_path: Path) -> None:
    expected = [Caption(0.2, 1.0, "First line\nsecond line"), Caption(1.5, 2.25, "Žluťoučký 世界 مرحبا"),
                Caption(2.5, 3.0, "no empty line before")]  # fmt: skip
    assert parse_captions(SRT, "a.srt") == expected
    windows, old = SRT.replace("\n", "\r\n"), SRT.replace("\n", "\r")
    for number, data in enumerate((SRT.encode(), windows.encode("utf-8-sig"), SRT.encode("utf-16"), old.encode())):
        path = tmp_path / f"{number}.srt"
        path.write_bytes(data)
        assert read_captions(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [("hello", "line 1 is 'hello'; there should be a number or a time"),
     ("1\n00:00:01 -> 00:00:02\nx", "line 2 is '00:00:01 -> 00:00:02'"),
     ("1\n0:0:1 --> later\nx", "line 2 is '0:0:1 --> later'; a time is written"),
     ("1\n00:00:02,000 --> 00:00:01,000\nx", "line 2: the caption ends at 1 s, but begins at 2 s; exchange"),
     ("", "has no captions"), ("1\n00:00:01,0 --> 00:00:02,0\n" + "x" * 3000, "a caption of 3000 letters")],
)  # fmt: skip
def test_mistakes_are_named_by_their_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.srt").write_text(text)
    with pytest.raises(MediaError, match=message):
        read_captions(tmp_path / "a.srt")


def test_files_that_are_no_captions(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_bytes(bytes(range(128, 256)) * 10)
    for name, message in (("a.srt", "not text in UTF-8"), ("absent.srt", "cannot be read"), (".", "cannot be read")):
        with pytest.raises(MediaError, match=message):
            read_captions(tmp_path / name)


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
def test_every_format_holds_the_track(tmp_path: Path, ending: str) -> None:
    captions = parse_captions(SRT, "a.srt")
    with VideoWriter(tmp_path / f"f{ending}", (32, 32), Fraction(10), captions=captions) as writer:
        writer.write(np.zeros((26, 32, 32, 3), np.uint8))
    with av.open(str(tmp_path / f"f{ending}")) as container:
        (stream,) = container.streams.subtitles
        assert ending not in (".mp4", ".mov") or stream.codec_context.extradata
        packets = [packet for packet in container.demux(stream) if packet.size > 2]
        found = [(float((p.pts or 0) * (p.time_base or 0)), bytes(p).lstrip(b"\0")) for p in packets]
    assert [round(start, 2) for start, _ in found] == [0.2, 1.5, 2.5]
    assert "世界 مرحبا".encode() in found[1][1]


TOGETHER = [Caption(1.0, 3.0, "a"), Caption(1.0, 3.0, "b"), Caption(4.0, 5.5, "c"), Caption(5.0, 5.9, "d"),
            Caption(7.0, 7.5, "e"), Caption(7.5, 8.0, "f"), Caption(8.2, 9.0, "g"), Caption(8.4, 8.6, "h")]  # fmt: skip
ONE_BY_ONE = [
    (1.0, 3.0, "a\nb"), (4.0, 5.0, "c"), (5.0, 5.5, "c\nd"), (5.5, 5.9, "d"), (7.0, 7.5, "e"), (7.5, 8.0, "f"),
    (8.2, 8.4, "g"), (8.4, 8.6, "g\nh"), (8.6, 9.0, "g"),
]  # fmt: skip


@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_captions_that_overlap_are_shown_together_where_a_track_shows_one(tmp_path: Path, ending: str) -> None:
    assert [(one.start_s, one.end_s, one.text) for one in one_at_a_time(TOGETHER)] == ONE_BY_ONE
    with VideoWriter(tmp_path / f"f{ending}", (32, 32), Fraction(10), captions=TOGETHER) as writer:
        writer.write(np.zeros((100, 32, 32, 3), np.uint8))
    with av.open(str(tmp_path / f"f{ending}")) as container:
        found = []
        for packet in container.demux(container.streams.subtitles[0]):
            if packet.size > 2:
                begin, length = (float((at or 0) * (packet.time_base or 0)) for at in (packet.pts, packet.duration))
                found.append((round(begin, 3), round(begin + length, 3), bytes(packet)[2:].decode()))
    assert found == ONE_BY_ONE


@pytest.mark.parametrize(
    ("captions", "count"),
    [([Caption(number / 100, 100.0, "x" * 180) for number in range(2000)], 9),
     ([Caption(float(at), 5.0, "世" * 12_000) for at in (0, 1)], 2)],
)  # fmt: skip
def test_more_than_a_track_can_join_is_told_before_anything_is_written(
    tmp_path: Path, captions: list[Caption], count: int
) -> None:
    with pytest.raises(MediaError, match=f"f.mp4: {count} captions are shown together at .* up to 8, with 65535 bytes"):
        VideoWriter(tmp_path / "f.mp4", (32, 32), Fraction(10), captions=captions)
    VideoWriter(tmp_path / "f.mkv", (32, 32), Fraction(10), captions=captions)  # its captions stay apart
    one_after_the_other = [Caption(float(at), at + 8.0, "x" * 2000) for at in range(2000)]
    VideoWriter(tmp_path / "f.mp4", (32, 32), Fraction(10), captions=one_after_the_other)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    captions = [Caption(0.0, 0.5, "a\nb"), Caption(0.25, 3661.25, "世界")]
    write_captions(tmp_path / "a.srt", captions)
    assert read_captions(tmp_path / "a.srt") == captions
