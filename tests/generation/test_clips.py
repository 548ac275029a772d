"""Clips on their way to files: names, lengths, what they say of themselves, what they must not replace."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from autoreel.errors import OutputError, UsageError
from autoreel.generation.clips import NOTICES, count_frames, numbered, what_would_be_lost, write_clips


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clip.mp4", "clip-3.mp4"),
        ("to/clip.mp4", "to/clip-3.mp4"),
        ("clip/%05d.png", "clip-3/%05d.png"),
        ("%05d.png", "clip-3/%05d.png"),
        ("50%.mp4", "50%-3.mp4"),
        ("100%/clip.gif", "100%/clip-3.gif"),
    ],
)
def test_numbered_names(name: str, expected: str) -> None:
    assert numbered(Path(name), 3) == Path(expected)


@pytest.mark.parametrize("verb", NOTICES)
def test_a_clip_says_how_it_was_made(tmp_path: Path, verb: str) -> None:
    told: list[str] = []
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    meters = write_clips([tmp_path / "clip.mp4", tmp_path / "other.mp4"], [np.stack([frames, frames + 9])], verb=verb,
                         size=(16, 16), rate=Fraction(25), num_frames=3,
                         report=lambda share, words: told.append(words))  # fmt: skip
    assert [meter.seconds()[0, 0] for meter in meters] == pytest.approx([0, 9], abs=1e-3)
    assert (tmp_path / "other.mp4").is_file()
    with av.open(str(tmp_path / "clip.mp4")) as file:
        assert file.metadata["comment"] == NOTICES[verb]
    assert told == ["3 of 3 frames"]


def test_what_is_read_is_not_replaced(tmp_path: Path) -> None:
    clip, folder = tmp_path / "clip.mp4", tmp_path / "footage"
    folder.mkdir()
    (folder / "a.mp4").touch()
    clip.touch()
    (tmp_path / "same.mp4").hardlink_to(clip)
    for path in (clip, tmp_path / "footage" / ".." / "clip.mp4", tmp_path / "same.mp4", folder / "a.mp4"):
        assert len(what_would_be_lost(path, [clip, folder])) == 1, path
    for path in (tmp_path / "other.mp4", folder / "new.mp4"):
        assert not what_would_be_lost(path, [clip, folder, tmp_path / "absent.mp4"])


def test_less_than_a_frame_is_no_clip() -> None:
    assert count_frames(0.5, Fraction(25)) == 12
    with pytest.raises(UsageError, match="shorter than one frame"):
        count_frames(0.001, Fraction(25))


def test_a_take_that_cannot_be_signed_leaves_none(tmp_path: Path) -> None:
    paths = [tmp_path / "clip-0.mp4", tmp_path / "clip-1.mp4"]
    paths[0].write_bytes(b"older")
    sealed: list[Path] = []

    def seal(source: Path, target: Path) -> None:
        sealed.append(target)
        if len(sealed) == 2:
            raise OutputError("signing it failed")
        target.write_bytes(source.read_bytes() + b"signed")

    def write() -> None:
        write_clips(paths, [np.zeros((2, 3, 16, 16, 3), np.uint8)], verb="generate", size=(16, 16), rate=Fraction(25),
                    num_frames=3, report=lambda share, words: None, seals=[seal, seal])  # fmt: skip

    with pytest.raises(OutputError, match="signing it failed"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["clip-0.mp4"] and paths[0].read_bytes() == b"older"
    write()
    assert len(sealed) == 4 and all(path.read_bytes().endswith(b"signed") for path in paths)
    assert sorted(tmp_path.iterdir()) == paths
