"""The director: exact length, cuts on beats, every label, no seed twice, transitions with restraint."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from autoreel.errors import UsageError
from autoreel.film.beats import Beats, even_beats
from autoreel.film.director import direct
from autoreel.film.kinds import Kind, load_kind
from autoreel.film.layout import lay_out
from autoreel.film.storyboard import Canvas, Storyboard

RUN, SONG = Path("/run"), Path("/song.mp3")


def _beats(tempo_bpm: float = 105.0, length_s: float = 120.0, downbeat: int = 2) -> Beats:
    times = np.arange(0.31, length_s, 60.0 / tempo_bpm)
    return Beats(times, tempo_bpm, downbeat, np.clip(0.5 + 0.5 * np.sin(times / 8), 0, 1), 0.5)


def _direct(length_s: float = 60.0, *, beats: Beats | None = None, labels: tuple[str, ...] = (),
            rate: Fraction = Fraction(25), title: str | None = None, seed: int = 0) -> Storyboard:  # fmt: skip
    return direct(length_s=length_s, canvas=Canvas(rate=rate), beats=beats or _beats(), run=RUN, labels=labels,
                  music=SONG, title=title, seed=seed)  # fmt: skip


@pytest.mark.parametrize("length_s", [0.5, 1.0, 3.0, 7.7, 20.0, 59.99, 60.0, 61.3, 600.0])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(12)])
@pytest.mark.parametrize("title", [None, "A film"])
def test_the_length_is_met_to_the_frame(length_s: float, rate: Fraction, title: str | None) -> None:
    board = _direct(length_s, rate=rate, title=title, seed=3)
    assert lay_out(board).num_frames == round(Fraction(str(length_s)) * rate)


def test_cuts_lie_on_beats_and_mostly_on_bars() -> None:
    beats = _beats()
    layout = lay_out(_direct(beats=beats))
    cuts_s = np.array([float(placed.first / layout.rate) for placed in layout.placed[1:]])
    assert np.abs(cuts_s[:, None] - beats.times_s).min(axis=1).max() <= 0.021  # half a frame
    on_bars = np.abs(cuts_s[:, None] - beats.bars_s).min(axis=1) <= 0.021
    assert on_bars.mean() > 0.6


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tempo_bpm", [62.0, 105.0, 178.0])
def test_shots_are_two_to_six_seconds(seed: int, tempo_bpm: float) -> None:
    lengths = [shot.length_s or 0 for shot in _direct(beats=_beats(tempo_bpm), seed=seed).shots]
    assert min(lengths) >= 1.9 and max(lengths) <= 6.1
    assert 10 <= len(lengths) <= 25


@pytest.mark.parametrize("title", [None, "A film"])
def test_every_label_appears_and_none_twice_in_a_row(title: str | None) -> None:
    labels = ("bend", "jump", "run", "wave", "walk")
    shots = _direct(labels=labels, title=title).shots
    kinds = [shot.label for shot in shots][1 if title else 0 :]
    assert set(kinds) == set(labels)
    assert all(a != b for a, b in pairwise(kinds))
    counts = [kinds.count(label) for label in labels]
    assert max(counts) - min(counts) <= 1


def test_more_shots_than_a_storyboard_can_have_are_said_before_anything_is_made() -> None:
    kind = Kind(shot_s=0.5, shots_from_s=0.3, shots_to_s=1.0)
    with pytest.raises(UsageError, match=r"in \d+ shots is not possible; a storyboard has at most 10000"):
        direct(length_s=4 * 3600, canvas=Canvas(), beats=even_beats(4 * 3600), run=RUN, kind=kind)


def test_many_labels_make_shots_shorter() -> None:
    labels = tuple(f"label {i}" for i in range(12))
    shots = _direct(30.0, labels=labels).shots
    assert {shot.label for shot in shots} == set(labels)


@pytest.mark.parametrize("name", ["plain", "romance", "ad"])
def test_the_shortest_shot_of_a_kind_counts_more_than_the_number_of_labels(name: str) -> None:
    kind = load_kind(name)
    labels = tuple(f"label {i}" for i in range(40))
    board = direct(length_s=60, canvas=Canvas(), beats=_beats(), run=RUN, labels=labels, kind=kind)
    lengths = sorted(shot.length_s or 0 for shot in board.shots)
    assert lengths[len(lengths) // 10] >= kind.shots_from_s * 0.9
    assert 60 / len(lengths) < kind.shot_s * 0.9, "shorter than usual all the same"


def test_no_dip_leads_into_the_last_shot() -> None:
    """The music turns from quiet to loud and back all the time; with the usual rule every cut could be a dip."""
    times = np.arange(0.0, 40.0, 0.5)
    beats = Beats(times, 120.0, 0, (np.arange(len(times)) // 4 % 2).astype(float), 0.5)
    kind = Kind(dip_every_s=0.1)
    found = 0
    for seed in range(6):
        shots = direct(length_s=40, canvas=Canvas(), beats=beats, run=RUN, seed=seed, kind=kind).shots
        kinds = [shot.transition.kind if shot.transition else "cut" for shot in shots]
        assert kinds[-1] != "dip"
        found += kinds.count("dip")
    assert found > 6


def test_seeds_differ_and_the_same_seed_gives_the_same_film() -> None:
    first, again, other = _direct(seed=1), _direct(seed=1), _direct(seed=2)
    seeds = [shot.seed for shot in first.shots]
    assert len(set(seeds)) == len(seeds)
    assert first == again
    assert [shot.seed for shot in other.shots] != seeds


@pytest.mark.parametrize("seed", range(8))
def test_transitions_vary_with_restraint(seed: int) -> None:
    kinds = [shot.transition.kind if shot.transition else "cut" for shot in _direct(120.0, seed=seed).shots]
    assert kinds[0] == "cut"
    assert 0.1 < 1 - kinds.count("cut") / len(kinds) < 0.75
    assert kinds.count("dip") <= 5
    assert set(kinds) <= {"cut", "fade", "dip"}


def test_a_title_card_opens_the_film() -> None:
    board = _direct(title="Signs of spring", labels=("a", "b"))
    (title,) = board.titles
    assert (board.shots[0].length_s or 0) <= 4.5
    assert title.start_s < 1 and title.start_s + title.length_s <= (board.shots[0].length_s or 0)
    assert {effect.name for effect in board.shots[0].effects} == {"blur", "color", "zoom"}
    assert not _direct(title=None).titles
    assert not _direct(5.0, title="Short").shots[0].effects  # no time for a card: over the first shot


def test_without_music_the_film_is_silent_and_its_pace_even() -> None:
    board = direct(length_s=60, canvas=Canvas(), beats=even_beats(60), run=RUN)
    assert board.music is None
    lengths = [shot.length_s or 0 for shot in board.shots]
    assert min(lengths) >= 1.9 and max(lengths) <= 6.1
    assert len(set(lengths)) > 2


@pytest.mark.parametrize("length_s", [0, -3, 0.01, 1e9, float("nan"), float("inf")])
def test_a_length_that_is_none(length_s: float) -> None:
    with pytest.raises(UsageError, match="give a length"):
        _direct(length_s)
