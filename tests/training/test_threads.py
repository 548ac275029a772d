"""The number of threads: measured, looked at again while it trains, and given back."""

from __future__ import annotations

import pytest
import torch
from tests.training.toy import ToyStage

from autoreel.training import threads
from autoreel.training.checkpoint import capture
from autoreel.training.measure import step_seconds
from autoreel.training.threads import RECENT_STEPS, ThreadWatch, fastest_threads, threads_given_back


class Machine:
    """Steps of a machine of two cores, in its own time.

    Args:
        monkeypatch: torch's number of threads becomes that of the machine.
        every_s: seconds between two looks.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, every_s: float = 60.0) -> None:
        self.threads, self.elapsed_s = 2, 0.0
        self.taken: list[int] = []
        self.changes: list[tuple[int, dict[int, float]]] = []
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.threads)
        monkeypatch.setattr(torch, "set_num_threads", lambda count: setattr(self, "threads", count))
        self.watch = ThreadWatch(2, 2, lambda count, seconds: self.changes.append((count, seconds)), every_s)

    def train(self, seconds: float, takes: dict[int, float]) -> list[int]:
        """The threads of the steps of a while, in which a step takes so long with each number of them."""
        self.taken = []
        until_s = self.elapsed_s + seconds
        while self.elapsed_s < until_s:
            self.watch.before_step(self.elapsed_s)
            took_s = takes[self.threads]
            self.taken.append(self.threads)
            self.elapsed_s += took_s
            self.watch.after_step(self.elapsed_s, took_s)
        return self.taken


def test_a_busy_neighbour_is_noticed_and_that_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    quiet, busy = {2: 1.0, 1: 1.8}, {2: 6.0, 1: 2.0}
    assert machine.train(59.0, quiet) == [2] * 59
    machine.train(130.0, busy)
    assert machine.threads == 1 and machine.changes == [(1, {2: 6.0, 1: 2.0})]
    machine.train(200.0, quiet)
    assert machine.threads == 2 and [count for count, _ in machine.changes] == [1, 2]


def test_a_look_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Machine(monkeypatch).train(600.0, {2: 1.0, 1: 1.8})
    assert 5 <= taken.count(1) <= 10, "one step each, as the first says enough"


def test_what_is_nearly_as_fast_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.train(600.0, {2: 1.0, 1: 0.95})
    assert machine.threads == 2 and not machine.changes


def test_long_steps_are_compared_once_there_are_enough_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 not in Machine(monkeypatch).train(50.0 * RECENT_STEPS, {2: 50.0, 1: 200.0})


def test_the_number_is_given_back() -> None:
    before = torch.get_num_threads()
    with threads_given_back():
        torch.set_num_threads(before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("steps_before", [0, 3])
def test_measuring_changes_nothing(monkeypatch: pytest.MonkeyPatch, steps_before: int) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    times = iter([1.0, 2.0])

    def timed(stage: ToyStage) -> float:
        assert step_seconds(stage) > 0
        return next(times)

    monkeypatch.setattr(threads, "step_seconds", timed)
    stage = ToyStage()
    for step in range(steps_before):
        stage.step(step, 0.0)
    before = capture(stage, copy=True)
    assert fastest_threads(stage) == (2, {2: 1.0, 1: 2.0})
    after = capture(stage)
    assert len(stage.steps) > steps_before
    assert before.plain == after.plain
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(value, after.tensors[name]) for name, value in before.tensors.items())
