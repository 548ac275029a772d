"""What the benchmarks hold generated clips against, and the peer that learns nothing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from benchmarks.parts import keep
from benchmarks.patches import patched
from benchmarks.real_side import Real, familiar_share, held_out, judge_of, neighbours
from tests.evaluation.footage import make_store

from autoreel.clip import Frames
from autoreel.data.store import FootageStore, Shot
from autoreel.evaluation.encoder import WINDOW, Encoder
from autoreel.evaluation.memorisation import small
from autoreel.evaluation.samples import read, windows


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FootageStore:
    return make_store(tmp_path_factory.mktemp("footage") / "store", persons=8, num_frames=64)


def test_counts_are_equal_and_the_floor_is_the_nearest() -> None:
    random = np.random.default_rng(0)
    scenes = 5 * random.normal(size=(60, 1, 4))
    real = Real(scenes + random.normal(size=(60, 2, 4)), 8 + random.normal(size=(20, 4)), 60)
    made = 3 + 5 * random.normal(size=(500, 4))
    floor, away = real.floor(), real.to_training(made)
    assert floor["windows"] == away["windows"] == [60, 60]
    assert floor["frechet"] < away["frechet"] and floor["coverage"] > away["coverage"]
    assert 0 < away["frechet_deviation"] < away["frechet"]
    assert real.to_training(real.held_out)["windows"] == [60, 20] and real.to_held_out(made)["windows"] == [20, 60]
    assert real.to_training(made[:4])["frechet"] is None, "too few to tell"


def test_windows_of_the_floor_are_other_moments_of_the_same_shots(store: FootageStore) -> None:
    real = Real.of(store, Encoder().eval(), 512)
    assert real.pairs.shape[:2] == (6 * 2 * 64 // WINDOW // 2, 2) and len(real.held_out) == 2 * 2 * 64 // WINDOW
    apart = np.linalg.norm(real.pairs[:, 0] - real.pairs[:, 1], axis=1)
    others = np.linalg.norm(real.pairs[:, 0] - np.roll(real.pairs[:, 1], 4, 0), axis=1)  # of another person
    assert np.median(apart) < np.median(others)
    assert Real.of(store, Encoder().eval(), 8).floor()["windows"] == [8, 8]


@pytest.mark.parametrize(("num_frames", "pairs"), [(31, 0), (32, 1), (48, 1), (64, 2), (80, 2)])
def test_pairs_lie_in_one_shot(num_frames: int, pairs: int) -> None:
    shots = cast(tuple[Shot, ...], tuple(Plain(f"shot{value}", value, num_frames=num_frames) for value in (1, 2, 3)))
    found = neighbours(shots)
    assert len(found) == 3 * pairs
    assert all(one.shot is other.shot and other.start == one.start + WINDOW for one, other in found)
    store = cast(FootageStore, PlainStore(cast(tuple[Plain, ...], shots)))
    if pairs:
        assert Real.of(store, Encoder().eval(), 512).pairs.shape[:2] == (3 * pairs, 2)


def test_the_judge_says_what_its_accuracy_rests_on(store: FootageStore) -> None:
    judge = judge_of(store, Encoder().eval(), 32)
    assert judge is not None and judge.held_out["shots"] == 4 and judge.held_out["clips"] > 4
    assert judge.held_out["accuracy"] > 0.7
    real = windows(held_out(store), 32)
    asked = np.array([store.labels.index(window.shot.label or "") for window in real])
    right = judge.accuracy(read(store, real), asked)
    assert right > 0.7 and judge.accuracy(read(store, real), 1 - asked) == pytest.approx(1 - right, abs=1e-3)


def test_real_clips_are_nearer_to_other_shots_of_one_person_than_a_large_threshold(store: FootageStore) -> None:
    chosen = windows(store.split("train"), 32)
    pictures = small(read(store, chosen))
    assert familiar_share(chosen, pictures, 0.0) == 0.0 and familiar_share(chosen, pictures, 255.0) == 1.0
    alone = [i for i, window in enumerate(chosen) if window.shot.label == "down"]
    assert familiar_share([chosen[i] for i in alone], pictures[alone], 255.0) is None


def test_parts_of_a_day_say_what_each_was_measured_with(tmp_path: Path) -> None:
    about, target = {"date": "2026-01-01"}, tmp_path / "results.json"
    keep(target, about, "quality", {"commit": "a", "threads": 1}, {"clips": 3})
    kept = keep(target, about, "speed", {"commit": "b", "threads": 2}, {"rate": 9})
    assert kept == json.loads(target.read_text()) == {
        "date": "2026-01-01",
        "quality": {"measured_with": {"commit": "a", "threads": 1}, "clips": 3},
        "speed": {"measured_with": {"commit": "b", "threads": 2}, "rate": 9},
    }  # fmt: skip


@dataclass(frozen=True)
class Plain:
    """A shot of one colour."""

    id: str
    value: int
    label: str = "plain"
    num_frames: int = 40


@dataclass(frozen=True)
class PlainStore:
    shots: tuple[Plain, ...]
    labels: tuple[str, ...] = ("plain",)

    def split(self, name: str) -> tuple[Plain, ...]:
        return self.shots if name == "train" else ()

    def frames(self, shot: Plain, start: int = 0, count: int | None = None) -> Frames:
        return np.full((count or shot.num_frames, 16, 16, 3), shot.value, np.uint8)


@pytest.mark.parametrize("values", [(10, 20, 200), (10, 200), (10,)])
def test_patches_come_from_other_shots_than_those_that_they_follow(values: tuple[int, ...]) -> None:
    """What lies furthest is taken too, when the two that are followed are the others."""
    shots = tuple(Plain(f"shot{value}", value) for value in values)
    clips = patched(cast(FootageStore, PlainStore(shots)), np.zeros(24, np.int64), 32)
    assert clips.shape == (24, 32, 16, 16, 3)
    assert {int(clip.flat[0]) for clip in clips} == set(values) and all(np.ptp(clip) == 0 for clip in clips)
