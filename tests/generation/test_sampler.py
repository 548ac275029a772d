"""The solver against flows whose answer is known."""

import math

import pytest
import torch
from torch import Tensor

from autoreel.generation.sampler import Solver, frame_noise, integrate, level_shift, schedule, shift_levels


def test_schedule_falls_from_start_to_zero() -> None:
    levels = schedule(8, 0.6, 1.5)
    assert len(levels) == 9 and levels[0] == pytest.approx(0.6) and levels[-1] == 0
    assert levels == sorted(levels, reverse=True)
    with pytest.raises(ValueError, match="at least one step"):
        schedule(0, 1.0, 1.0)


def test_shift_keeps_the_ends_and_moves_the_middle() -> None:
    level = torch.tensor([0.0, 0.5, 1.0])
    assert torch.equal(shift_levels(level, 1.0), level)
    shifted = shift_levels(level, 3.0)
    assert shifted.tolist() == pytest.approx([0.0, 0.75, 1.0])
    assert level_shift(512) == 1.0 and level_shift(2048) == 2.0


@pytest.mark.parametrize("solver", ["adams", "euler", "heun"])
def test_a_straight_flow_is_followed_exactly_in_one_step(solver: Solver) -> None:
    """All data in one point: the velocity is (x - data) / level, and noise flows straight to it."""
    data = torch.tensor([2.0, -1.0])
    end = integrate(lambda x, level: (x - data) / level, torch.randn(2), [1.0, 0.0], solver)
    torch.testing.assert_close(end, data)


def test_gaussian_data_and_the_order_of_each_solver() -> None:
    """Data N(0, s^2): velocity x (t - (1 - t) s^2) / (t^2 + (1 - t)^2 s^2); noise n flows to s n."""
    s2 = 0.25

    def velocity(x: Tensor, t: float) -> Tensor:
        return x * (t - (1 - t) * s2) / (t * t + (1 - t) ** 2 * s2)

    noise = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    solvers: tuple[Solver, ...] = ("adams", "euler", "heun")

    def error(solver: Solver, steps: int) -> float:
        end = integrate(velocity, noise, schedule(steps, 1.0, 1.5), solver)
        return float((end - 0.5 * noise).abs().mean())

    few, many = ({solver: error(solver, steps) for solver in solvers} for steps in (8, 64))
    assert few["adams"] < 0.5 * few["euler"] and few["heun"] < few["euler"] < 0.1
    order = {solver: math.log(few[solver] / many[solver], 8) for solver in solvers}
    assert order["euler"] == pytest.approx(1.0, abs=0.15)
    assert order["adams"] > 1.7 and order["heun"] > 1.7, "also with steps of unequal length"


def test_noise_is_a_function_of_seed_frame_and_purpose() -> None:
    shape = (2, 1, 4, 4)
    first = frame_noise(1, 2, "frame", shape)
    assert torch.equal(first, frame_noise(1, 2, "frame", shape))
    for other in (
        frame_noise(2, 2, "frame", shape), frame_noise(1, 3, "frame", shape), frame_noise(1, 2, "context", shape)
    ):  # fmt: skip
        assert not torch.equal(first, other)
