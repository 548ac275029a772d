"""Files that appear whole or not at all.

  write .film.mp4.part.mp4  ->  fsync it  ->  rename to film.mp4  ->  fsync the folder

Until the rename the final name holds what it held before; after the last fsync a power cut cannot undo it. The writer
holds a lock on the temporary file, which ends with the process: what a killed one left is taken over by the next writer
of the same name, and two writers at once do not meet.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoreel.errors import OutputError, translate_os_error

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
MAX_NAME_BYTES = 100  # of a file's name that is repeated in that of its temporary file


@contextmanager
def atomic_path(final: Path, *, folder: bool = False) -> Iterator[Path]:
    """A temporary path beside `final` that takes its name when the block ends well, and is removed when it does not.

    Args:
        final: the name under which the result appears; replaced when it is a file.
        folder: the result is a folder of files; it is made here, and `final` must be absent or empty.

    Yields:
        A path with the suffix of `final`, in the same folder.

    Raises:
        OutputError: it cannot be written; permission and a missing folder are found before the block runs.
    """
    final = Path(final)
    name = final.name if len(os.fsencode(final.name)) <= MAX_NAME_BYTES else _digest(final.name)
    part, lock = final.parent / f".{name}.part{final.suffix}", None
    is_ours = False  # until then it may be somebody else's
    try:
        _check_place(final, folder)
        lock = _claim(part, folder)
        if lock is None:  # somebody writes the same file just now, or there are no locks on this disk
            part = final.parent / f".{secrets.token_hex(6)}.part{final.suffix}"
            _make(part, folder)
        is_ours = True
        yield part
        sync(part)
        os.replace(part, final)
        try:
            _sync_names(final.parent)
        except OSError:
            if folder:  # what stands there keeps the same command from going on; a file would be replaced by it
                with contextlib.suppress(OSError):
                    os.replace(final, part)
            raise
    except OSError as error:
        if is_ours:
            remove(part)
        if _concerns(error, part, final):
            raise translate_os_error(error, final) from error
        raise
    except BaseException:
        if is_ours:
            remove(part)
        raise
    finally:
        if lock is not None:
            os.close(lock)


@contextmanager
def scratch_path(final: Path) -> Iterator[Path]:
    """A temporary file beside `final` that is gone when the block ends, well or not; locked as that of `atomic_path`.

    Args:
        final: the file that is made with its help.

    Yields:
        A path with the suffix of `final`, in the same folder.

    Raises:
        OutputError: it cannot be written.
    """
    final = Path(final)
    name = final.name if len(os.fsencode(final.name)) <= MAX_NAME_BYTES else _digest(final.name)
    part, lock = final.parent / f".{name}.raw{final.suffix}", None
    is_ours = False
    try:
        lock = _claim(part, False)
        if lock is None:
            part = final.parent / f".{secrets.token_hex(6)}.raw{final.suffix}"
            _make(part, False)
        is_ours = True
        yield part
    except OSError as error:
        if _concerns(error, part, final):
            raise translate_os_error(error, final) from error
        raise
    finally:
        if is_ours:
            remove(part)
        if lock is not None:
            os.close(lock)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, or nothing.

    Raises:
        OutputError: it cannot be written; what stood there before still does.
    """
    with atomic_path(path) as part:
        part.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file, or nothing.

    Raises:
        OutputError: it cannot be written; what stood there before still does.
    """
    atomic_write_bytes(path, text.encode("utf-8"))


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing; a power cut cannot take back any that was made.

    Raises:
        OSError: it cannot be made, or something else has its name.
    """
    path = Path(path)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    except FileNotFoundError:
        if path.parent == path:
            raise
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
    _sync_names(path.parent)


def sync(path: Path) -> None:
    """Put a file, or a folder and everything in it, on the disk: the files first, then the folders that name them."""
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            sync(entry)
    sync_one(path)


def sync_one(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_names(folder: Path) -> None:
    """Put the names in a folder on the disk; where one may write and not read, that is left to the system."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_place(final: Path, folder: bool) -> None:
    """Find out before hours of work what would only fail at the end of them."""
    with contextlib.suppress(FileNotFoundError):
        os.lstat(final)
    if folder and final.is_dir() and any(final.iterdir()):
        raise OutputError(f"cannot write {final}: there is a folder of that name with files in it; choose another")
    if not folder and final.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(final))


def _claim(part: Path, folder: bool) -> int | None:
    """Make a temporary file or folder, or take over what a dead writer left of it.

    Returns:
        A descriptor that holds the lock, or None where it cannot be had.
    """
    descriptor = None
    try:
        if folder:
            part.mkdir(exist_ok=True)
        kind = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR | os.O_CREAT
        descriptor = os.open(part, kind | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking its writer may have ended: then this is the finished file by now.
        if os.path.samestat(os.stat(part, follow_symlinks=False), os.fstat(descriptor)):
            if folder:
                for left in part.iterdir():
                    remove(left)
            else:
                os.truncate(descriptor, 0)
            return descriptor
    except OSError as error:  # whatever it is, it is said when the other name cannot be made either
        if descriptor is not None and error.errno in _NO_LOCKS:
            remove(part)  # then nobody ever writes into a file of this name
    if descriptor is not None:
        os.close(descriptor)
    return None


def _make(part: Path, folder: bool) -> None:
    if folder:
        part.mkdir()
    else:
        part.touch(exist_ok=False)


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _concerns(error: OSError, part: Path, final: Path) -> bool:
    """Whether the error is about writing here, and not about some other file that the block was reading."""
    if isinstance(error, OutputError):
        return False
    if error.filename is None:
        return True
    try:
        named = Path(os.fsdecode(error.filename))
    except TypeError:
        return True  # a file descriptor
    return named in (final, final.parent) or named == part or part in named.parents


def remove(path: Path) -> None:
    """Clear away what was not finished; the error that is on its way says more than a failure to do so would."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
