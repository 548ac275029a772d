"""The timeline: shots add up to the film to the frame, whatever the transitions."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoreel.errors import ConfigError
from autoreel.film.layout import lay_out
from autoreel.film.storyboard import Canvas, Shot, Storyboard, Transition

RATES = [Fraction(25), Fraction(30000, 1001), Fraction(12), Fraction("23.976")]


def _board(shots: list[Shot], rate: Fraction = Fraction(25), tempo_bpm: float | None = None) -> Storyboard:
    return Storyboard(canvas=Canvas(rate=rate), shots=tuple(shots), tempo_bpm=tempo_bpm)


def _card(length_s: float, transition: Transition | None = None) -> Shot:
    return Shot(verb="card", length_s=length_s, transition=transition)


def test_a_crossfade_is_centred_on_the_cut() -> None:
    layout = lay_out(_board([_card(2), _card(2, Transition(kind="fade", length_s=0.6))]))
    first, second = layout.placed
    assert layout.num_frames == 100
    assert (first.start, first.num_frames, first.post) == (0, 58, 8)  # 15 frames: 7 before the cut, 8 after
    assert (second.start, second.num_frames, second.pre) == (43, 57, 7)


def test_a_dip_and_a_cut_need_no_more_frames_than_are_seen() -> None:
    shots = [_card(2), _card(2, Transition(kind="dip", length_s=0.6)), _card(1, Transition(kind="cut"))]
    layout = lay_out(_board(shots))
    assert [placed.num_frames for placed in layout.placed] == [50, 50, 25]
    assert [placed.into_frames for placed in layout.placed] == [0, 15, 0]


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.floats(1.0, 30.0).map(lambda x: round(x, 4)), min_size=1, max_size=12),
    spans=st.lists(st.floats(0.0, 0.9), min_size=12, max_size=12),
    kinds=st.lists(st.sampled_from(["cut", "fade", "dip", "wipe-left"]), min_size=12, max_size=12),
    rate=st.sampled_from(RATES),
)
def test_lengths_add_up_to_the_frame(
    lengths: list[float], spans: list[float], kinds: list[str], rate: Fraction
) -> None:
    shots = [
        _card(length, Transition.model_validate({"kind": kinds[i], "length_s": round(spans[i], 3)}) if i else None)
        for i, length in enumerate(lengths)
    ]
    layout = lay_out(_board(shots, rate))
    assert layout.num_frames == round(sum((Fraction(str(x)) for x in lengths), Fraction(0)) * rate)
    assert sum(placed.body for placed in layout.placed) == layout.num_frames
    for before, after in zip(layout.placed, layout.placed[1:], strict=False):
        assert before.first + before.body == after.first
        assert before.start + before.num_frames - after.start == (after.into_frames if after.pre or before.post else 0)


def test_beats_of_the_music_end_shots() -> None:
    beats = [0.5 * i + 0.1 for i in range(40)]
    layout = lay_out(_board([Shot(verb="card", beats=4), Shot(verb="card", beats=4), _card(1.0)]), beats)
    assert [placed.first for placed in layout.placed] == [0, round(1.6 * 25), round(3.6 * 25)]


def test_a_tempo_counts_evenly() -> None:
    layout = lay_out(_board([Shot(verb="card", beats=3), _card(1.0)], tempo_bpm=90.0))
    assert layout.placed[1].first == 50


@pytest.mark.parametrize(
    ("shots", "words"),
    [
        ([_card(0.01)], "shorter than one frame"),
        ([_card(0.2), _card(3, Transition(length_s=1.0))], "too short for the transition into shot 2"),
        ([_card(3), _card(0.5, Transition(length_s=0.6)), _card(3, Transition(length_s=0.6))], "into shot 2 and"),
        ([Shot(verb="card", beats=90)], "reach past the music's last beat"),
    ],
)
def test_what_cannot_be_laid_out_is_said(shots: list[Shot], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lay_out(_board(shots), [0.5, 1.0])
