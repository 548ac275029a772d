"""Effects on tones, on time and with other clips: what they change, what they leave, what they refuse."""

import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autoreel.errors import ConfigError, MediaError
from autoreel.film import effects as fx
from autoreel.film.filters import FILTERS, Span, make_filters
from autoreel.film.layout import lay_out
from autoreel.film.pace import Pace
from autoreel.film.preflight import check_sources
from autoreel.film.renderer import render
from autoreel.film.storyboard import Storyboard
from autoreel.film.tones import LARGEST_3D, LEVELS, curve, read_cube
from autoreel.media.decode import read_clip
from autoreel.media.encode import VideoWriter

SPAN = Span(50, (48, 64), 1, Fraction(25))


def _picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))


def _array(picture: Image.Image) -> NDArray[np.int64]:
    return np.asarray(picture).astype(np.int64)


def _video(path: Path, color: tuple[int, int, int], num_frames: int = 30) -> str:
    with VideoWriter(path, (48, 64), Fraction(25), quality="best") as writer:
        writer.write(np.broadcast_to(np.array(color, np.uint8), (num_frames, 48, 64, 3)).copy())
    return str(path)


def test_every_effect_has_a_filter() -> None:
    assert set(fx.EFFECTS) == set(FILTERS)


def test_a_curve_goes_through_its_points_and_never_back() -> None:
    points = [(0.0, 0.1), (0.25, 0.15), (0.5, 0.7), (1.0, 0.9)]
    values = curve(points)
    for x, y in points:
        assert values[round(x * 255)] == pytest.approx(y, abs=0.01)
    assert np.diff(values).min() >= -1e-9 and values.max() <= 0.9 + 1e-9
    np.testing.assert_allclose(curve([(0.0, 0.0), (1.0, 1.0)]), LEVELS, atol=1e-9)
    np.testing.assert_allclose(curve([]), LEVELS)
    assert curve([(0.3, 0.5)]).tolist() == [0.5] * 256


def test_curves_change_the_channel_they_name() -> None:
    apply = make_filters((fx.CurvesEffect(red=((0.0, 0.0), (1.0, 0.5))),), SPAN)
    before, after = _array(_picture()), _array(apply(_picture(), 0))
    np.testing.assert_allclose(after[..., 0], before[..., 0] / 2, atol=1)
    np.testing.assert_array_equal(after[..., 1:], before[..., 1:])
    np.testing.assert_array_equal(_array(make_filters((fx.CurvesEffect(),), SPAN)(_picture(), 0)), before)


def test_balance_moves_dark_and_bright_tones_apart() -> None:
    ramp = Image.fromarray(np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (4, 256, 3)).copy())
    apply = make_filters((fx.BalanceEffect(shadows=(0.4, 0.0, 0.0), highlights=(0.0, 0.0, -0.4)),), SPAN)
    change = (_array(apply(ramp, 0)) - _array(ramp))[0]
    assert change[10, 0] > 35 and abs(change[250, 0]) < 4
    assert change[250, 2] < -35 and abs(change[10, 2]) < 4
    assert not change[:, 1].any()


@pytest.mark.parametrize("kind", ["3D", "1D"])
def test_a_table_of_colors(tmp_path: Path, kind: str) -> None:
    """Red and blue exchanged (3D), or everything inverted (1D)."""
    path, size = tmp_path / "look.cube", 5
    steps = np.linspace(0, 1, size)
    rows = [(b, g, r) for b in steps for g in steps for r in steps] if kind == "3D" else [(1 - v,) * 3 for v in steps]
    body = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in rows)
    path.write_text(f'# made by hand\nTITLE "x"\nLUT_{kind}_SIZE {size}\nDOMAIN_MIN 0 0 0\n{body}\n')
    before, after = _array(_picture()), _array(make_filters((fx.LutEffect(file=str(path)),), SPAN)(_picture(), 0))
    np.testing.assert_allclose(after, before[..., ::-1] if kind == "3D" else 255 - before, atol=2)
    half = _array(make_filters((fx.LutEffect(file=str(path), strength=0.5),), SPAN)(_picture(), 0))
    np.testing.assert_allclose(half, (before + after) / 2, atol=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [("LUT_3D_SIZE 2\n0 0 0\n", "of size 2 has 8 lines of three numbers, this one has 1"), ("hello there", "of size 0"),
     ("LUT_3D_SIZE 2\n0 zero 0\n", "line 2 is '0 zero 0'"), ("LUT_3D_SIZE 9000\n", "of size 9000"),
     ("LUT_3D_SIZE 2\n0 0\n", "line 2 is '0 0'"), ("LUT_3D_SIZE 2\n" + "0 " * 99, "line 2 is '0 0 0"),
     (f"LUT_3D_SIZE {10**4000}\n", "is of size 100000000, and"), (f"LUT_3D_SIZE -{10**4000}\n", "is of size -"),
     ("LUT_1D_SIZE 2\nDOMAIN_MAX 2 2 2\n0 0 0\n1 1 1\n", "its domain"),
     ("LUT_1D_SIZE 2\n0 0 nan\n1 1 1\n", "its numbers")],
)  # fmt: skip
def test_what_is_no_table_is_told_before_rendering(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.cube"
    path.write_text(text)
    with pytest.raises(MediaError, match=message):
        read_cube(path)
    board = Storyboard.model_validate(
        {"shots": [{"verb": "card", "length_s": 1, "effects": [{"name": "lut", "file": str(path)}]}]}
    )
    with pytest.raises(ConfigError, match="shot 1: effect 'lut'"):
        check_sources(board, None, "film.toml")


def test_a_table_of_colors_is_read_no_further_than_any_goes(tmp_path: Path) -> None:
    path = tmp_path / "long.cube"
    path.write_text("0 0 0\n" * (LARGEST_3D**3 + 1) + "LUT_3D_SIZE 65\nno such line")
    tracemalloc.start()
    try:
        with pytest.raises(MediaError, match=r"more lines of three numbers than .* of size 65"):
            read_cube(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def _pace(num_frames: int, *effects: dict[str, Any]) -> Pace:
    board = Storyboard.model_validate({
        "canvas": {"rate": 10}, "shots": [{"verb": "card", "length_s": num_frames / 10, "effects": list(effects)}],
    })  # fmt: skip
    return Pace.of(lay_out(board).placed[0], Fraction(10), Fraction(10))


def test_effects_on_time() -> None:
    def shown(pace: Pace) -> list[int]:
        return [int(pace.place(frame)) for frame in range(pace.num_frames)]

    assert shown(_pace(5, {"name": "speed", "factor": 0.5})) == [0, 0, 1, 1, 2]
    assert shown(_pace(8, {"name": "freeze", "at_s": 0.2, "length_s": 0.3})) == [0, 1, 2, 2, 2, 2, 3, 4]
    ramp = _pace(11, {"name": "ramp", "start": 1, "end": 3})
    assert ramp.num_source == 21 and np.diff(shown(ramp))[[0, -1]].tolist() == [1, 3]
    both = _pace(10, {"name": "speed", "factor": 2}, {"name": "freeze", "at_s": 0.4, "length_s": 0.4})
    assert shown(both) == [0, 2, 4, 4, 4, 6, 8, 10, 12, 14]
    assert _pace(5).speed == 1 and ramp.speed is None


def test_smooth_shows_both_neighbours(tmp_path: Path, striped_run: Any) -> None:
    """Slowed down five times, single steps become small ones."""
    steps = {}
    for name in ("speed", "smooth"):
        effects = [{"name": "speed", "factor": 0.2}, *([{"name": "smooth"}] if name == "smooth" else [])]
        board = Storyboard.model_validate({
            "run": "/run", "canvas": {"width": 64, "height": 64, "rate": 25},
            "shots": [{"length_s": 1.0, "label": "red", "effects": effects}],
        })  # fmt: skip
        frames = read_clip(render(board, striped_run, tmp_path / f"{name}.mp4").path).frames.astype(float)
        steps[name] = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).max()
    assert steps["smooth"] < 0.5 * steps["speed"]


@pytest.mark.parametrize("name", ["inset", "split"])
def test_another_clip_is_seen_beside_the_shot(tmp_path: Path, name: str) -> None:
    blue = _video(tmp_path / "blue.mp4", (10, 10, 240))
    settings = {"place": "upper-left", "size": 0.4} if name == "inset" else {"side": "left", "share": 0.4}
    board = Storyboard.model_validate({
        "canvas": {"width": 64, "height": 48, "rate": 25},
        "shots": [{"verb": "card", "color": "#c01010", "length_s": 1.6,
                   "effects": [{"name": name, "file": blue, **settings}]}],
    })  # fmt: skip
    frames = read_clip(render(board, None, tmp_path / "film.mp4").path).frames.astype(int)
    assert len(frames) == 40, "the other clip ends before, and its last picture stays"
    for frame in (frames[0], frames[-1]):
        assert frame[12, 12].argmax() == 2 and frame[40, 55].argmax() == 0
        assert (frame[40, 12].argmax() == 2) == (name == "split")


def test_a_missing_clip_is_told(tmp_path: Path) -> None:
    board = Storyboard.model_validate({
        "shots": [{"verb": "card", "length_s": 1, "effects": [{"name": "inset", "file": "/no/clip.mp4"}]}]
    })  # fmt: skip
    with pytest.raises(ConfigError, match=r"shot 1: effect 'inset': 'file' is '/no/clip.mp4': no such file"):
        check_sources(board, None, "film.toml")
