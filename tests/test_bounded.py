"""No text file from elsewhere makes the program wait, or take memory without end."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autoreel.bounded import MAX_DEPTH, has_deep_keys, read_bounded, read_bounded_bytes
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


DEEP = "a." * MAX_DEPTH + "a = 1"
BEFORE = [
    "", "[", "# it's\n", '# """\n', "x = 1.5 # '\n", '"b" . \'c\' . ', '"b\\"c".', "x = 'b\\'\n", 'x = "\\""\n',
    'x = """b"""""\n', 'x = {y = """b"""", ', 'x = """b"" \\""""\n', "x = '''b''''\n", "x = {y = '''b''''', ",
]  # fmt: skip
NO_NAMES = [f'x = "{DEEP}"', f"x = '{DEEP}'", f'x = """\n\\"""{DEEP}"""', f"x = '''\n{DEEP}'''", f"# {DEEP}", "a. " * 9]
LONG: dict[str, Callable[[], str]] = {
    "a string": lambda: 'x = "' + '\\"' * 500_000 + '"',
    "open strings": lambda: '"\\a' * 350_000,
    "names that end open": lambda: 'a."b\\' * 200_000,
    "a string of several lines": lambda: '"""\\' * 250_000,
    "almost deep": lambda: ("a." * 31 + '"\\"\n') * 15_000,
}


@pytest.mark.parametrize("before", BEFORE)
def test_names_of_many_steps_are_found_behind_anything(before: str) -> None:
    assert has_deep_keys(before + DEEP)
    assert not has_deep_keys(before + DEEP.removeprefix("a.a.a."))


@pytest.mark.parametrize("text", NO_NAMES)
def test_steps_in_what_is_no_name_do_not_count(text: str) -> None:
    assert not has_deep_keys(text)


@pytest.mark.parametrize("text", LONG)
def test_a_long_text_is_gone_through_once(text: str) -> None:
    """A search from every place in a string takes an hour for a megabyte: this test has failed when it does not end."""
    assert not has_deep_keys(LONG[text]())


def test_what_may_be_written_over_is_looked_at_with_bounds(tmp_path: Path) -> None:
    (tmp_path / "film.toml").write_bytes(b"a" * (17 << 20))
    assert not is_edited(tmp_path / "film.toml")
    assert written_for(tmp_path / "film.toml") is None


def test_sizes_are_counted_and_not_believed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("12345678")
    assert read_bounded(tmp_path / "a", 8) == "12345678"
    with pytest.raises(ValueError, match="larger than 0 MiB"):
        read_bounded_bytes(tmp_path / "a", 7)
