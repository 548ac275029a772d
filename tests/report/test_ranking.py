"""Means, intervals and ranks of families, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoreel.report.ranking import ranks, row_of


def figure(value: float | str | None, better: str = "lower", floor: float | None = 0.5) -> dict[str, Any]:
    return {"name": "A measure", "unit": "", "better": better, "value": value, "floor": floor}


def results(better: str = "lower") -> dict[tuple[str, int], dict[str, Any]]:
    values = {("gan", 0): 5.0, ("gan", 1): 5.2, ("ae", 0): 1.0, ("ae", 1): 1.4, ("vae", 0): 1.1, ("vae", 1): 1.2}
    return {run: {"m": figure(value, better)} for run, value in values.items()}


def test_means_and_intervals() -> None:
    row = row_of(results(), "m")
    assert row is not None and row.floor == 0.5
    found = row.values["ae"]
    assert found is not None and found.value == pytest.approx(1.2) and found.count == 2
    pooled = np.mean([np.var(pair, ddof=1) for pair in ((5.0, 5.2), (1.0, 1.4), (1.1, 1.2))])
    assert found.high - found.value == pytest.approx(3.182 * np.sqrt(pooled / 2), rel=1e-3)
    assert row_of(results(), "none") is None


@pytest.mark.parametrize(("better", "best"), [("lower", {"vae", "ae"}), ("higher", {"gan"}), ("neither", set())])
def test_who_is_not_clearly_behind_the_best(better: str, best: set[str]) -> None:
    row = row_of(results(better), "m")
    assert row is not None and set(row.best) == best  # the intervals of ae and vae overlap


def test_with_one_seed_there_is_one_winner_and_no_interval() -> None:
    one = {run: figures for run, figures in results().items() if run[1] == 0}
    row = row_of(one, "m")
    assert row is not None and row.best == ("ae",)
    assert all(value is not None and np.isnan(value.low) for value in row.values.values())


def test_nearness_to_the_floor_decides_where_it_should() -> None:
    near = {("a", 0): {"m": figure(0.2, "nearer the floor")}, ("b", 0): {"m": figure(0.6, "nearer the floor")}}
    row = row_of(near, "m")
    assert row is not None and row.best == ("b",)


def test_ranks_over_measures_and_seeds() -> None:
    values = {
        ("a", 0): (1.0, 0.9), ("b", 0): (2.0, 0.9), ("c", 0): (3.0, 0.1),
        ("a", 1): (1.0, 0.9), ("b", 1): (2.0, 0.8), ("c", 1): (3.0, 0.1),
    }  # fmt: skip
    found = {run: {"mmd2": figure(cost), "precision": figure(share, "higher")} for run, (cost, share) in values.items()}
    order = ranks(found)
    assert list(order) == ["a", "b", "c"]
    assert order["a"].value == pytest.approx((1.25 + 1.0) / 2)  # in seed 0 a and b share the first place of precision
    assert order["b"].value == pytest.approx((1.75 + 2.0) / 2) and order["c"].value == 3.0


def test_what_some_run_lacks_does_not_decide() -> None:
    found = {
        ("a", 0): {"mmd2": figure(1.0), "motion": figure(None)},
        ("b", 0): {"mmd2": figure(2.0), "motion": figure(0.1)},
    }
    assert list(ranks(found)) == ["a", "b"]
    assert ranks({("a", 0): {"mmd2": figure(None)}, ("b", 0): {}}) == {}
    row = row_of({("a", 0): {"m": figure("inf")}, ("b", 0): {"m": figure(2.0)}}, "m")
    assert row is not None and row.values["a"] is None and row.best == ()
