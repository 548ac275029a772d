"""No text file from elsewhere makes the program wait, or take memory without end."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autoreel.bounded import read_bounded, read_bounded_bytes
from autoreel.data.store import read_index
from autoreel.errors import AutoreelError
from autoreel.film.document import is_edited, load_storyboard, written_for
from autoreel.film.tones import read_cube
from autoreel.generation.drift import REFERENCE, read_look
from autoreel.media.captions import read_captions
from autoreel.models.stored import CONFIG_FILE, read_config

READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "colors": ("colors.cube", read_cube),
    "captions": ("captions.srt", read_captions),
    "storyboard": ("film.toml", load_storyboard),
    "record": ("film.json", load_storyboard),
    "look": (REFERENCE, lambda path: read_look(path.parent)),
    "index": ("index.json", lambda path: read_index(path.parent)),
    "codec": (CONFIG_FILE, lambda path: read_config(path.parent)),
}


@pytest.mark.parametrize("content", ["pipe", "device", "deep"])
@pytest.mark.parametrize("reader", READERS)
def test_pipes_devices_and_deep_tables_are_refused_in_one_line(tmp_path: Path, reader: str, content: str) -> None:
    name, read = READERS[reader]
    path = tmp_path / name
    if content == "pipe":
        os.mkfifo(path)
    elif content == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("[" * 200_000)
    if reader == "look" and content != "deep":
        assert read(path) is None  # no plain file: as if it were not there
        return
    with pytest.raises(AutoreelError) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_what_may_be_written_over_is_looked_at_with_bounds(tmp_path: Path) -> None:
    (tmp_path / "film.toml").write_bytes(b"a" * (17 << 20))
    assert not is_edited(tmp_path / "film.toml")
    assert written_for(tmp_path / "film.toml") is None


def test_sizes_are_counted_and_not_believed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("12345678")
    assert read_bounded(tmp_path / "a", 8) == "12345678"
    with pytest.raises(ValueError, match="larger than 0 MiB"):
        read_bounded_bytes(tmp_path / "a", 7)
