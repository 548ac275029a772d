"""What a campaign found, as a dated page of Markdown."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from autoreel.errors import AutoreelError

ROOT = Path(__file__).parents[2]


LATEST: list[Findings] = []  # of the campaign that goes on: one that is stopped says how far it came


@dataclass
class Findings:
    """The result of one campaign.

    Args:
        name: of the campaign.
        lines: paragraphs and tables in Markdown.
        problems: what must not be; a campaign without any is passed.
        tables: heads, and rows that still grow.
    """

    name: str
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    tables: list[tuple[Sequence[str], Sequence[Sequence[object]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        LATEST[:] = [self]

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table."""
        self.lines += ["", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        self.lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
        self.lines.append("")


def write(findings: Findings, folder: Path, seed: int, count: int) -> Path:
    """The page `DATE-faults-NAME.md`; printed as well."""
    now = datetime.now(UTC)
    for head, rows in findings.tables:
        findings.table(head, rows)
    path = folder / f"{now:%Y-%m-%d}-faults-{findings.name}.md"
    ended = "passed" if not findings.problems else f"{len(findings.problems)} problems"
    lines = [
        f"# Faults: {findings.name}", "",
        f"{now:%Y-%m-%d}, commit {_commit()}, {_machine()}; seed {seed}, count {count}. **{ended}**.", "",
        *findings.lines,
    ]  # fmt: skip
    if findings.problems:
        lines += ["", "## Problems", "", *(f"- {problem}" for problem in findings.problems[:100])]
    text = "\n".join(lines).rstrip() + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)
    return path


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _machine() -> str:
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{os.cpu_count()} cores of {name}, Linux {platform.release()}"


def wrong_with(error: BaseException) -> str:
    """What is wrong with how something hostile was refused, or nothing: one line of ours is right."""
    said = str(error)
    if not isinstance(error, AutoreelError):
        return f"escapes as {type(error).__name__}: {said[:200]}"
    return "" if "\n" not in said and len(said) < 1000 else f"is refused at length: {said[:200]!r}"
