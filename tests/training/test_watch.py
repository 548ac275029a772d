"""When the watch calls for going back."""

import json
import math

from autoreel.training.watch import ENOUGH, MAX_SKIPS, OUTLIER_FACTOR, RECOVERY_STEPS, SPIKE_STEPS, Watch


def steady(watch: Watch, steps: int, first: int = 0, loss: float = 1.0) -> int:
    """Show it so many steps; returns the next one's number."""
    for step in range(first, first + steps):
        watch.see(step, loss)
    return first + steps


def test_a_single_bad_step_is_forgotten() -> None:
    watch = Watch()
    step = steady(watch, 50)
    watch.skip(step)
    assert watch.troubled and watch.trouble_since == 50
    steady(watch, 1, step + 1)
    assert not watch.troubled and watch.skips == 0


def test_steps_that_are_not_finite_in_a_row() -> None:
    watch = Watch()
    for step in range(MAX_SKIPS):
        assert not watch.must_go_back
        watch.skip(step)
    assert watch.must_go_back
    watch.went_back(lost=3)
    assert not watch.must_go_back and not watch.troubled and watch.rewinds == 1


def test_it_recovers_once() -> None:
    watch = Watch()
    watch.went_back(lost=3)
    step = steady(watch, RECOVERY_STEPS - 1)
    assert not watch.may_recover
    watch = Watch.from_state(json.loads(json.dumps(watch.state())))
    step = steady(watch, 1, step)
    assert watch.may_recover
    step = steady(watch, 1, step)
    assert not watch.may_recover
    watch.went_back(lost=3)
    steady(watch, RECOVERY_STEPS, step)
    assert not watch.may_recover


def test_a_loss_far_over_the_median_for_long_enough() -> None:
    watch = Watch()
    step = steady(watch, ENOUGH)
    step = steady(watch, SPIKE_STEPS - 1, step, loss=5.1)
    assert watch.troubled and not watch.must_go_back
    steady(watch, 1, step, loss=5.1)
    assert watch.must_go_back and watch.trouble_since == ENOUGH


def test_outliers_are_left_out_and_count_as_spikes() -> None:
    watch = Watch()
    assert watch.most_loss == math.inf
    step = steady(watch, ENOUGH)
    assert watch.most_loss == OUTLIER_FACTOR
    for _ in range(SPIKE_STEPS - 1):
        watch.skip(step, outlier=True)
        step += 1
    assert watch.troubled and not watch.must_go_back and watch.lost == SPIKE_STEPS - 1
    watch.skip(step, outlier=True)
    assert watch.must_go_back


def test_a_spike_that_comes_back_by_itself_is_none() -> None:
    watch = Watch()
    step = steady(watch, ENOUGH)
    for _ in range(5):
        step = steady(watch, SPIKE_STEPS - 1, step, loss=6.0)
        step = steady(watch, 1, step)
    assert not watch.must_go_back and not watch.troubled


def test_the_beginning_is_not_judged() -> None:
    young = Watch()
    step = steady(young, ENOUGH - 1)
    steady(young, 1, step, loss=1e9)
    assert not young.troubled


def test_losses_below_zero_are_judged_by_their_size() -> None:
    """The value of a game that the discriminator always wins goes to zero, and wavers; lost, it falls without end."""
    watch = Watch()
    step = steady(watch, 100, loss=-0.69)
    for value in (-1.4, -0.1, -1e-6, -3.0):
        step = steady(watch, 100, step, loss=value)
        assert not watch.troubled
    step = steady(watch, SPIKE_STEPS, step, loss=-60.0)
    assert watch.must_go_back and watch.most_loss > 0


def test_its_state_survives_json() -> None:
    watch = Watch()
    step = steady(watch, 30)
    watch.went_back(lost=3)
    step = steady(watch, 3, step, loss=9.0)
    again = Watch.from_state(json.loads(json.dumps(watch.state())))
    for one in (watch, again):
        steady(one, SPIKE_STEPS - 3, step, loss=9.0)
    assert again.must_go_back and again.state() == watch.state()
