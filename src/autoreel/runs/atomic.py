"""Files that appear whole or not at all.

  write .3f9c.part.mp4  ->  fsync it  ->  rename to film.mp4  ->  fsync the folder

Until the rename the final name holds what it held before; after the last fsync a power cut cannot undo it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoreel.errors import OutputError, translate_os_error


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
    part = final.parent / f".{secrets.token_hex(6)}.part{final.suffix}"
    try:
        _check_writable(final, part, folder)
        yield part
        sync(part)
        os.replace(part, final)
        _sync_one(final.parent)
    except OSError as error:
        remove(part)
        if _concerns(error, part, final):
            raise translate_os_error(error, final) from error
        raise
    except BaseException:
        remove(part)
        raise


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


def sync(path: Path) -> None:
    """Put a file, or a folder and everything in it, on the disk: the files first, then the folders that name them."""
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            sync(entry)
    _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_writable(final: Path, part: Path, folder: bool) -> None:
    """Find out before hours of work what would only fail at the end of them."""
    if folder:
        if final.is_dir() and any(final.iterdir()):
            raise OutputError(f"cannot write {final}: there is a folder of that name with files in it; choose another")
        part.mkdir()
        return
    if final.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(final))
    part.touch(exist_ok=False)
    part.unlink()


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
