"""Reading, dividing and spending a budget."""

import pytest

from autoreel.errors import UsageError
from autoreel.training.budget import NEEDED_STEPS, Budget, choose_preset, divide, short_warning, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20m", 1200), ("90s", 90), ("1h", 3600), ("1h30m", 5400), (" 1.5 H ", 5400)],
)
def test_times(text: str, seconds: float) -> None:
    assert Budget.parse(text) == Budget(seconds=seconds)


@pytest.mark.parametrize(("text", "steps"), [("500 steps", 500), ("1step", 1)])
def test_steps(text: str, steps: int) -> None:
    assert Budget.parse(text) == Budget(steps=steps)


UNCLEAR = ["", "20", "soon", "20m later", "-5m", "1:30", "9" * 20 + "steps", "0s", "0steps", "1e3s", "m"]


@pytest.mark.parametrize("text", UNCLEAR)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        Budget.parse(text)


def test_it_is_a_time_or_steps() -> None:
    for arguments in ({}, {"seconds": 1.0, "steps": 1}):
        with pytest.raises(UsageError, match="one of them"):
            Budget(**arguments)  # type: ignore[arg-type]
    for seconds in (float("inf"), float("nan"), -1.0):
        with pytest.raises(UsageError, match="above zero"):
            Budget(seconds=seconds)


def test_progress_is_the_share_that_has_passed() -> None:
    time, steps = Budget(seconds=100), Budget(steps=10)
    assert [time.progress(7, elapsed_s) for elapsed_s in (0, 50, 100, 130)] == [0, 0.5, 1, 1]
    assert [steps.progress(step, 1e9) for step in (0, 5, 10, 12)] == [0, 0.5, 1, 1]
    assert not time.reached(10**9, 99.9)
    assert time.reached(0, 100)


def test_what_is_left() -> None:
    assert Budget(seconds=100).remaining_s(3, 40, 0) == 60
    assert Budget(steps=100).remaining_s(40, 1e9, 2.0) == 30
    assert Budget(steps=100).remaining_s(0, 0, 0) is None


def test_all_is_divided_and_a_stage_gets_the_whole() -> None:
    assert divide(Budget(seconds=1200), "all", 0.75) == {"codec": Budget(seconds=900), "prior": Budget(seconds=300)}
    assert divide(Budget(seconds=60), "all", 0.5) == {"codec": Budget(seconds=16.5), "prior": Budget(seconds=43.5)}
    assert divide(Budget(steps=60), "all", 0.5) == {"codec": Budget(steps=30), "prior": Budget(steps=30)}
    trained = divide(Budget(steps=60), "all", 0.5, from_trained=True)
    assert trained == {"codec": Budget(steps=15), "prior": Budget(steps=45)}
    assert list(divide(Budget(steps=1), "all", 0.5).values()) == [Budget(steps=1), Budget(steps=1)]
    assert divide(Budget(steps=7), "prior", 0.5) == {"prior": Budget(steps=7)}
    assert divide(Budget(steps=7), "all", 0.5, "gan") == {"codec": Budget(steps=7)}
    with pytest.raises(UsageError, match="the family gan has no prior"):
        divide(Budget(steps=7), "prior", 0.5, "gan")
    assert divide(Budget(steps=7), "refine", 0.5) == {"refine": Budget(steps=7)}
    with pytest.raises(UsageError, match="no encoder to refine"):
        divide(Budget(steps=7), "refine", 0.5, "gan")
    with pytest.raises(UsageError, match="no pairs to learn enlarging from"):
        divide(Budget(steps=7), "upscale", 0.5, "gan")
    with pytest.raises(UsageError, match="use codec, prior, refine, upscale or all"):
        divide(Budget(steps=7), "both", 0.5)


def test_the_largest_preset_that_reaches_enough_steps_is_taken() -> None:
    speeds = {"small": 0.5, "base": 1.0}
    asked: list[str] = []

    def measure(name: str) -> float:
        asked.append(name)
        return speeds[name]

    for steps_of, expected in (("small", "small"), ("base", "base")):
        needed_s = NEEDED_STEPS[steps_of] * speeds[steps_of] / 0.5
        assert choose_preset(Budget(seconds=needed_s), 0.5, measure)[0] == expected
    asked.clear()
    assert choose_preset(Budget(seconds=600), 0.5, measure) == ("tiny", {"small": 0.5})
    assert asked == ["small"]  # where that is too slow a larger one is not even tried


def test_nothing_is_measured_where_it_cannot_matter() -> None:
    def measure(name: str) -> float:
        raise AssertionError(name)

    assert choose_preset(Budget(steps=10**6), 0.5, measure) == ("tiny", {})
    assert choose_preset(Budget(seconds=10), 0.5, measure) == ("tiny", {})


def test_durations_are_read_at_a_glance() -> None:
    shown = {0: "0s", 8.4: "8s", 60: "1m00s", 372: "6m12s", 3900: "1h05m", 90000: "25h00m"}
    assert {seconds: show_duration(seconds) for seconds in shown} == shown


def test_a_budget_is_shown_as_it_was_meant() -> None:
    assert (str(Budget.parse("20m")), str(Budget(steps=40))) == ("20m00s", "40 steps")


@pytest.mark.parametrize(
    ("budget", "device", "is_short"),
    [
        ("40s", "cpu", True), ("40s", "cuda", True), ("2m", "cuda", False), ("5m", "cpu", False),
        ("3 steps", "cpu", False),
    ],
)
def test_a_budget_too_short_for_pictures_is_said(budget: str, device: str, is_short: bool) -> None:
    warning = short_warning(Budget.parse(budget), device)
    assert (warning is not None) == is_short
    if warning is not None:
        assert budget in warning and "larger --budget goes on" in warning
