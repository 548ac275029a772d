"""The meter of drift: known answers, and what is kept in files."""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from autoreel.clip import Frames
from autoreel.commands import verbs
from autoreel.config import Config
from autoreel.data.store import FootageStore
from autoreel.errors import RunError
from autoreel.generation.drift import (
    ONE_OVER_FREEDOM,
    QUANTITIES,
    STUDENT_T,
    Look,
    Meter,
    drift_of,
    look_of,
    read_look,
    slope_of,
    write_drift,
    write_look,
)
from autoreel.runs import RunFolder

RATE = Fraction(10)


def striped(num_frames: int, moves: bool = True, gain: float = 1.0) -> Frames:
    """Vertical stripes, 2 pixels wide, that move a pixel a frame."""
    columns = np.arange(16)
    frames = [np.where((columns + i * moves) // 2 % 2, 120 * gain, 80 * gain) for i in range(num_frames)]
    return np.stack([np.broadcast_to(row[None, :, None], (16, 16, 3)) for row in frames]).astype(np.uint8)


@dataclass(frozen=True)
class FakeShot:
    num_frames: int


@dataclass(frozen=True)
class FakeStore:
    rate: Fraction = RATE

    def split(self, name: str) -> tuple[FakeShot, ...]:
        return (FakeShot(45), FakeShot(5)) if name == "train" else ()

    def frames(self, shot: FakeShot, start: int = 0, count: int | None = None) -> Frames:
        return striped(shot.num_frames)[start : None if count is None else start + count]


STORE = cast(FootageStore, FakeStore())


def test_known_answers_in_any_chunks() -> None:
    frames = striped(25)
    for cuts in ([], [1, 7], [10, 20]):
        meter = Meter(RATE)
        for chunk in np.split(frames, cuts):
            meter.add(chunk)
        seconds = meter.seconds()
        assert seconds.shape == (3, 5)  # the last of half a second
        brightness, contrast, saturation, sharpness, motion = seconds[1]
        assert (brightness, contrast, saturation) == pytest.approx((100, 20, 0), abs=0.01)
        assert sharpness == pytest.approx(40 * 7.5 / 15, abs=0.01) and motion == pytest.approx(0.5 * 40 * 10, abs=0.1)
    still = Meter(RATE)
    still.add(striped(10, moves=False))
    assert still.seconds()[0, 4] == 0
    colour = Meter(RATE)
    colour.add(np.broadcast_to(np.array([200, 50, 80], np.uint8), (1, 4, 4, 3)))
    assert colour.seconds()[0, 2] == 150


def test_what_stays_as_it_is_does_not_drift_and_what_fades_does() -> None:
    look = look_of(STORE)
    assert look.mean["brightness"] == pytest.approx(100, abs=0.1)
    meter = Meter(RATE)
    for second in range(20):
        meter.add(striped(10, gain=1 - second / 100))
    drift = drift_of(meter.seconds(), look)
    assert drift.slope is not None and drift.level is not None
    assert drift.slope["brightness"] == pytest.approx(-60, rel=0.05), "of 1 % of the mean, where nothing spreads"
    assert drift.level["brightness"] == pytest.approx(0.905, abs=0.01)
    assert "drift" in drift.line() and "brightness 90 %" in drift.line()
    assert drift_of(meter.seconds()[:5], look).slope is None, "too short to tell"
    assert drift_of(meter.seconds(), None).level is None


def test_a_slope_is_told_from_chance() -> None:
    look = look_of(STORE)
    random = np.random.default_rng(0)
    still = np.array([look.mean[name] for name in QUANTITIES]) + random.normal(0, 1, (60, 5))
    by_chance = drift_of(still, look)
    assert by_chance.line().endswith("; drift not distinguishable from 0")
    fading = still.copy()
    fading[:, 0] -= np.arange(60) / 6
    drift = drift_of(fading, look)
    assert drift.slope is not None and drift.slope_error is not None
    assert -drift.slope["brightness"] > 10 * drift.slope_error["brightness"]
    assert "spread: brightness -" in drift.line() and "+/-" in drift.line()
    assert drift.line().endswith("; the others not distinguishable from 0")


def noise_of(random: np.random.Generator, count: int, length: int, alike: float) -> NDArray[np.float64]:
    """Seconds without drift, each like the one before: (count, length)."""
    noise = random.normal(size=(count, length + 50))
    for i in range(1, length + 50):
        noise[:, i] += alike * noise[:, i - 1]
    return noise[:, 50:]


@pytest.mark.parametrize("length", [30, 60, 240])
@pytest.mark.parametrize("alike", [0.0, 0.5, 0.8])
def test_chance_is_called_drift_in_one_clip_of_twenty_at_most(length: int, alike: float) -> None:
    look = Look(mean=dict.fromkeys(QUANTITIES, 100.0), spread=dict.fromkeys(QUANTITIES, 1.0))
    clips = 100 + noise_of(np.random.default_rng(2), 5 * 400, length, alike).reshape(400, 5, length)
    claims = [not drift_of(clip.T, look).line().endswith("; drift not distinguishable from 0") for clip in clips]
    assert np.mean(claims) <= 0.07  # 0.05 and twice what 400 clips leave open
    clips[:, 0] += 12 * np.arange(length) / length
    if alike < 0.8:  # there half a minute of this is within what chance does
        found = ["drift a minute, of its spread: brightness" in drift_of(clip.T, look).line() for clip in clips]
        assert np.mean(found) > (0.5 if length == 30 else 0.9)


def test_students_t_is_met_or_passed() -> None:
    freedom = np.linspace(1, 300, 1000)
    exact = stats.t.ppf(0.995, freedom)
    found = np.interp(1 / freedom, ONE_OVER_FREEDOM, STUDENT_T)
    assert (found > exact - 1e-4).all() and (found[freedom > 3] < 1.02 * exact[freedom > 3]).all()


def test_short_clips_claim_nothing_and_neither_do_those_in_which_nothing_changes() -> None:
    look = Look(mean=dict.fromkeys(QUANTITIES, 100.0), spread=dict.fromkeys(QUANTITIES, 0.0))
    fading = np.random.default_rng(3).normal(100, 1, (60, 5)) + np.arange(60)[:, None]
    assert "drift a minute" in drift_of(fading[:30], look).line()
    assert drift_of(fading[:29], look).line().endswith("; too short to tell drift from chance")
    assert drift_of(fading[:29], look).slope is not None and drift_of(fading[:29], look).slope_least is None
    for value in (0.1, 100 / 3, 254.9):
        still = drift_of(np.full((70, 5), value), look)
        assert still.line().endswith("; drift not distinguishable from 0")


@pytest.mark.parametrize("alike", [0.0, 0.7])
def test_the_error_of_a_slope_is_how_far_slopes_of_chance_lie_from_0(alike: float) -> None:
    for length in (60, 240):
        found = [slope_of(noise) for noise in noise_of(np.random.default_rng(1), 300, length, alike)]
        slopes, errors, _ = np.array(found).T
        assert errors.mean() == pytest.approx(slopes.std(), rel=0.2)
    assert slope_of(np.arange(30) / 6.0)[:2] == pytest.approx((10, 0), abs=1e-6)


def test_the_look_is_kept_in_the_run_folder(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", Config())
    assert read_look(run.root) is None
    write_look(run, STORE)
    assert read_look(run.root) == look_of(STORE)
    for damaged in ("{", "[]", '{"mean": {}, "spread": {}}', '{"mean": 3}'):
        (run.root / "look.json").write_text(damaged)
        with pytest.raises(RunError, match=r"look\.json is damaged"):
            read_look(run.root)


@pytest.mark.parametrize(
    ("clip", "expected"), [("a.mp4", "a.drift.json"), ("b/%05d.png", "b.drift.json")]
)
def test_it_is_written_beside_the_clip(tmp_path: Path, clip: str, expected: str) -> None:
    meter = Meter(RATE)
    meter.add(striped(10))
    path = write_drift(tmp_path / clip, drift_of(meter.seconds(), look_of(STORE)), {"verb": "generate", "seed": 3})
    assert path == tmp_path / expected
    kept = json.loads(path.read_text())
    assert kept["made"]["seed"] == 3 and set(kept["per_second"]) == set(QUANTITIES) == set(kept["level"])


def test_a_clip_of_another_size_keeps_none_of_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Any = SimpleNamespace(size=(32, 32))
    meter = Meter(RATE)
    meter.add(striped(10))
    monkeypatch.setattr(verbs, "_write", lambda *given: [meter])
    for size, is_there in ((None, True), ((64, 64), False), ((32, 32), True)):
        verbs._repaint(tmp_path, opened, tmp_path / "a.mp4", verbs.Marking(), "rebuild", 10, (), size)
        assert (tmp_path / "a.drift.json").exists() == is_there
