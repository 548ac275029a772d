"""Every verb as a shot, and the transitions that a model paints."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.errors import ConfigError
from autoreel.film import painted, provenance
from autoreel.film.cache import ShotCache
from autoreel.film.composer import Composer
from autoreel.film.layout import lay_out
from autoreel.film.renderer import render
from autoreel.film.storyboard import Storyboard
from autoreel.media.decode import read_clip
from autoreel.media.encode import VideoWriter

RED, GREEN, BLUE = 0, 1, 2


def _video(path: Path, channel: int, num_frames: int = 50) -> str:
    frames = np.full((num_frames, 48, 64, 3), 20, np.uint8)
    frames[..., channel] = np.linspace(120, 250, num_frames).astype(np.uint8)[:, None, None]
    with VideoWriter(path, (48, 64), Fraction(25), quality="best") as writer:
        writer.write(frames)
    return str(path)


def _rendered(folder: Path, run: Any, shots: list[dict[str, Any]]) -> NDArray[np.float64]:
    board = Storyboard.model_validate(
        {"run": str(folder / "run"), "canvas": {"width": 64, "height": 48, "rate": 25}, "shots": shots}
    )
    return read_clip(render(board, run, folder / "film.mp4").path).frames.astype(float)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [({"verb": "between", "in_s": 0.2, "out_s": 1.0, "to_in_s": 0.5, "seed": 3, "label": "green"}, "between"),
     ({"verb": "loop", "out_s": 0.5, "way_s": 0.2}, "loop"), ({"verb": "vary", "strength": 0.4, "seed": 9}, "vary"),
     ({"verb": "morph"}, None), ({"verb": "slow", "factor": 0.5}, None)],
)  # fmt: skip
def test_every_verb_fills_its_shot(tmp_path: Path, striped_run: Any, settings: Any, asked: str | None) -> None:
    red, blue = _video(tmp_path / "red.mp4", RED), _video(tmp_path / "blue.mp4", BLUE)
    shot = {"source": red, "length_s": 1.6, **settings}
    if settings["verb"] in ("between", "morph"):
        shot["to"] = blue
    frames = _rendered(tmp_path, striped_run, [shot])
    assert len(frames) == 40
    assert [verb for verb, *_ in striped_run.asked] == ([asked] if asked else [])


def test_a_morph_begins_with_one_clip_and_ends_with_the_other(tmp_path: Path, striped_run: Any) -> None:
    red, blue = _video(tmp_path / "red.mp4", RED), _video(tmp_path / "blue.mp4", BLUE)
    frames = _rendered(tmp_path, striped_run, [{"verb": "morph", "source": red, "to": blue, "length_s": 1.6}])
    colors = frames.mean(axis=(1, 2))
    assert colors[0].argmax() == RED and colors[-1].argmax() == BLUE
    assert abs(colors[20, RED] - colors[20, BLUE]) < 60


def test_slow_motion_shows_less_of_the_clip(tmp_path: Path, striped_run: Any) -> None:
    red = _video(tmp_path / "red.mp4", RED)
    frames = _rendered(tmp_path, striped_run, [{"verb": "slow", "source": red, "length_s": 2.0, "factor": 0.25}])
    values = frames[..., RED].mean(axis=(1, 2))
    assert values[0] == pytest.approx(120, abs=8) and values[-1] == pytest.approx(120 + 130 * 12 / 49, abs=10)
    assert np.diff(values).min() > -4


def test_a_loop_comes_round_again(tmp_path: Path, striped_run: Any) -> None:
    red = _video(tmp_path / "red.mp4", RED)
    shot = {"verb": "loop", "source": red, "out_s": 0.8, "way_s": 0.2, "length_s": 3}
    frames = _rendered(tmp_path, striped_run, [shot])
    np.testing.assert_allclose(frames[3], frames[28], atol=12)
    assert abs(frames[22] - 128).mean() < 12, "the way back is made"


def test_a_clip_that_is_too_short_is_told(tmp_path: Path, striped_run: Any) -> None:
    red = _video(tmp_path / "red.mp4", RED)
    with pytest.raises(ConfigError, match=r"shot 1: .* ends .* s before the shot does"):
        _rendered(tmp_path, striped_run, [{"verb": "vary", "source": red, "length_s": 4}])


@pytest.mark.parametrize("kind", ["morph", "between"])
@pytest.mark.parametrize("rate", [25, 10])
def test_the_model_paints_the_way(tmp_path: Path, striped_run: Any, kind: str, rate: int) -> None:
    striped_run.rate = Fraction(rate)
    red, blue = _video(tmp_path / "red.mp4", RED), _video(tmp_path / "blue.mp4", BLUE)
    shots = [{"verb": "material", "source": red, "length_s": 1.0},
             {"verb": "material", "source": blue, "in_s": 0.6, "length_s": 1.0, "effects": [{"name": "bars"}],
              "transition": {"kind": kind, "length_s": 0.96}}]  # fmt: skip
    frames = _rendered(tmp_path, striped_run, shots)
    assert len(frames) == 50
    colors = frames[:, 20:28].mean(axis=(1, 2))
    assert colors[10].argmax() == RED and colors[40].argmax() == BLUE
    assert (kind == "between") == (abs(frames[25, 20:28] - 128).mean() < 30)
    steps = np.abs(np.diff(frames.mean(axis=(1, 2, 3))))
    assert steps.max() < 60, "no jump at either end"


def test_a_painted_way_comes_from_the_cache(tmp_path: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoreel.film.provenance.hash_of_run", lambda board: "hash")
    shots = [{"length_s": 1.0, "label": "red"},
             {"length_s": 1.0, "label": "blue", "transition": {"kind": "between", "length_s": 1.0}}]  # fmt: skip
    first = _rendered(tmp_path, striped_run, shots)
    asked = len(striped_run.asked)
    np.testing.assert_array_equal(first, _rendered(tmp_path, striped_run, shots))
    assert len(striped_run.asked) == asked


@pytest.mark.parametrize("change", [{"to": "green.mp4"}, {"to_in_s": 0.4}])
def test_whatever_changes_a_shot_is_not_taken_from_the_cache(
    tmp_path: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setattr("autoreel.film.provenance.hash_of_run", lambda board: "hash")
    red, blue = _video(tmp_path / "red.mp4", RED), _video(tmp_path / "blue.mp4", BLUE)
    green = _video(tmp_path / "green.mp4", GREEN)
    shot: dict[str, Any] = {"verb": "morph", "source": red, "to": blue, "length_s": 1.0}
    first = _rendered(tmp_path, striped_run, [shot])
    other = _rendered(tmp_path, striped_run, [{**shot, **change, **({"to": green} if "to" in change else {})}])
    assert np.abs(first.astype(int) - other).mean() > 1


@pytest.mark.parametrize(("verb", "before", "after"), [
    ("vary", {"strength": 0.2}, {"strength": 0.9}), ("slow", {"factor": 0.5}, {"factor": 0.25}),
    ("loop", {"way_s": 0.2}, {"way_s": 0.6}),
])  # fmt: skip
def test_every_setting_of_a_verb_is_a_part_of_what_makes_it(
    tmp_path: Path, striped_run: Any, verb: str, before: dict[str, float], after: dict[str, float]
) -> None:
    source = _video(tmp_path / "red.mp4", RED)
    board = Storyboard.model_validate({"run": "/run", "shots": [
        {"verb": verb, "source": source, "length_s": 1.0, **settings} for settings in (before, after)
    ]})  # fmt: skip
    composer = Composer(board, lay_out(board), striped_run, ShotCache(None), "hash")
    one, other = (composer._what_makes(placed) for placed in composer.layout.placed)
    assert one != other


def test_another_device_or_version_makes_every_shot_anew(
    tmp_path: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoreel.film.provenance.hash_of_run", lambda board: "hash")
    shots = [{"length_s": 1.0, "label": "red"},
             {"length_s": 1.0, "label": "blue", "transition": {"kind": "morph", "length_s": 0.6}}]  # fmt: skip

    def num_made() -> int:
        before = striped_run.painted
        _rendered(tmp_path, striped_run, shots)
        return int(striped_run.painted - before)

    assert num_made() == 3 and num_made() == 0
    striped_run.computed_on = "another, bfloat16"
    assert num_made() == 3 and num_made() == 0
    versions = provenance.versions()
    for package in ("torch", "autoreel"):
        monkeypatch.setattr(provenance, "versions", lambda package=package: {**versions, package: "0.1"})
        assert num_made() == 3 and num_made() == 0


def test_a_way_for_another_layout_of_pictures_is_painted_anew(
    tmp_path: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model is given has been rounded by the layout."""
    monkeypatch.setattr("autoreel.film.provenance.hash_of_run", lambda board: "hash")
    noise = np.random.default_rng(0).integers(0, 255, (2, 30, 48, 64, 3), dtype=np.uint8)
    for name, frames in zip(("a.mkv", "b.mkv"), noise, strict=True):
        with VideoWriter(tmp_path / name, (48, 64), Fraction(25)) as writer:
            writer.write(frames)
    board = Storyboard.model_validate({
        "run": str(tmp_path / "run"), "canvas": {"width": 64, "height": 48, "rate": 25},
        "shots": [{"verb": "material", "source": str(tmp_path / "a.mkv"), "length_s": 0.6},
                  {"verb": "material", "source": str(tmp_path / "b.mkv"), "length_s": 0.6,
                   "transition": {"kind": "morph", "length_s": 0.6}}],
    })  # fmt: skip
    alone = render(board, striped_run, tmp_path / "film.gif", keep_shots=False).path.read_bytes()
    assert render(board, striped_run, tmp_path / "film.mp4").num_made == 1
    after = render(board, striped_run, tmp_path / "film.gif")
    assert after.num_made == 1 and after.path.read_bytes() == alone


@pytest.mark.parametrize(("count", "step"), [(25, Fraction(1)), (25, Fraction(2, 5)), (24, Fraction(1, 2)), (1, 1)])
def test_what_the_model_is_given(count: int, step: Fraction) -> None:
    shown = painted.shown_of(count, step)
    assert shown == sorted(set(shown)) and shown[0] == 0 and shown[-1] < count
