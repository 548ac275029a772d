"""What can be known to be wrong before any work is done, all of it at once.

A check answers with the errors it finds instead of raising the first. Nothing here decodes pictures or imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from autoreel.errors import AutoreelError, ConfigError, FootageError, MediaError, OutputError, UsageError

FILM_ENDINGS = (".mp4", ".mov", ".mkv", ".webm")
CLIP_ENDINGS = (*FILM_ENDINGS, ".gif", ".png")
MAX_LOOKED_AT = 100_000  # files; a folder with more has surely been meant


class PreflightError(AutoreelError):
    """Several problems; the exit code is that of the first.

    Args:
        problems: at least one.
    """

    def __init__(self, problems: Sequence[AutoreelError]) -> None:
        self.problems = tuple(problems)
        self.exit_code = problems[0].exit_code
        super().__init__("; ".join(str(problem) for problem in problems))


def insist(problems: Iterable[AutoreelError]) -> None:
    """Raise what was found: the one error, or a PreflightError with all."""
    found = list(problems)
    if len(found) == 1:
        raise found[0]
    if found:
        raise PreflightError(found)


def check_footage(sources: Sequence[Path]) -> list[AutoreelError]:
    """Every source is there, and each folder holds something that looks like video or pictures."""
    from autoreel.media.decode import IMAGE_SUFFIXES, MEDIA_SUFFIXES

    problems: list[AutoreelError] = []
    suffixes = MEDIA_SUFFIXES | IMAGE_SUFFIXES
    for source in sources:
        if not source.exists():
            problems.append(FootageError(f"{source}: no such file or folder"))
        elif not os.access(source, os.R_OK):
            problems.append(FootageError(f"{source}: no permission to read it"))
        elif source.is_dir() and not _holds_any(source, suffixes):
            problems.append(
                FootageError(f"{source}: no video in it; it can hold mp4, mov, mkv, webm, avi, mpg, gif, or pictures")
            )
    return problems


def check_input(path: Path, what: str) -> list[AutoreelError]:
    """A file to read is there."""
    if path.is_dir():
        return [MediaError(f"{path}: {what} must be a file, this is a folder")]
    if not path.exists():
        return [MediaError(f"{path}: no such file ({what})")]
    return [] if os.access(path, os.R_OK) else [MediaError(f"{path}: no permission to read it ({what})")]


def check_music(path: Path) -> list[AutoreelError]:
    """The file is there and has sound; it is opened in the jail."""
    problems = check_input(path, "music")
    if problems:
        return problems
    from autoreel.media.probe import probe

    try:
        info = probe(path)
    except AutoreelError as error:
        return [error]
    return [] if info.has_sound else [MediaError(f"{path}: no sound in it; give a file with music, such as song.mp3")]


def check_storyboard(path: Path) -> list[AutoreelError]:
    """A storyboard can be read and has no problems of its own."""
    from autoreel.film.document import load_storyboard

    try:
        load_storyboard(path)
    except ConfigError as error:
        return [error]
    return []


def check_kind(name: str) -> list[AutoreelError]:
    """There is such a kind of film, and its file has no problems."""
    from autoreel.film.kinds import load_kind

    try:
        load_kind(name)
    except (UsageError, ConfigError) as error:
        return [error]
    return []


def check_output(path: Path, endings: Sequence[str]) -> list[AutoreelError]:
    """The name's ending is one that can be written, and the folder takes files."""
    problems: list[AutoreelError] = []
    # The text decides: a name that ends with a slash, or has a number in it, stands for a folder of pictures.
    if path.suffix.lower() not in endings:
        problems.append(UsageError(f"{path}: the name's ending chooses the format; use {', '.join(endings)}"))
    if path.is_dir():
        problems.append(OutputError(f"cannot write {path}: it is a folder; give a file name"))
    return problems + check_folder(path.absolute().parent)


def check_folder(folder: Path) -> list[AutoreelError]:
    """A folder can be written to, or made."""
    there = folder.absolute()
    while not there.exists() and there.parent != there:
        there = there.parent
    if not there.is_dir():
        return [OutputError(f"cannot write {folder}: {there} is a file, not a folder; choose another place")]
    if not os.access(there, os.W_OK | os.X_OK):
        return [OutputError(f"cannot write {folder}: no permission to write there; choose another place")]
    return []


def check_wishes(preset: str, config: Path | None) -> list[AutoreelError]:
    """The preset exists, and a config file has no problems."""
    from autoreel.config import PRESETS, load_config, nearest

    problems: list[AutoreelError] = []
    if preset not in (*PRESETS, "auto"):
        problems.append(UsageError(f"unknown preset {preset!r}{nearest(preset, [*PRESETS, 'auto'])}"))
    if config is not None:
        try:
            load_config(config)
        except ConfigError as error:
            problems.append(error)
    return problems


def _holds_any(folder: Path, suffixes: frozenset[str]) -> bool:
    looked_at = 0
    for _, _, names in os.walk(folder):
        for name in names:
            looked_at += 1
            if os.path.splitext(name)[1].lower() in suffixes or looked_at > MAX_LOOKED_AT:
                return True
    return False
