"""Storyboards in files: `film.toml`, which a person edits, and `film.json`, which tells how a film was made."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from autoreel.bounded import MAX_DEPTH, is_deep, read_bounded
from autoreel.config import MAX_CONFIG_BYTES, read_toml
from autoreel.errors import ConfigError, OutputError
from autoreel.film.checks import parse
from autoreel.film.storyboard import Storyboard, absolute, plain_values, with_paths
from autoreel.runs import atomic_write_text

_MARK = "\n# While this line fits the rest, autoreel may replace the file: "
_WISHES = "\n# What it was written for: "
_HEAD = """\
# The storyboard of a film by autoreel. Edit it and render it again:  autoreel film {name}
# Lengths are seconds (or beats of the music). Every field: docs/storyboard.md
"""


def load_storyboard(path: Path) -> Storyboard:
    """Read a storyboard.

    Args:
        path: a `.toml` file, or the `.json` file beside a finished film.

    Returns:
        The storyboard, its paths absolute.

    Raises:
        ConfigError: absent, not readable, or with problems; all of them together.
    """
    values = _read_json(path) if path.suffix.lower() == ".json" else read_toml(path)
    folder = path.absolute().parent
    return parse(with_paths(values, lambda text: absolute(text, folder)), str(path))


def _read_json(path: Path) -> Mapping[str, Any]:
    storyboard: Mapping[str, Any] = read_record(path)["storyboard"]
    return storyboard


def read_record(path: Path) -> Mapping[str, Any]:
    """The record of a film, with a storyboard in it that may be wrong.

    Raises:
        ConfigError: absent, not readable, or not such a record.
    """
    try:
        record = json.loads(read_bounded(path, 16 * MAX_CONFIG_BYTES))
    except FileNotFoundError:
        raise ConfigError(["no such file"], str(path)) from None
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror}"], str(path)) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"not valid JSON: {error}"], str(path)) from None
    if is_deep(record):
        raise ConfigError([f"tables inside each other more than {MAX_DEPTH} times; nothing here needs that"], str(path))
    if not isinstance(record, dict) or not isinstance(record.get("storyboard"), dict):
        raise ConfigError(["has no storyboard in it; give the film.json or film.toml beside a film"], str(path))
    return record


def beside(out: Path, suffix: str) -> Path:
    """The file of the same name beside a film: `film.json`; for single pictures `film/%05d.png` beside their folder."""
    if out.suffix.lower() == ".png":
        out = out.parent
    return out.with_name(f".{out.stem}{suffix}") if suffix == ".shots" else out.with_suffix(suffix)


def film_of(path: Path, endings: Sequence[str]) -> Path:
    """The film that a storyboard is rendered to when nobody says where.

    Args:
        path: `film.json`, whose film is named in it; or `film.toml`, whose film is the one of that name beside it.
        endings: of films.

    Returns:
        Beside the storyboard; `film.mp4` when nothing speaks for another ending.
    """
    if path.suffix.lower() == ".json":
        try:
            named = Path(str(read_record(path).get("film", ""))).name
        except ConfigError:  # told when the storyboard in it is read
            named = ""
        return path.with_name(named) if Path(named).suffix.lower() in endings else path.with_suffix(".mp4")
    there = [film for ending in endings if os.path.isfile(film := path.with_suffix(ending))]
    return there[0] if len(there) == 1 else path.with_suffix(".mp4")


def is_record(path: Path, film: str | None = None) -> bool:
    """Whether a file is the record of a film: of any, or of the one of that name."""
    try:
        record = read_record(path)
        return "record" in record and film in (None, record.get("film"))
    except ConfigError:
        return False


def is_edited(path: Path) -> bool:
    """Whether a storyboard stands there that somebody wrote or edited, be it without mistakes or not."""
    if not path.is_file() or _is_as_written(path):
        return False
    try:
        text = read_bounded(path, 16 * MAX_CONFIG_BYTES)
    except (OSError, ValueError):
        return False  # something else, which has that name
    return _MARK.strip() in text or re.search(r"^\s*\[\[\s*shots\s*\]\]", text, re.MULTILINE) is not None


def storyboard_text(storyboard: Storyboard, path: Path) -> str:
    """The storyboard as TOML for a file at `path`; reading that file gives an equal storyboard."""
    values = plain_values(storyboard, path.absolute().parent)
    lines = [_HEAD.format(name=path.name)]
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lists = {key: values[key] for key in ("voices", "titles", "shots") if values.get(key)}
    lines += [f"{key} = {_inline(value)}\n" for key, value in values.items() if key not in tables and key not in lists
              and value != []]
    lines += [f"\n[{key}]\n{_fields(table)}" for key, table in tables.items()]
    lines += [f"\n[[voices]]\n{_fields(voice)}" for voice in lists.get("voices", [])]
    lines += [f"\n[[titles]]\n{_fields(title)}" for title in lists.get("titles", [])]
    start: Fraction | None = Fraction(0)
    for number, shot in enumerate(lists["shots"], start=1):
        place = f" at {_clock(start)}" if start is not None else ""
        lines.append(f"\n[[shots]]  # {number}{place}\n{_fields(shot)}")
        start = start + Fraction(str(shot["length_s"])) if start is not None and "length_s" in shot else None
    return "".join(lines)


def save_storyboard(
    storyboard: Storyboard, path: Path, *, replace: bool = False, wishes: str | None = None
) -> Path:  # fmt: skip
    """Write a storyboard; one that somebody edited is never lost.

    Args:
        storyboard: what to write.
        path: where, ending in `.toml`.
        replace: overwrite whatever stands there.
        wishes: a digest of what it was written for, which `written_for` gives back.

    Returns:
        The file written: `path`, or `name-2.toml` (-3, ...) when `path` holds one that somebody wrote or edited.

    Raises:
        OutputError: it cannot be written.
    """
    for number in range(1, 1000):
        free = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        if replace or not free.exists() or _is_as_written(free):
            text = storyboard_text(storyboard, free) + (f"{_WISHES}{wishes}\n" if wishes is not None else "")
            atomic_write_text(free, f"{text}{_MARK}{_digest(text)}\n")
            return free
    raise OutputError(f"cannot write {path}: 999 storyboards of that name stand there; remove some")


def written_for(path: Path) -> str | None:
    """The digest of the wishes that a storyboard was written for; None where somebody edited it, or none is known."""
    if not _is_as_written(path):
        return None
    found = re.search(f"^{_WISHES.strip()} (\\w+)$", read_bounded(path, 16 * MAX_CONFIG_BYTES), re.MULTILINE)
    return found[1] if found is not None else None


def _is_as_written(path: Path) -> bool:
    """Whether nobody edited the storyboard since `save_storyboard` wrote it: its last line holds for the others."""
    try:
        text, mark, digest = read_bounded(path, 16 * MAX_CONFIG_BYTES).rpartition(_MARK)
    except (OSError, ValueError):
        return False
    return bool(mark) and digest.strip() == _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fields(table: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_inline(value)}\n" for key, value in table.items() if value != [])


def _inline(value: Any) -> str:
    import tomli_w

    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_inline(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(inner) for inner in value) + "]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")


def _clock(at_s: Fraction) -> str:
    minutes, seconds = divmod(float(at_s), 60)
    return f"{int(minutes)}:{seconds:05.2f}"
