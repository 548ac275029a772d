"""Every error a person can meet, as one small tree.

    AutoreelError                    exit code 1
    ├── UsageError (ValueError)      2   a command line or an argument that cannot be meant
    ├── ConfigError (ValueError)     2   a config or storyboard; all its problems together
    ├── FootageError (ValueError)    3   no such folder, nothing in it to learn from
    ├── MediaError (ValueError)      4   one file that cannot be opened or decoded
    ├── RunError (ValueError)        5   a run folder that is absent, damaged or of another version
    │   ├── RunLockedError           5   another process writes to it
    │   └── UnreadableError          5   a file of it that cannot be read now, and may be sound
    ├── OutputError (OSError)        6   disk full, no permission, cannot be written
    ├── DivergedError (ArithmeticError)  7   training left the finite numbers and could not be brought back
    ├── JailError (RuntimeError)     8   this machine offers no way to open untrusted files safely
    └── StoppedError                 130 stopped by the person; everything done so far is saved

Each message is one line: what was given, what is allowed, what to do.
"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path


class AutoreelError(Exception):
    """The root; the command line prints its message on one line and ends with `exit_code`."""

    exit_code = 1


class UsageError(AutoreelError, ValueError):
    """A command line or an argument that cannot be meant."""

    exit_code = 2


class ConfigError(AutoreelError, ValueError):
    """A config or storyboard with problems.

    Args:
        problems: one line each; all that were found.
        where: the file or table they stand in.
    """

    exit_code = 2

    def __init__(self, problems: Sequence[str], where: str = "") -> None:
        self.problems = tuple(problems)
        self.where = where
        head = f"{where}: " if where else ""
        super().__init__(head + "; ".join(self.problems))


class FootageError(AutoreelError, ValueError):
    """No such folder, or nothing in it to learn from."""

    exit_code = 3


class MediaError(AutoreelError, ValueError):
    """One media file that cannot be opened, decoded or understood."""

    exit_code = 4


class RunError(AutoreelError, ValueError):
    """A run folder that is absent, damaged or of another format version."""

    exit_code = 5


class RunLockedError(RunError):
    """A run folder that another process is writing to."""


class UnreadableError(RunError):
    """A file of a run that the system could not read; nothing says that it is damaged, so nothing is done to it."""


class OutputError(AutoreelError, OSError):
    """Something that could not be written; nothing stands under its final name."""

    exit_code = 6


class DivergedError(AutoreelError, ArithmeticError):
    """Training left the finite numbers, and going back with a lower rate did not help."""

    exit_code = 7


class JailError(AutoreelError, RuntimeError):
    """This machine offers no way to open untrusted files safely."""

    exit_code = 8


class StoppedError(AutoreelError):
    """Stopped by the person; everything done so far is saved."""

    exit_code = 130


def translate_os_error(error: OSError, path: str | os.PathLike[str]) -> OutputError:
    """Say in one clear line why `path` could not be written.

    Args:
        error: what the operating system answered.
        path: the file or folder that was to be written.

    Returns:
        An OutputError to raise `from` the original.
    """
    name = str(Path(path))
    if isinstance(error, OutputError):
        return error
    reasons = {
        errno.ENOSPC: "the disk is full; free some space and run the same command again",
        errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
        errno.EACCES: "no permission to write there; choose another place",
        errno.EPERM: "no permission to write there; choose another place",
        errno.EROFS: "the file system is read-only; choose another place",
        errno.EISDIR: "it is a folder; give a file name",
        errno.ENOTDIR: "a part of the path is a file, not a folder; choose another place",
        errno.ENOENT: "its folder does not exist; make it first or choose another place",
        errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
        errno.EFBIG: "the file grew larger than is allowed here; choose another place or a shorter film",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    return OutputError(f"cannot write {name}: {reason}")


_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)  # it will not be another time either


def translate_read_error(error: OSError, path: str | os.PathLike[str]) -> RunError:
    """Say in one clear line why a file of a run could not be read.

    Args:
        error: what the operating system answered.
        path: the file.

    Returns:
        An error to raise `from` the original; an UnreadableError unless there is no such file.
    """
    said = f"{Path(path)} cannot be read: {error.strerror or error}"
    if error.errno in _NOT_THERE:
        return RunError(said)
    return UnreadableError(f"{said}; nothing was changed, the same command goes on once it can be read")
