from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoreel.data.split import Footage, Piece, split

RATE = Fraction(25)


def clips(
    *counts: int, groups: Sequence[str | None] | None = None, labels: Sequence[str | None] | None = None
) -> list[Footage]:
    return [
        Footage(f"{i:064x}", groups[i] if groups else None, labels[i] if labels else None, ((0, count),))
        for i, count in enumerate(counts)
    ]


def divided(footage: list[Footage], has_groups: bool = False, share: float = 0.1) -> tuple[dict[str, set[str]], str]:
    pieces, how = split(footage, validation_share=share, test_share=share, rate=RATE, has_groups=has_groups)
    sides: dict[str, set[str]] = {"train": set(), "validation": set(), "test": set()}
    for piece in pieces:
        sides[piece.side].add(piece.key)
    return sides, how


def test_many_groups_stay_whole_and_every_side_has_one() -> None:
    groups = [f"person{i % 7}" for i in range(28)]
    footage = clips(*[60] * 28, groups=groups)
    sides, how = divided(footage, has_groups=True)
    group_of = {one.key: one.group for one in footage}
    of_side = [{group_of[key] for key in keys} for keys in sides.values()]
    assert [len(found) for found in of_side] == [5, 1, 1]
    assert not of_side[0] & of_side[1] and not of_side[0] & of_side[2] and not of_side[1] & of_side[2]
    assert "5 of 7 groups for training" in how


def test_few_groups_give_the_smallest_for_test_and_none_for_validation() -> None:
    sides, how = divided(clips(90, 40, 80, 70, groups=["a", "b", "c", "a"]), has_groups=True)
    assert sides["test"] == {f"{1:064x}"}
    assert not sides["validation"]
    assert "none for validation" in how


def test_few_files_give_the_smallest_for_test_and_the_ends_for_validation() -> None:
    pieces, _ = split(clips(400, 300, 900), validation_share=0.1, test_share=0.1, rate=RATE, has_groups=False)
    assert pieces == [
        Piece(f"{0:064x}", 0, 335, "train"),
        Piece(f"{0:064x}", 360, 40, "validation"),  # 25 frames of gap
        Piece(f"{1:064x}", 0, 300, "test"),
        Piece(f"{2:064x}", 0, 785, "train"),
        Piece(f"{2:064x}", 810, 90, "validation"),
    ]


def test_one_file_is_cut_in_time_with_gaps() -> None:
    pieces, how = split(clips(1000), validation_share=0.1, test_share=0.1, rate=RATE, has_groups=False)
    assert [(piece.start, piece.count, piece.side) for piece in pieces] == [
        (0, 750, "train"), (775, 100, "validation"), (900, 100, "test"),
    ]  # fmt: skip
    assert "by time" in how


def test_one_short_file_is_all_for_training_and_says_so() -> None:
    pieces, how = split(clips(60), validation_share=0.1, test_share=0.1, rate=RATE, has_groups=False)
    assert [(piece.count, piece.side) for piece in pieces] == [(60, "train")]
    assert "too short" in how


def test_one_person_in_many_files_is_divided_by_file() -> None:
    sides, how = divided(clips(*[60] * 8, groups=["a"] * 8), has_groups=True)
    assert all(sides.values())
    assert "files of the one group" in how


def test_a_label_with_one_file_stays_in_training() -> None:
    labels = ["rare"] + ["common"] * 9
    for shift in range(10):
        footage = clips(*[60] * 10, labels=labels[shift:] + labels[:shift])
        sides, _ = divided(footage)
        rare = next(one.key for one in footage if one.label == "rare")
        assert rare in sides["train"]


def test_one_file_for_each_label_is_cut_in_time() -> None:
    sides, how = divided(clips(400, 500, 600, labels=["a", "b", "c"]))
    assert len(sides["train"]) == len(sides["test"]) == len(sides["validation"]) == 3
    assert "by time" in how


def test_few_files_never_lose_the_only_one_of_a_label() -> None:
    sides, _ = divided(clips(300, 400, 500, 60, labels=["bend", "bend", "bend", "wave"]))
    assert sides["test"] == {f"{0:064x}"}
    assert f"{3:064x}" in sides["train"]


def test_many_files_never_lose_the_only_one_of_a_label() -> None:
    footage = clips(*[400] * 6, labels=["a", "a", "b", "c", "d", "e"])
    sides, how = divided(footage)
    assert len(sides["test"]) == 1 and sides["test"] < {f"{0:064x}", f"{1:064x}"}
    assert sides["validation"] == sides["train"] and "the ends of the training files" in how
    sides, how = divided(clips(*[400] * 6, labels=list("abcdef")))
    assert len(sides["train"]) == len(sides["test"]) == 6 and "by time" in how


def test_groups_are_never_cut_even_when_none_can_be_spared() -> None:
    for labels in ("abc", "abcdef"):
        footage = clips(*[400] * len(labels), groups=[f"g{label}" for label in labels], labels=list(labels))
        sides, how = divided(footage, has_groups=True)
        assert len(sides["train"]) == len(labels) and not sides["test"] and not sides["validation"]
        assert "the last of a label" in how


def test_a_still_is_no_test() -> None:
    sides, _ = divided(clips(1, 60, 80, groups=["a", "b", "c"]), has_groups=True)
    assert sides["test"] == {f"{1:064x}"}


def test_one_long_film_does_not_take_the_variety_from_training() -> None:
    sides, _ = divided(clips(9000, *[60] * 9))
    assert f"{0:064x}" in sides["train"]
    assert len(sides["test"]) == len(sides["validation"]) == 2


def test_no_share_means_no_side() -> None:
    for count in (1, 3, 9):
        sides, _ = divided(clips(*[400] * count), share=0.0)
        assert not sides["test"] and not sides["validation"]


def test_the_order_of_the_files_does_not_matter() -> None:
    footage = clips(*range(50, 90))
    assert divided(footage)[0] == divided(footage[::-1])[0]


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(
        st.tuples(st.integers(1, 700), st.sampled_from([None, "a", "b", "c", "d", "e", "f"])), min_size=1, max_size=20
    ),
    labels=st.lists(st.sampled_from([None, "x", "y"]), min_size=20, max_size=20),
    shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
)
def test_nothing_stands_on_two_sides(
    counts: list[tuple[int, str | None]], labels: list[str | None], shares: tuple[float, float]
) -> None:
    footage = [
        Footage(f"{i:064x}", group, labels[i], ((5, count), (count + 30, 3))) for i, (count, group) in enumerate(counts)
    ]
    has_groups = any(one.group for one in footage)
    pieces, how = split(footage, validation_share=shares[0], test_share=shares[1], rate=RATE, has_groups=has_groups)
    assert how and any(piece.side == "train" for piece in pieces)
    trained = {piece.key for piece in pieces if piece.side == "train"}
    assert {one.label for one in footage if one.key in trained} >= {one.label for one in footage} - {None}
    group_of = {one.key: one.group or one.key for one in footage}
    if has_groups and len(set(group_of.values())) > 1:
        sides: dict[str, set[str]] = {}
        for piece in pieces:
            sides.setdefault(group_of[piece.key], set()).add(piece.side)
        assert all(len(found) == 1 for found in sides.values())
    # Every piece lies inside a shot, and pieces of different sides in one source are at least a second apart.
    for one in footage:
        rows = [piece for piece in pieces if piece.key == one.key]
        for piece in rows:
            assert any(start <= piece.start and piece.start + piece.count <= start + n for start, n in one.spans)
        for before, after in pairwise(rows):
            gap = after.start - before.start - before.count
            assert gap >= (25 if before.side != after.side else 0)


@pytest.mark.parametrize("count", [5, 8, 30])
def test_five_files_and_more_give_every_side_whole_files(count: int) -> None:
    sides, _ = divided(clips(*[100] * count))
    assert all(sides.values())
    assert sum(len(keys) for keys in sides.values()) == count
    assert len(sides["train"]) >= 0.6 * count
