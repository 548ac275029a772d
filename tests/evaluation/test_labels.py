"""A classifier of labels learns what can be told of persons it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.footage import LABELS, moving_disc

from autoreel.clip import Frames
from autoreel.evaluation import labels as labels_module
from autoreel.evaluation.distances import TooFewError
from autoreel.evaluation.encoder import Encoder
from autoreel.evaluation.labels import Describer, energy, grouped_error, learn_labels


def people(first: int, count: int, num_frames: int = 32) -> tuple[Frames, np.ndarray, list[str]]:
    pairs = [(label, person) for person in range(first, first + count) for label in range(len(LABELS))]
    clips = np.stack([moving_disc(LABELS[label], person, num_frames) for label, person in pairs])
    return clips, np.array([label for label, _ in pairs]), [f"person{person}" for _, person in pairs]


def test_labels_are_told_of_other_persons() -> None:
    encoder = Encoder().eval()  # one that has learned nothing: movement is enough here
    judge = learn_labels(encoder, *people(0, 6))
    assert judge.cross_validated > 0.8 and judge.num_labels == 2
    clips, labels, _ = people(50, 6)
    assert (judge.judge(encoder, clips) == labels).mean() > 0.8
    assert (judge.judge(encoder, clips[:, :20]) == labels).mean() > 0.6  # of one window


def test_what_is_told_by_movement_is_not_told_by_clothes() -> None:
    """In training everybody who goes down wears red, and everybody else does afterwards."""
    encoder = Encoder().eval()
    clips, labels, groups = people(0, 6)
    judge = learn_labels(encoder, red(clips, labels == 1), labels, groups)
    assert judge.describer == Describer(appearance=False, moving=True)
    clips, labels, _ = people(50, 6)
    assert (judge.judge(encoder, red(clips, labels == 0)) == labels).mean() > 0.8


def red(clips: Frames, which: np.ndarray) -> Frames:
    dressed = clips.copy()
    dressed[which, ..., 0] = 255
    return dressed


def test_windows_of_one_person_are_not_many_persons() -> None:
    right = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    alone = grouped_error(right, np.arange(8))
    assert alone == pytest.approx(right.std(ddof=1) / np.sqrt(8))
    assert grouped_error(np.repeat(right, 30), np.repeat(np.arange(8), 30)) == pytest.approx(alone)
    some = np.concatenate([right, [np.nan, np.nan]])
    assert grouped_error(some, np.arange(10)) == pytest.approx(alone), "what was not tested does not count"


def test_of_one_group_nothing_is_left_out_and_the_plainest_is_taken() -> None:
    clips, labels, _ = people(0, 2)
    judge = learn_labels(Encoder().eval(), clips, labels, ["all"] * len(clips))
    assert judge.cross_validated == 0 and judge.describer != Describer(True, True)


def test_many_windows_do_not_make_a_chance_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The larger classifier tells one person of six more than the plain one, in every window: that may be chance."""
    groups = [f"person{person}" for person in range(6) for _ in range(40)]
    expected = np.tile([0, 1], 120)

    def found(points: np.ndarray, *rest: object) -> np.ndarray:
        return np.repeat([1.0, 1.0, 1.0, 0.0, 0.0, 1.0 if points.shape[1] == 5 else 0.0], 40)

    monkeypatch.setattr(labels_module, "_cross_validated", found)
    monkeypatch.setattr(labels_module, "describe", lambda e, clips, what: np.zeros((240, 3 if what.moving else 2)))
    judge = learn_labels(Encoder(), np.zeros((240, 16, 8, 8, 3), np.uint8), expected, groups)
    assert judge.describer == Describer(True, False) and judge.cross_validated == 0.5


def test_energy_by_hand() -> None:
    window = np.zeros((1, 3, 16, 16, 3), np.uint8)
    window[0, 1, :2, :2] = 100  # the first place of the grid, there and back
    found = energy(window)
    assert found.shape == (1, 65) and found[0, 0] == pytest.approx(1.0) and found[0, 1:64].max() == 0
    assert found[0, 64] == pytest.approx(np.log1p(100 / 64))


def test_too_few_are_refused() -> None:
    clips, labels, groups = people(0, 2)
    with pytest.raises(TooFewError, match="label accuracy"):
        learn_labels(Encoder().eval(), clips[:3], labels[:3], groups[:3])
    with pytest.raises(TooFewError, match="label accuracy"):
        learn_labels(Encoder().eval(), clips[::2], labels[::2], groups[::2])
