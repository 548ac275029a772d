"""The command line: a table of command name to function, and what a person is told when something goes wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import cyclopts

from autoreel import __version__
from autoreel.commands import evaluate, export, film, learn, machine, verbs, verify
from autoreel.commands.notes import note
from autoreel.errors import AutoreelError, ConfigError, StoppedError, UsageError, translate_os_error
from autoreel.preflight import PreflightError

GOES_ON = ("film", "train", "prepare", "compare")  # commands that keep what is done when they are stopped
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # in PyTorch's errors, which have no type of their own

COMMANDS: dict[str, Callable[..., int | None]] = {
    "film": film.film,
    "prepare": learn.prepare,
    "train": learn.train,
    "generate": verbs.generate,
    "continue": verbs.continue_,
    "animate": verbs.animate,
    "between": verbs.between,
    "loop": verbs.loop,
    "vary": verbs.vary,
    "morph": verbs.morph,
    "slow": verbs.slow,
    "rebuild": verbs.rebuild,
    "storyboard": film.storyboard,
    "export": export.export,
    "evaluate": evaluate.evaluate,
    "compare": evaluate.compare,
    "verify": verify.verify,
    "doctor": machine.doctor,
}

app = cyclopts.App(
    name="autoreel",
    version=__version__,
    help_format="plaintext",  # Markdown's parser would cost a third of the time that the help takes
    suppress_keyboard_interrupt=False,  # `main` says that work is kept
    help="Learns from your own footage and makes new video from it.",
    help_epilogue="Every command also takes --debug (show the traceback of an error) and --unsafe-no-jail "
    "(open media files although this machine cannot confine their decoders).",
)
for _place, (_name, _function) in enumerate(COMMANDS.items()):
    app.command(_function, name=_name, sort_key=_place)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        tokens: the arguments; None takes the process's own.

    Returns:
        The exit code: 0, what the command answers, or that of the error, one clear line on the error stream.
    """
    given, switches = _take_switches(list(sys.argv[1:] if tokens is None else tokens))
    try:
        _check_folder()
        with _ended_by_signals():
            if "--unsafe-no-jail" in switches:
                from autoreel.media.jail import unsafe_no_jail

                unsafe_no_jail()
            code = app(given, exit_on_error=False, print_error=False, result_action="return_value")
    except _Ended as ended:
        with contextlib.suppress(OSError):  # the terminal may be gone, and nobody is left to tell
            _tell_stopped(given)
        return 128 + ended.number
    except (Exception, KeyboardInterrupt) as error:
        note.end()
        if "--debug" in switches:
            import traceback

            traceback.print_exception(error)
        if isinstance(error, KeyboardInterrupt):
            _tell_stopped(given)
            return 128 + signal.SIGINT  # as shells expect
        return _explain(error)
    note.end()
    return code if isinstance(code, int) else 0


def _check_folder() -> None:
    """A folder that was removed under the shell: names lead nowhere, and MKL ends the process at its first product.

    Raises:
        UsageError: the current folder is gone.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        said = "the folder you are in has been removed; go to another one with cd, and say it again"
        raise UsageError(said) from None


class _Ended(KeyboardInterrupt):
    """The system wants the process to end; what is half done is cleared away on the way out, as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM (a shutdown) and SIGHUP (a closed terminal) raise `_Ended` in the main thread, once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # `nohup` has SIGHUP ignored, and means it.
    ours = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        for caught in ours:
            signal.signal(caught, signal.SIG_IGN)  # the next one must not interrupt the clearing away
        raise _Ended(number)

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _tell_stopped(given: Sequence[str]) -> None:
    note.end()
    goes_on = "the same command goes on from what is saved"
    note(f"stopped; {goes_on if given[:1] and given[0] in GOES_ON else 'nothing half done is left'}")


def _take_switches(tokens: list[str]) -> tuple[list[str], set[str]]:
    """Part the switches that every command takes from the rest; what follows `--` is left as it is."""
    end = tokens.index("--") if "--" in tokens else len(tokens)
    known = {"--debug", "--unsafe-no-jail"}
    return [t for i, t in enumerate(tokens) if i >= end or t not in known], known.intersection(tokens[:end])


def _explain(error: Exception) -> int:
    """Say an error in one line, or one line for each problem, and choose the exit code."""
    if isinstance(error, StoppedError):
        _say(str(error))
    elif isinstance(error, AutoreelError):
        for line in _lines(error):
            _say(f"error: {line}")
    elif isinstance(error, cyclopts.CycloptsError):
        _say("error: " + " ".join(str(error).split()) + " (autoreel --help lists what there is)")
        return UsageError.exit_code
    elif isinstance(error, OSError) and error.errno is not None:
        return _explain(_reading(error) or translate_os_error(error, error.filename or "the output"))
    elif isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    ):
        _say("error: not enough memory; use a smaller preset, or close other programs")
    else:
        text = " ".join(str(error).split())
        _say(f"error: {type(error).__name__}: {text} (this is a bug in autoreel; --debug shows where)")
    return error.exit_code if isinstance(error, AutoreelError) else AutoreelError.exit_code


def _reading(error: OSError) -> AutoreelError | None:
    """Errors of writing are translated where something is written; a file that is named otherwise was to be read."""
    if isinstance(error, AutoreelError) or not isinstance(error.filename, str | bytes):
        return None
    name = os.fsdecode(error.filename)
    if error.errno == errno.ENOENT:
        return AutoreelError(f"cannot read {name}: there is no such file or folder")
    if error.errno in (errno.EACCES, errno.EPERM) and os.path.exists(name) and not os.access(name, os.R_OK):
        return AutoreelError(f"cannot read {name}: no permission; change it with chmod, or give another file")
    return None


def _lines(error: AutoreelError) -> list[str]:
    """One line for each problem."""
    if isinstance(error, PreflightError):
        return [line for problem in error.problems for line in _lines(problem)]
    if isinstance(error, ConfigError):
        return [f"{error.where}: {problem}" if error.where else problem for problem in error.problems]
    return [" ".join(str(error).split())]


def _say(line: str) -> None:
    print(f"autoreel: {line}", file=sys.stderr, flush=True)
