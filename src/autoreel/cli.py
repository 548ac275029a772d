"""The command line: a table of command name to function, and what a person is told when something goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import cyclopts

from autoreel import __version__, commands
from autoreel.errors import AutoreelError, ConfigError, StoppedError, UsageError, translate_os_error
from autoreel.preflight import PreflightError

STOPPED = 130  # 128 + SIGINT, as shells expect

COMMANDS: dict[str, Callable[..., None]] = {
    "film": commands.film,
    "prepare": commands.prepare,
    "train": commands.train,
    "generate": commands.generate,
    "continue": commands.continue_,
    "animate": commands.animate,
    "rebuild": commands.rebuild,
    "storyboard": commands.storyboard,
    "doctor": commands.doctor,
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
        The exit code: 0, or that of the error, which is one clear line on the error stream.
    """
    given, switches = _take_switches(list(sys.argv[1:] if tokens is None else tokens))
    try:
        if "--unsafe-no-jail" in switches:
            from autoreel.media.jail import unsafe_no_jail

            unsafe_no_jail()
        app(given, exit_on_error=False, print_error=False, result_action="return_value")
    except (Exception, KeyboardInterrupt) as error:
        commands.note.end()
        if "--debug" in switches:
            import traceback

            traceback.print_exception(error)
        return _explain(error)
    commands.note.end()
    return 0


def _take_switches(tokens: list[str]) -> tuple[list[str], set[str]]:
    """Part the switches that every command takes from the rest; what follows `--` is left as it is."""
    end = tokens.index("--") if "--" in tokens else len(tokens)
    known = {"--debug", "--unsafe-no-jail"}
    return [t for i, t in enumerate(tokens) if i >= end or t not in known], known.intersection(tokens[:end])


def _explain(error: BaseException) -> int:
    """Say an error in one line, or one line for each problem, and choose the exit code."""
    if isinstance(error, KeyboardInterrupt):
        commands.note("stopped; the same command goes on from what is saved")
        return STOPPED
    if isinstance(error, StoppedError):
        _say(str(error))
    elif isinstance(error, AutoreelError):
        for line in _lines(error):
            _say(f"error: {line}")
    elif isinstance(error, cyclopts.CycloptsError):
        _say("error: " + " ".join(str(error).split()) + " (autoreel --help lists what there is)")
        return UsageError.exit_code
    elif isinstance(error, OSError) and error.errno is not None:
        return _explain(translate_os_error(error, error.filename or "the output"))
    elif isinstance(error, MemoryError):
        _say("error: not enough memory; use a smaller preset, or close other programs")
    else:
        text = " ".join(str(error).split())
        _say(f"error: {type(error).__name__}: {text} (this is a bug in autoreel; --debug shows where)")
    return error.exit_code if isinstance(error, AutoreelError) else AutoreelError.exit_code


def _lines(error: AutoreelError) -> list[str]:
    """One line for each problem."""
    if isinstance(error, PreflightError):
        return [line for problem in error.problems for line in _lines(problem)]
    if isinstance(error, ConfigError):
        return [f"{error.where}: {problem}" if error.where else problem for problem in error.problems]
    return [" ".join(str(error).split())]


def _say(line: str) -> None:
    print(f"autoreel: {line}", file=sys.stderr, flush=True)
