"""`--upscale learned`: used where a model's pictures are enlarged, recorded, and refused where nothing was learned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoreel.cli import main
from autoreel.clip import Frames
from autoreel.config import Config
from autoreel.errors import RunError, UsageError
from autoreel.film.commission import Commission, carry_out
from autoreel.film.delivery import Delivery
from autoreel.film.make import make_film
from autoreel.film.renderer import FilmResult, render
from autoreel.film.storyboard import Storyboard
from autoreel.media.decode import read_clip
from autoreel.runs import RunFolder


class Learned:
    """Makes everything white, so that it is seen where it was used."""

    def __init__(self, run: Any) -> None:
        self._run, self.num_frames = run, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def enlarge_stream(self, frames: Iterable[Frames]) -> Iterator[Frames]:
        return map(self._enlarged, frames)

    def _enlarged(self, chunk: Frames) -> Frames:
        self.num_frames += len(chunk)
        return np.full((len(chunk), 2 * chunk.shape[1], 2 * chunk.shape[2], 3), 255, np.uint8)


def board(folder: Path, side: int = 64, **canvas: Any) -> Storyboard:
    shots = [
        {"length_s": 0.4, "label": "red", "seed": 1},
        {"verb": "card", "length_s": 0.4, "color": "#000000", "transition": {"kind": "cut"}},
        {"length_s": 0.4, "label": "red", "seed": 2, "transition": {"kind": "morph", "length_s": 0.4}},
    ]
    canvas = {"width": side, "height": side, "rate": 25, **canvas}
    return Storyboard.model_validate({"run": str(folder / "run"), "canvas": canvas, "shots": shots})


def brightness(made: FilmResult) -> Any:
    return read_clip(made.path).frames.astype(float).mean(axis=(1, 2, 3))


def test_a_models_pictures_are_enlarged_by_it_and_nothing_else(tmp_path: Path, striped_run: Any) -> None:
    run = Learned(striped_run)
    plain = render(board(tmp_path), run, tmp_path / "plain.mp4", watermark=False)
    assert run.num_frames == 0 and brightness(plain).max() < 200
    learned = render(board(tmp_path, upscale="learned"), run, tmp_path / "learned.mp4", watermark=False)
    seen = brightness(learned)
    assert (seen[:10] > 240).all() and (seen[-4:] > 240).all() and (seen[10:14] < 20).all()
    assert seen[19:21].min() > 200, "the way that the model paints"
    record = json.loads(learned.record.read_text(encoding="utf-8"))
    assert record["storyboard"]["canvas"]["upscale"] == "learned"
    again = render(board(tmp_path), run, tmp_path / "again.mp4", watermark=False, delivery=Delivery(upscale="learned"))
    assert np.array_equal(brightness(again), seen)
    assert "upscaler" in record and record["upscaler"] is None, "the run is no folder here"


def test_the_frames_that_are_kept_are_those_of_both_ways(tmp_path: Path, striped_run: Any) -> None:
    folder = RunFolder.create(tmp_path / "run", Config())
    (folder.root / "codec.safetensors").write_bytes(b"")
    record = {"sha256": "0" * 64}
    folder.update(weights={"codec.safetensors": record, "upscale.safetensors": {"sha256": "1" * 64}})
    run, out = Learned(striped_run), tmp_path / "film.mp4"
    first = render(board(tmp_path), run, out, watermark=False)
    second = render(board(tmp_path), run, out, watermark=False, delivery=Delivery(upscale="learned"))
    assert (first.num_made, second.num_made) == (3, 1), "the way: its ends look otherwise"
    assert json.loads(second.record.read_text(encoding="utf-8"))["upscaler"] == "1" * 64
    folder.update(weights={"codec.safetensors": record, "upscale.safetensors": {"sha256": "2" * 64}})
    lines: list[str] = []
    third = render(second.record, run, out, watermark=False, report=lines.append)
    assert third.num_made == 1
    assert any("what enlarges its shots was trained on" in line for line in lines), lines


def test_what_runs_backwards_is_held_as_it_was_made(
    tmp_path: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = 10 * 32 * 32 * 3  # not the enlarged frames
    monkeypatch.setattr("autoreel.film.sources.MAX_REVERSED_BYTES", held)
    monkeypatch.setattr("autoreel.film.needs.MAX_REVERSED_BYTES", held)
    shots = [{"length_s": 0.4, "label": "red", "effects": [{"name": "reverse"}]}]
    canvas = {"width": 64, "height": 64, "upscale": "learned"}
    backwards = Storyboard.model_validate({"run": str(tmp_path / "run"), "canvas": canvas, "shots": shots})
    run = Learned(striped_run)
    made = render(backwards, run, tmp_path / "film.mp4", watermark=False)
    assert run.num_frames == 10 and brightness(made).min() > 240


def test_nothing_is_enlarged_where_the_canvas_is_not_larger(tmp_path: Path, striped_run: Any) -> None:
    run = Learned(striped_run)
    render(board(tmp_path, side=32, upscale="learned"), run, tmp_path / "film.mp4", watermark=False)
    assert run.num_frames == 0


def test_a_run_that_has_not_learned_it_is_told_before_anything_is_made(tmp_path: Path, striped_run: Any) -> None:
    class Unlearned(Learned):
        def enlarge_stream(self, frames: Iterable[Frames]) -> Iterator[Frames]:
            raise RunError("not learned")

    run = Unlearned(striped_run)
    with pytest.raises(RunError, match="not learned"):
        render(board(tmp_path, upscale="learned"), run, tmp_path / "film.mp4")
    with pytest.raises(RunError, match="not learned"):
        make_film(run, tmp_path / "run", tmp_path / "film.mp4", length_s=2, upscale="learned")
    assert not striped_run.asked and not list(tmp_path.iterdir())
    commission = Commission(sources=(tmp_path,), out=tmp_path / "film.mp4", upscale="learned")
    with pytest.raises(UsageError, match="make the film without it first"):
        carry_out(commission)


def test_the_storyboard_of_a_film_says_it(tmp_path: Path, striped_run: Any) -> None:
    run = Learned(striped_run)
    made = make_film(run, tmp_path / "run", tmp_path / "film.mp4", length_s=1, upscale="learned")
    assert 'upscale = "learned"' in made.storyboard.read_text(encoding="utf-8") and run.num_frames > 0


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["train", "--run", "r", "--stage", "upscale"], "--stage upscale and --large go together"),
        (["train", "--run", "r", "--stage", "codec", "--large", "x"], "--stage upscale and --large go together"),
        (["prepare", ".", "-o", "s", "--size", "256"], "size '256' is not understood; write width x height"),
        (["prepare", ".", "-o", "s", "--size", "100x64"], "'width' is 100"),
    ],
)
def test_commands_say_what_is_wrong(tokens: list[str], message: str, tmp_path: Path, capsys: Any,
                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"")
    assert main(tokens) != 0
    assert message in capsys.readouterr().err
