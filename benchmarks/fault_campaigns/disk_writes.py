"""A full disk at each single write of a command: strace answers one call after another with ENOSPC.

The calls of the main thread that concern the folder of the results are counted in a run without faults; then each of
them is refused in a run of its own, and the same command is given once more. The process is forked from this one, so
that a case costs no start of Python, and strace is attached before it begins.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks.fault_campaigns.disk_full import FULL, NAMES, Command, command_lines
from benchmarks.fault_campaigns.kills import FAILING, calls_in, ended, fork_waiting, under_strace
from benchmarks.fault_campaigns.report import Findings

from autoreel.cli import main
from autoreel.errors import AutoreelError

TRIES = 4  # lines of progress are calls too, and come as time goes: a fault may meet another call than was asked
TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Refused:
    """One case.

    Args:
        call: the system call.
        number: which one of its name.
        what: the call as it was traced without a fault.
    """

    call: str
    number: int
    what: str


def run_here(arguments: Sequence[str], folder: Path, said: Path) -> int:
    """A command in this process; what it says goes to a file."""
    torch.set_num_threads(1)
    os.chdir(folder)
    out = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return main(arguments)


class Bench:
    """One command whose results lie in a folder that is emptied before each case.

    Args:
        command: which.
        work: where its material is.
    """

    def __init__(self, command: Command, work: Path) -> None:
        self.command, self.work = command, work
        self.disk = work / "disk"
        self.arguments = [word.replace("DISK", str(self.disk)) for word in command.arguments]
        self.said, self.trace = work / "said.txt", work / "trace.txt"

    def clear(self) -> None:
        """An empty folder, or one with what the command begins from."""
        shutil.rmtree(self.disk, ignore_errors=True)
        self.disk.mkdir()

    def once(self, inject: str = "") -> tuple[int, str]:
        """The command under strace; exit code and what it said."""
        code = under_strace(
            lambda go: fork_waiting(lambda: run_here(self.arguments, self.work, self.said), go), self.trace, inject,
            TIMEOUT_S,
        )  # fmt: skip
        return code, self.said.read_text(errors="replace")

    def calls(self) -> list[Refused]:
        """Every call of a run without faults that a full disk could refuse."""
        self.clear()
        code, said = self.once()
        if code:
            raise RuntimeError(f"{self.command.name} without faults ended with {code}: {said[-300:]}")
        found = []
        for name, number, line in calls_in(self.trace, self.disk):
            said = line.startswith(f"write(1<{self.said}>")  # what is done, by name
            if name in FAILING and not said and (name != "openat" or "O_CREAT" in line):
                found.append(Refused(name, number, line))
        return found

    def refuse(self, case: Refused, findings: Findings) -> str:
        """One case, then the same command again.

        Returns:
            How it ended first: `error`, `done` (it could do without), or `missed` (the fault met another call).
        """
        where = f"{self.command.name}, {case.call} {case.number} ({case.what[:110]})"
        for _ in range(TRIES):
            self.clear()
            try:
                code, said = self.once(f"{case.call}:error=ENOSPC:when={case.number}")
            except TimeoutError as error:
                findings.problems.append(f"{where}: {error}")
                return "hung"
            hit = [line for line in self.trace.read_text(errors="replace").splitlines() if "(INJECTED)" in line]
            if any(str(self.disk) in line for line in hit):
                break
        else:
            return "missed"
        errors = [line for line in said.splitlines() if line.startswith("autoreel: error:")]
        if code not in (0, FULL) or (code and (len(errors) != 1 or "disk is full" not in errors[0])):
            findings.problems.append(f"{where}: exit {code}, said {errors or said[-300:]!r}")
        if "Traceback" in said:
            findings.problems.append(f"{where}: a traceback")
        self._check(f"{where}, full", findings)
        if not (self.command.once and code == 0):
            again, said = self._plainly()
            if again:
                findings.problems.append(f"{where}: exit {again} with room, said {said[-300:]!r}")
            self._check(f"{where}, with room", findings)
        return "done" if code == 0 else "error"

    def _plainly(self) -> tuple[int, str]:
        child = fork_waiting(lambda: run_here(self.arguments, self.work, self.said))
        code = ended(child, TIMEOUT_S)
        return code, self.said.read_text(errors="replace")

    def _check(self, where: str, findings: Findings) -> None:
        try:
            self.command.check(self.disk)
        except (AutoreelError, OSError, ValueError) as error:
            findings.problems.append(f"{where}: {error}")


def campaign(count: int, seed: int, commands: Sequence[str] = ()) -> Findings:
    """At most `count` calls of each command, drawn by chance where there are more."""
    findings = Findings("-".join(["disk-writes", *commands]))
    rows: list[tuple[object, ...]] = []
    head = ("command", "calls tried", "of", "ended with one clear line", "could do without", "met another call")
    findings.tables.append((head, rows))
    findings.lines.append("Each call refused once with ENOSPC; then the same command again, which must succeed.")
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for command in command_lines(work, seed, commands or NAMES):
            bench = Bench(command, work)
            cases = bench.calls()
            chosen = sorted(rng.sample(range(len(cases)), min(len(cases), count)))
            ends = []
            for place in chosen:
                ends.append(bench.refuse(cases[place], findings))
                print(command.name, cases[place].call, cases[place].number, ends[-1], flush=True)
            rows.append((
                command.name, len(ends), len(cases), ends.count("error"), ends.count("done"), ends.count("missed")
            ))  # fmt: skip
    return findings
