"""Storyboards in files: `film.toml`, which a person edits, and `film.json`, which tells how a film was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from autoreel.config import MAX_CONFIG_BYTES, read_toml
from autoreel.errors import ConfigError, OutputError
from autoreel.film.checks import parse
from autoreel.film.storyboard import Storyboard, absolute, plain_values, with_paths
from autoreel.runs import atomic_write_text

_MARK = "\n# While this line fits the rest, autoreel may replace the file: "
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
    try:
        if path.stat().st_size > 16 * MAX_CONFIG_BYTES:
            raise ConfigError(["too large for the record of a film"], str(path))
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(["no such file"], str(path)) from None
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror}"], str(path)) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"not valid JSON: {error}"], str(path)) from None
    storyboard = record.get("storyboard") if isinstance(record, dict) else None
    if not isinstance(storyboard, dict):
        raise ConfigError(["has no storyboard in it; give the film.json or film.toml beside a film"], str(path))
    return storyboard


def storyboard_text(storyboard: Storyboard, path: Path) -> str:
    """The storyboard as TOML for a file at `path`; reading that file gives an equal storyboard."""
    values = plain_values(storyboard, path.absolute().parent)
    lines = [_HEAD.format(name=path.name)]
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lists = {key: values[key] for key in ("titles", "shots") if values.get(key)}
    lines += [f"{key} = {_inline(value)}\n" for key, value in values.items() if key not in tables and key not in lists
              and value != []]
    lines += [f"\n[{key}]\n{_fields(table)}" for key, table in tables.items()]
    lines += [f"\n[[titles]]\n{_fields(title)}" for title in lists.get("titles", [])]
    start: Fraction | None = Fraction(0)
    for number, shot in enumerate(lists["shots"], start=1):
        place = f" at {_clock(start)}" if start is not None else ""
        lines.append(f"\n[[shots]]  # {number}{place}\n{_fields(shot)}")
        start = start + Fraction(str(shot["length_s"])) if start is not None and "length_s" in shot else None
    return "".join(lines)


def save_storyboard(storyboard: Storyboard, path: Path, *, replace: bool = False) -> Path:
    """Write a storyboard; one that somebody edited is never lost.

    Args:
        storyboard: what to write.
        path: where, ending in `.toml`.
        replace: overwrite whatever stands there.

    Returns:
        The file written: `path`, or `name-2.toml` (-3, ...) when `path` holds one that somebody wrote or edited.

    Raises:
        OutputError: it cannot be written.
    """
    for number in range(1, 1000):
        free = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        if replace or not free.exists() or _is_as_written(free):
            text = storyboard_text(storyboard, free)
            atomic_write_text(free, f"{text}{_MARK}{_digest(text)}\n")
            return free
    raise OutputError(f"cannot write {path}: 999 storyboards of that name stand there; remove some")


def _is_as_written(path: Path) -> bool:
    """Whether nobody edited the storyboard since `save_storyboard` wrote it: its last line holds for the others."""
    try:
        text, mark, digest = path.read_text(encoding="utf-8").rpartition(_MARK)
    except (OSError, UnicodeDecodeError):
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
