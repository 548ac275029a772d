"""The tree of errors: exit codes, builtins, and one line each."""

import errno
import os
from pathlib import Path

import pytest

from autoreel import errors
from autoreel.errors import AutoreelError, ConfigError, OutputError, translate_os_error

TREE: dict[str, tuple[int, type[BaseException]]] = {
    "UsageError": (2, ValueError),
    "ConfigError": (2, ValueError),
    "FootageError": (3, ValueError),
    "MediaError": (4, ValueError),
    "RunError": (5, ValueError),
    "RunLockedError": (5, errors.RunError),
    "UnreadableError": (5, errors.RunError),
    "OutputError": (6, OSError),
    "DivergedError": (7, ArithmeticError),
    "JailError": (8, RuntimeError),
    "StoppedError": (130, Exception),
}


def every_error() -> list[type[AutoreelError]]:
    found = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, AutoreelError)]
    return [error for error in found if error is not AutoreelError]


def test_the_docstring_draws_the_whole_tree() -> None:
    assert {error.__name__ for error in every_error()} == set(TREE)
    for name, (code, _) in TREE.items():
        (line,) = [line for line in str(errors.__doc__).splitlines() if f"── {name} " in line]
        assert f" {code} " in line


@pytest.mark.parametrize("name", TREE)
def test_each_has_its_exit_code_and_is_a_fitting_builtin(name: str) -> None:
    code, builtin = TREE[name]
    error = getattr(errors, name)
    assert error.exit_code == code
    assert issubclass(error, AutoreelError) and issubclass(error, builtin)


def test_a_config_error_tells_all_problems_and_where() -> None:
    error = ConfigError(["'a' is 1", "'b' is missing"], "film.toml")
    assert str(error) == "film.toml: 'a' is 1; 'b' is missing"
    assert (error.problems, error.where) == (("'a' is 1", "'b' is missing"), "film.toml")
    assert str(ConfigError(["one"])) == "one"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run the same command again"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EACCES, "no permission to write there; choose another place"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EISDIR, "it is a folder; give a file name"),
        (errno.ENOTDIR, "a part of the path is a file"),
        (errno.ENOENT, "its folder does not exist"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.EFBIG, "the file grew larger than is allowed here"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_the_reason_is_said_in_one_line(number: int, said: str) -> None:
    error = translate_os_error(OSError(number, os.strerror(number)), Path("out") / "film.mp4")
    assert isinstance(error, OutputError)
    assert str(error).startswith("cannot write out/film.mp4: ") and said in str(error)
    assert "\n" not in str(error)


def test_what_is_translated_already_stays() -> None:
    error = OutputError("cannot write x: the disk is full")
    assert translate_os_error(error, "y") is error
    assert str(translate_os_error(OSError("odd"), "y")) == "cannot write y: odd"
