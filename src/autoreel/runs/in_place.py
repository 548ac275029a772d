"""The two files of a run that its writer changes in place: .lock and metrics.jsonl.

What is changed in place is never reached through a link: a run folder may be somebody else's, and its links lead where
that person likes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from autoreel.errors import RunError, RunLockedError, translate_os_error, translate_read_error
from autoreel.runs.atomic import sync_one

MAX_LINE_BYTES = 1 << 20  # of metrics.jsonl
MAX_STEP = 1 << 53
WORDS = ("stage", "skipped")  # what else stands in a line of metrics is a number


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Be the only writer of a folder, until the block ends or the process dies.

    Raises:
        RunLockedError: another process is.
        RunError: its .lock is no plain file.
        OutputError: it cannot be written.
    """
    descriptor = open_own(root / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        _take_lock(root, descriptor)
        yield
    finally:
        os.close(descriptor)


def _take_lock(root: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        raise RunLockedError(
            f"{root} is being written by another process (number {owner}); wait for it, or stop it"
        ) from None
    except OSError as error:
        raise translate_os_error(error, root / ".lock") from error
    for folder in (root, root.parent):  # one that was killed may have made folders in them and come no further
        with contextlib.suppress(OSError):  # that above may not be ours to open
            sync_one(folder)


def open_own(path: Path, flags: int) -> int:
    """Open a file that only the run's writer makes, and nothing that a link or a pipe of its name leads to.

    Raises:
        RunError: it is no plain file.
        OutputError: it cannot be opened for writing.
        UnreadableError: it cannot be opened for reading.
        FileNotFoundError: it is not there.
    """
    problem = RunError(f"{path} has to be a plain file, not a link, a pipe or a device; remove it and try again")
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise problem from error
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise translate_os_error(error, path) from error
        if isinstance(error, FileNotFoundError):
            raise
        raise translate_read_error(error, path) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise problem
    return descriptor


def append_row(path: Path, values: Mapping[str, object]) -> None:
    """See `RunFolder.append_metrics`."""
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()
    }
    try:
        with open(open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell() and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                file.write(b"\n")  # the line before was cut by a crash
            file.write(json.dumps(plain, allow_nan=False).encode() + b"\n")
    except OSError as error:
        raise translate_os_error(error, path) from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """See `RunFolder.metrics`."""
    try:
        with open(open_own(path, os.O_RDONLY), "rb") as file:
            yield from filter(None, map(_row, _short_lines(file)))
    except FileNotFoundError:
        return
    except OSError as error:
        raise translate_read_error(error, path) from error


def _short_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, less those that are longer than MAX_LINE_BYTES."""
    is_rest = False
    while line := file.readline(MAX_LINE_BYTES):
        is_whole = line.endswith(b"\n")
        if not is_rest and (is_whole or len(line) < MAX_LINE_BYTES):
            yield line
        is_rest = not is_whole


def _row(line: bytes) -> dict[str, Any] | None:
    """A line of metrics: a stage, a step and finite numbers; None for anything else."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not {"stage", "step"} <= row.keys():
        return None
    if type(row["step"]) is not int or not 0 <= row["step"] <= MAX_STEP:
        return None
    return row if all(_fits(name, value) for name, value in row.items()) else None


def _fits(name: str, value: object) -> bool:
    if name in WORDS:
        return isinstance(value, str)
    return value is None or (isinstance(value, int | float) and abs(value) <= sys.float_info.max)
