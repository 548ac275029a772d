"""Find the footage: what is there, what it is called, which clips belong together, and what stands there twice."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice, pairwise
from pathlib import Path

from autoreel.bounded import read_bounded
from autoreel.errors import FootageError
from autoreel.media.decode import IMAGE_SUFFIXES, MEDIA_SUFFIXES, SOUND_SUFFIXES

GROUPS_NAME = "groups.csv"
MAX_GROUPS_BYTES = 16 << 20
MAX_PROBLEMS, MAX_PROBLEM = 50, 300  # that are told of one table, and letters of each: a table may be all problems
# Named like footage, and not read: what is left out is said. Playlists and scripts open other files and addresses.
UNREAD_SUFFIXES = frozenset(
    [
        *(".m3u8", ".m3u", ".mpd", ".ffconcat", ".sdp", ".swf", ".rm", ".rmvb", ".bik", ".nut", ".braw", ".r3d"),
        *(".avif", ".avifs", ".heic", ".heif", ".svg", ".cr2", ".dng", ".nef"),
    ]
)
# What every file that autoreel generates says of itself, in its metadata: near the start or the end of the file.
_OWN_MARK = re.compile(rb"AI-generated[ -~]{0,80}autoreel|Repainted with autoreel")
_OWN_MARK_BYTES = 4 << 20
_MAX_RECORD_BYTES = 4 << 20
_NUMBER = re.compile(r"(\d+)(?=\D*$)")  # the last run of digits of a name


@dataclass(frozen=True)
class Source:
    """One clip to be: a video file, pictures in order, or one still.

    Args:
        name: the path below the given folder, with that folder's name before it when several are given; as `shown`.
        paths: one video file, or the pictures in their order.
        sha256: of the content, in hexadecimal; the clip's identity.
        label: the folder's name that stands for what is to be seen, or None.
        group: the person or scene that a groups.csv names, or None.
    """

    name: str
    paths: tuple[Path, ...]
    sha256: str
    label: str | None
    group: str | None

    @property
    def is_pictures(self) -> bool:
        """Whether it is made of pictures rather than one video file."""
        return self.paths[0].suffix.lower() in IMAGE_SUFFIXES


@dataclass(frozen=True)
class Reject:
    """Something that is not learned from.

    Args:
        file: the name as in `Source.name`.
        reason: why, in one line.
        start_s: where in the file it begins, in seconds; None for the whole file.
        end_s: where it ends.
    """

    file: str
    reason: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Scan:
    """What a look through the given folders found.

    Args:
        sources: in the order of their names; each content once.
        rejects: what looked like footage and is left out, with the reason.
        has_groups: whether any groups.csv names a group of these sources.
        notes: lines a person should read.
    """

    sources: tuple[Source, ...]
    rejects: tuple[Reject, ...]
    has_groups: bool
    notes: tuple[str, ...]


@dataclass
class _Found:
    """One given file or folder while it is looked through."""

    root: Path  # the folder that names and groups are relative to
    shown: str  # stands before each name; empty for a single given folder
    files: list[Path] = field(default_factory=list)  # below root, in order
    tables: dict[Path, dict[str, str]] = field(default_factory=dict)  # folder of a groups.csv -> file -> group
    rejects: list[Reject] = field(default_factory=list)
    own: list[str] = field(default_factory=list)  # what autoreel made itself

    def name(self, path: Path) -> str:
        below = shown(path.relative_to(self.root).as_posix())
        return f"{self.shown}/{below}" if self.shown else below


def shown(text: str | os.PathLike[str]) -> str:
    """A file's name as text that can be written anywhere; bytes of it that are no UTF-8 stand as \\xff."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def scan(sources: Sequence[Path]) -> Scan:
    """Look through files and folders for footage.

    A file's label is the top folder it stands in below the given folder. A file directly in the given folder has none,
    unless several are given: then it has that folder's name. What autoreel itself made is left out: runs, stores, films
    and generated clips.

    Args:
        sources: files and folders; folders are searched to the bottom, hidden names and links out of them are left out.

    Returns:
        The sources in order, each content once.

    Raises:
        FootageError: one of `sources` is absent or unreadable, or a groups.csv has rows that cannot be meant.
    """
    if not sources:
        raise FootageError("no footage given: name a folder or a video file")
    several = len(sources) > 1
    found = [_look_through(Path(given), several) for given in sources]
    problems = [problem for one in found for problem in _read_tables(one)]
    if problems:
        raise FootageError("; ".join(problems))

    notes = [note for one in found for note in _rows_without_file(one)]
    own = [name for one in found for name in one.own]
    if own:
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        notes.append(f"{own[0]}{more} left out, because autoreel made it")
    rejects = [reject for one in found for reject in one.rejects]
    kept: dict[str, Source] = {}
    for one in found:
        for paths in _clips(one.files):
            name = one.name(paths[0])
            try:
                sha256 = content_hash(paths)
            except OSError as error:
                rejects.append(Reject(name, f"cannot be read: {error.strerror or error}"))
                continue
            if sha256 in kept:
                if kept[sha256].paths != paths:
                    rejects.append(Reject(name, f"has the same content as {kept[sha256].name}, which is used"))
                continue
            kept[sha256] = Source(name, paths, sha256, _label(one, paths[0], several), _group(one, paths[0]))
    return Scan(
        sources=tuple(sorted(kept.values(), key=lambda source: (source.name, source.sha256))),
        rejects=tuple(rejects),
        has_groups=any(source.group is not None for source in kept.values()),
        notes=tuple(notes),
    )


def content_hash(paths: Iterable[Path]) -> str:
    """SHA-256 of one file's content, or of the list of the hashes of several."""
    hashes = []
    for path in paths:
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


# --- files ------------------------------------------------------------------------------------------------------------


def _look_through(given: Path, several: bool) -> _Found:
    try:
        mode = given.stat().st_mode
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file or folder" if missing else f"it cannot be read ({error.strerror})"
        raise FootageError(f"{shown(given)}: {reason}; name a folder with video files in it") from error
    if not stat.S_ISDIR(mode):
        found = _Found(given.parent, shown(given.parent.name) if several else "")
        _sort_out(found, given)
        return found
    # A given folder may itself be a link; below it links are looked at one by one.
    found = _Found(given, shown(given.name or given.resolve().name) if several else "")
    inside = given.resolve()
    for path in _walk(found, given):
        try:
            if path.is_symlink() and not _leads_inside(path, inside):
                if _looks_like_media(path):
                    found.rejects.append(Reject(found.name(path), "is a link that leads out of the given folder"))
                continue
            _sort_out(found, path)
        except OSError as error:  # taken away meanwhile, or in a folder whose files may not be looked at
            if _looks_like_media(path):
                found.rejects.append(Reject(found.name(path), f"cannot be read: {error.strerror or error}"))
    return found


def _walk(found: _Found, folder: Path) -> Iterator[Path]:
    """Every name that is not hidden, in order; folders behind links, and runs and stores of ours, are not entered."""

    def unreadable(error: OSError) -> None:
        path = Path(error.filename)
        if path == folder:
            raise FootageError(f"{shown(folder)}: the folder cannot be read ({error.strerror})") from error
        found.rejects.append(Reject(found.name(path), f"the folder cannot be read: {error.strerror}"))

    for here, folders, files in os.walk(folder, onerror=unreadable):
        is_run = {"run.json", "config.toml"} <= set(files)
        if Path(here) != folder and (is_run or ("index.json" in files and "shards" in folders)):
            found.own.append(found.name(Path(here)))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(here, name)


def _leads_inside(link: Path, inside: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):  # to nowhere, or in a circle
        return False


def _sort_out(found: _Found, path: Path) -> None:
    """Footage, a groups.csv, something like footage that is not read, or nothing to do with it."""
    suffix = path.suffix.lower()
    if path.name == GROUPS_NAME:
        found.tables[path.parent] = {}
    elif suffix in MEDIA_SUFFIXES or suffix in IMAGE_SUFFIXES:
        # A pipe or a device would make reading wait for ever.
        if stat.S_ISREG(path.stat().st_mode):
            if _is_own(path):
                found.own.append(found.name(path))
            else:
                found.files.append(path)
        else:
            found.rejects.append(Reject(found.name(path), "is not an ordinary file"))
    elif _looks_like_media(path):
        sound = suffix in SOUND_SUFFIXES
        reason = "holds sound only" if sound else f"files of the kind {suffix} are not read; convert it to .mp4 or .png"
        found.rejects.append(Reject(found.name(path), reason))


def _is_own(path: Path) -> bool:
    """Whether autoreel made this file: a film with its record beside it, or one whose metadata says it is generated.

    Raises:
        OSError: it cannot be read.
    """
    record = path.with_suffix(".json")
    try:
        if path.suffix.lower() in MEDIA_SUFFIXES:
            content = json.loads(read_bounded(record, _MAX_RECORD_BYTES))
            if isinstance(content, dict) and "record" in content and content.get("film") == path.name:
                return True
    except (OSError, ValueError, RecursionError):
        pass  # there is none, or it is somebody else's
    with path.open("rb") as file:
        start = file.read(_OWN_MARK_BYTES)
        file.seek(max(len(start), os.fstat(file.fileno()).st_size - _OWN_MARK_BYTES))
        return any(_OWN_MARK.search(part) for part in (start, file.read(_OWN_MARK_BYTES)))


def _looks_like_media(path: Path) -> bool:
    return path.suffix.lower() in MEDIA_SUFFIXES | IMAGE_SUFFIXES | SOUND_SUFFIXES | UNREAD_SUFFIXES


# --- pictures in order ------------------------------------------------------------------------------------------------


def _clips(files: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    """Video files one by one; pictures as runs of numbers with one step, the rest as stills.

    shot_0010.png shot_0011.png shot_0012.png   shot_0040.png   title.png
    `---------------- one clip --------------'  `-- a still --' `- a still -'
    """
    pictures: dict[tuple[Path, str, str], list[tuple[int, Path]]] = {}
    for path in files:
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            yield (path,)
            continue
        number = _NUMBER.search(path.stem)
        if number is None:
            yield (path,)
            continue
        around = (path.parent, path.stem[: number.start()] + "#" + path.stem[number.end() :], path.suffix.lower())
        pictures.setdefault(around, []).append((int(number.group()), path))
    for numbered in pictures.values():
        yield from _runs(sorted(numbered))


def _runs(numbered: Sequence[tuple[int, Path]]) -> Iterator[tuple[Path, ...]]:
    # Frames saved every tenth are a clip as well: the step is the smallest that occurs.
    steps = [after[0] - before[0] for before, after in pairwise(numbered)]
    step = min((step for step in steps if step > 0), default=1)
    # Within one run number minus place × step stays the same.
    keyed = enumerate(numbered)
    for _, run in groupby(keyed, key=lambda item: item[1][0] - item[0] * step):
        yield tuple(path for _, (_, path) in run)


# --- labels and groups ------------------------------------------------------------------------------------------------


def _label(found: _Found, path: Path, several: bool) -> str | None:
    parts = path.relative_to(found.root).parts
    if len(parts) > 1:
        return shown(parts[0])
    return found.shown or None if several else None


def _group(found: _Found, path: Path) -> str | None:
    """The group that the nearest groups.csv above the file gives it."""
    for folder in path.parents:
        table = found.tables.get(folder)
        if table is not None and (group := table.get(path.relative_to(folder).as_posix())) is not None:
            return group
        if folder == found.root:
            break
    return None


def _read_tables(found: _Found) -> list[str]:
    """Read every groups.csv; returns the problems, one line each.

    A row that cannot be meant stops the work: reading on could put one person on two sides of the split.
    """
    if os.path.isfile(found.root / GROUPS_NAME):  # unlike Path.is_file it never raises
        found.tables.setdefault(found.root, {})  # a single given file has its table beside it
    problems = []
    for folder, table in found.tables.items():
        path = folder / GROUPS_NAME
        said = shown(path)
        try:
            lines = io.StringIO(read_bounded(path, MAX_GROUPS_BYTES).removeprefix("\ufeff"), newline="")
            rows = islice(_read_rows(csv.reader(lines), table), MAX_PROBLEMS)
            problems += [f"{said}, line {line}: {problem[:MAX_PROBLEM]}" for line, problem in rows]
        except (OSError, ValueError, csv.Error) as error:
            problems.append(f"{said}: cannot be read as a table of file,group ({error})")
    return problems


def _read_rows(rows: Iterable[list[str]], table: dict[str, str]) -> Iterator[tuple[int, str]]:
    for line, cells in enumerate(rows, start=1):
        row = [cell.strip() for cell in cells]
        if line == 1:
            if [cell.lower() for cell in row] != ["file", "group"]:
                yield line, f"must be the header file,group, not {','.join(row)!r}"
                return
        elif not any(row):
            continue
        elif len(row) != 2 or not all(row):
            yield line, f"must be a file and its group, not {','.join(row)!r}"
        elif row[0].startswith("/") or ".." in Path(row[0]).parts:
            yield line, f"{row[0]!r} must be a path below the folder of the table"
        else:
            file = Path(row[0]).as_posix()
            if table.setdefault(file, row[1]) != row[1]:
                yield line, f"{row[0]!r} has two groups, {table[file]!r} and {row[1]!r}"


def _rows_without_file(found: _Found) -> Iterator[str]:
    known = set(found.files)
    for folder, table in found.tables.items():
        missing = [file for file in table if folder / file not in known]
        if missing and len(found.files) > 1:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            yield f"{shown(folder / GROUPS_NAME)} names {missing[0]}{more}, which is no footage found there"
