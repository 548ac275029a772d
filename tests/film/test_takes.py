"""Takes: sketched for every new shot, chosen by motion and likeness, painted without being made again."""

import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.clip import Frames
from autoreel.film import batches
from autoreel.film.document import load_storyboard
from autoreel.film.layout import lay_out
from autoreel.film.make import make_film
from autoreel.film.renderer import render
from autoreel.film.storyboard import Canvas, Storyboard
from autoreel.film.takes import TAKES_PER_SHOT, choose_takes, sketched, workers
from autoreel.generation.rollout import Halted, check_halted

QUIET, LOUD = 0.0, 1.0


def _board(lengths: list[float], labels: tuple[str | None, ...] = (None,)) -> Storyboard:
    return Storyboard.model_validate({
        "run": "/run", "canvas": {"width": 64, "height": 64, "rate": 25},
        "shots": [{"length_s": length, "label": labels[i % len(labels)]} for i, length in enumerate(lengths)],
    })  # fmt: skip


def test_every_shot_gets_a_take_of_its_label_and_none_is_used_twice(striped_run: Any) -> None:
    board = _board([1.0, 1.2, 1.5, 0.5, 1.0, 1.6], ("red", "green", None))  # short: none stands still for long
    chosen, takes = choose_takes(board, lay_out(board), striped_run, [0.5] * 6)
    assert striped_run.sketched == 6 * TAKES_PER_SHOT
    assert [shot.label for shot in chosen.shots] == [shot.label for shot in board.shots]
    seeds = [shot.seed for shot in chosen.shots]
    assert None not in seeds and len(set(seeds)) == len(seeds)
    assert set(takes) == {(shot.label, shot.seed) for shot in chosen.shots}
    assert chosen == choose_takes(board, lay_out(board), striped_run, [0.5] * 6)[0]


def test_a_long_shot_that_stands_still_gets_more_and_longer_takes(striped_run: Any) -> None:
    """Half of every take stands still: of 6 s that is long, and a longer take has less of it where it moves."""
    board = _board([6.0])
    chosen, _ = choose_takes(board, lay_out(board), striped_run, [LOUD])
    assert striped_run.sketched > TAKES_PER_SHOT
    assert (chosen.shots[0].in_s or 0) > 1.5


def test_what_is_being_sketched_ends_with_the_block(striped_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C reaches the first thread only; the others would go on to the end of their batch."""
    begun = threading.Event()

    def endless(*_: Any) -> list[Any]:
        begun.set()
        while True:
            check_halted()
            time.sleep(0.001)  # the others get their turn, on a single core too

    monkeypatch.setattr(striped_run, "generate_latents", endless)
    with pytest.raises(KeyboardInterrupt), workers(striped_run) as pool:
        waiting = pool.submit(sketched, striped_run, [(None, 0, 9)])
        begun.wait()
        raise KeyboardInterrupt
    assert isinstance(waiting.exception(), Halted)
    begun.clear()
    stop = threading.Event()
    with workers(striped_run, stop) as pool:
        waiting = pool.submit(sketched, striped_run, [(None, 0, 9)])
        begun.wait()
        stop.set()
        assert isinstance(waiting.exception(), Halted)


def test_takes_that_stand_still_are_left_out_and_loud_music_gets_more_motion(striped_run: Any) -> None:
    board = _board([1.0] * 12)
    energy = [LOUD, QUIET] * 6
    chosen, _ = choose_takes(board, lay_out(board), striped_run, energy, seed=3)
    motion = np.array([(shot.seed or 0) % 10 for shot in chosen.shots])
    assert motion.min() >= 2
    assert motion[::2].mean() > motion[1::2].mean() + 0.5


def test_a_dull_beginning_is_left_out(striped_run: Any) -> None:
    """The takes of the fixture move from their middle on."""
    board = _board([4.0, 1.0, 1.0])
    chosen, _ = choose_takes(board, lay_out(board), striped_run, [0.5] * 3)
    assert all(shot.in_s is None or shot.in_s * 25 % 4 == 0 for shot in chosen.shots)
    assert any(shot.in_s for shot in chosen.shots[1:])


def test_a_film_with_nothing_new_needs_no_takes(striped_run: Any) -> None:
    board = Storyboard.model_validate({"shots": [{"verb": "card", "length_s": 1.0}]})
    chosen, takes = choose_takes(board, lay_out(board), striped_run, [0.5])
    assert chosen == board and not takes and not striped_run.sketched


def test_chosen_takes_are_painted_and_not_made_again(tmp_path: Path, striped_run: Any, run_folder: Path) -> None:
    made = make_film(striped_run, run_folder, tmp_path / "film.mp4", length_s=8)
    num_shots = len(load_storyboard(made.storyboard).shots)
    assert striped_run.painted == num_shots and striped_run.sketched >= TAKES_PER_SHOT * num_shots
    striped_run.asked.clear()
    again = render(made.storyboard, striped_run, tmp_path / "again.mp4")
    assert striped_run.asked, "the storyboard alone says all that is needed"
    assert made.result.path.read_bytes() == again.path.read_bytes()


def _rounding(run: Any) -> Any:
    """The run, its takes a shade brighter in wider batches, as matrix products of other shapes round otherwise."""

    class RoundingRun(type(run)):  # type: ignore[misc]
        def generate_latents(
            self, labels: Sequence[str | None], num_frames: int, seeds: Sequence[int]
        ) -> list[NDArray[np.float32]]:
            made = super().generate_latents(labels, num_frames, seeds)
            width = len(labels) * (1 + any(label is not None for label in labels))  # guidance makes each twice
            return [np.concatenate([one[:, :6], one[:, 6:7] * 0 + width, one[:, 7:]], axis=1) for one in made]

        def decode(self, latents: NDArray[np.float32], num_frames: int | None = None) -> Frames:
            return np.asarray(super().decode(latents, num_frames) + np.uint8(latents[0, 6, 0, 0]), np.uint8)

    return RoundingRun()


def test_a_take_is_the_same_whatever_is_made_beside_it(
    tmp_path: Path, striped_run: Any, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two chapters of takes in the first rendering, one by one in the second, three at a time in the third."""
    run = _rounding(striped_run)
    monkeypatch.setattr("autoreel.film.takes.CHAPTER", 3)
    made = make_film(run, run_folder, tmp_path / "film.mp4", length_s=20, title="Takes")
    assert len(load_storyboard(made.storyboard).shots) > 3 and run.sketched > 3 * TAKES_PER_SHOT
    for chapter in (1, 3):
        monkeypatch.setattr(batches, "CHAPTER", chapter)
        again = render(made.storyboard, run, tmp_path / f"again-{chapter}.mp4")
        assert made.result.path.read_bytes() == again.path.read_bytes()


def test_dull_shots_are_given_more_takes(striped_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    board, told = _board([1.0, 2.0]), list[str]()
    monkeypatch.setattr("autoreel.film.takes.DULL", 2.0)  # everything is dull
    chosen, _ = choose_takes(board, lay_out(board), striped_run, [0.5] * 2, report=told.append)
    assert striped_run.sketched == 3 * 2 * TAKES_PER_SHOT
    assert told[-1] == f"takes: {striped_run.sketched} of {striped_run.sketched} sketched"
    assert len({shot.seed for shot in chosen.shots}) == 2


def test_two_shots_of_one_take(tmp_path: Path, striped_run: Any) -> None:
    """The longer one decides how long it is made."""
    wanted = [batches.Wanted(number, "red", 7, count) for number, count in enumerate((9, 30, 12))]
    made = dict(batches.make_shots(striped_run, wanted))
    assert [len(made[number]) for number in range(3)] == [9, 30, 12] and striped_run.sketched == 1


def test_in_s_of_new_footage_leaves_out_what_comes_before(tmp_path: Path, striped_run: Any) -> None:
    board = Storyboard(
        run="/run", canvas=Canvas(width=32, height=32, rate=Fraction(25)),
        shots=Storyboard.model_validate({"run": "/r", "shots": [{"length_s": 1.0, "in_s": 0.4}]}).shots,
    )  # fmt: skip
    result = render(board, striped_run, tmp_path / "film.mp4")
    assert result.num_frames == 25
    assert striped_run.asked == [("generate", None, 35, 0)]
