"""From a run to a film: previews and parts of a film that is not there yet, the mark, a film that was stopped."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.film.delivery import Delivery
from autoreel.film.make import make_film
from autoreel.film.renderer import render
from autoreel.media.decode import read_clip


def test_a_preview_of_a_part_before_the_film(tmp_path: Path, striped_run: Any, run_folder: Path) -> None:
    film, look = tmp_path / "film.mp4", tmp_path / "film.preview.mp4"
    how = Delivery(preview=True, from_s=1.0, to_s=2.0, shots_of=film)
    made = make_film(striped_run, run_folder, film, length_s=6, delivery=how, rendered=look)
    assert made.result.path == look and made.result.num_frames == 25 and made.storyboard == tmp_path / "film.toml"
    assert not film.exists() and not (tmp_path / "film.json").exists()
    assert json.loads((tmp_path / "film.preview.json").read_text())["part_s"] == [1.0, 2.0]
    whole = make_film(striped_run, run_folder, film, length_s=6)
    assert whole.result.path == film and whole.result.num_frames == 150


def test_the_mark_is_asked_for_or_not_and_stays_so(tmp_path: Path, striped_run: Any, run_folder: Path) -> None:
    seen = {}
    for name, watermark in (("marked", True), ("bare", False)):
        film = tmp_path / f"{name}.mp4"
        make_film(striped_run, run_folder, film, length_s=3, watermark=watermark)
        again = render(film.with_suffix(".json"), striped_run, tmp_path / f"{name}-again.mp4")
        records = [json.loads(path.read_text()) for path in (film.with_suffix(".json"), again.record)]
        assert [record["watermark"] is not None for record in records] == [watermark, watermark]
        assert film.read_bytes() == again.path.read_bytes()
        seen[name] = read_clip(film).frames.astype(int)
    change = np.abs(seen["marked"] - seen["bare"]).mean()
    assert 0.2 < change < 4


@pytest.mark.parametrize("stopped_at", [1, 2])
def test_a_film_that_was_stopped_while_sketching_goes_on(
    tmp_path: Path, striped_run: Any, run_folder: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    """Takes over several chapters; whatever was done before the stop, the film is the same in the end."""
    monkeypatch.setattr("autoreel.film.takes.CHAPTER", 2)
    wanted = make_film(striped_run, run_folder, tmp_path / "whole.mp4", length_s=12, seed=5)
    batches = 0

    class Stopping(type(striped_run)):  # type: ignore[misc]
        def generate_latents(
            self, labels: Sequence[str | None], num_frames: int, seeds: Sequence[int]
        ) -> list[NDArray[np.float32]]:
            nonlocal batches
            batches += 1
            if batches == stopped_at:
                raise KeyboardInterrupt
            return super().generate_latents(labels, num_frames, seeds)  # type: ignore[no-any-return]

    film = tmp_path / "film.mp4"
    with pytest.raises(KeyboardInterrupt):
        make_film(Stopping(), run_folder, film, length_s=12, seed=5)
    assert sorted(path.name for path in tmp_path.glob("film*")) == []
    made = make_film(striped_run, run_folder, film, length_s=12, seed=5)
    assert made.result.path.read_bytes() == wanted.result.path.read_bytes()
