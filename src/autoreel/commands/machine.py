"""The command about the machine: doctor."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from autoreel.commands.options import parse_budget, parsed
from autoreel.errors import AutoreelError


def doctor(*, budget: str = "20m", quick: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Say what is missing and what this machine can do.

    Args:
        budget: The training time for which the largest preset is looked for.
        quick: Leave out the measurements, which take about half a minute.
    """
    from autoreel.training.doctor import examine

    problems: list[AutoreelError] = []
    amount = parsed(problems, parse_budget, budget)
    from autoreel.preflight import insist

    insist(problems)
    assert amount is not None  # or there would have been a problem
    for line in examine(amount, measure=not quick):
        print(line, flush=True)
