"""Write docs/commands.md: the help of every command, as the program prints it. `make docs` runs it.

python3 tools/command_help.py > docs/commands.md
"""

from __future__ import annotations

import io
import sys

from rich.console import Console

from autoreel.cli import COMMANDS, app

WIDTH = 100
HEAD = """\
# Commands

The help of every command, as `autoreel COMMAND --help` prints it. From a source tree say `./autoreel` for `autoreel`.
A test holds this page to the program; `make docs` writes it again.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD, _block([])]
    parts += [f"\n## {name}\n\n{_block([name])}" for name in COMMANDS]
    return "".join(part if part.startswith("\n") else f"{part}\n" for part in parts).rstrip() + "\n"


def _block(tokens: list[str]) -> str:
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False)
    app.help_print(tokens, console=console)
    lines = "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())
    return f"```text\n{lines}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(page())
