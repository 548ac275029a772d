"""Every verb is a layout of the timeline."""

import pytest
import torch

from autoreel.generation import timeline as rows
from autoreel.generation.timeline import NO_LABEL, Timeline

CLIP = torch.randn(2, 3, 4, 4)


def levels(row: Timeline) -> str:
    return "".join("#" if level == 0 else "." if level == 1 else "~" for level in row.level.tolist())


def test_layouts() -> None:
    assert levels(rows.generate(4, (2, 4, 4))) == "...."
    assert levels(rows.continue_(CLIP, 2)) == "###.."
    between = rows.between(CLIP, 2, CLIP[:, :2])
    assert levels(between) == "###~~~#" and between.shown == 6
    assert levels(rows.between(CLIP, 6, CLIP[:, :2])) == "###..~~~~~#"
    assert levels(rows.between(CLIP, 2, CLIP[:, :2], joint=0.0)) == "###..##"
    assert bool((between.level[3:6].diff() < 0).all()), "ever more of the end is in them"
    assert between.known == [True] * 3 + [False] * 2 + [True] * 2, "what is given of the joint is seen before it"
    assert levels(rows.vary(CLIP, 0.4)) == "~~~"
    assert levels(rows.rebuild(CLIP)) == "###"


def test_known_values_are_kept() -> None:
    row = rows.between(CLIP, 1, CLIP[:, 1:])
    assert torch.equal(row.latents[:, :3], CLIP) and torch.equal(row.latents[:, 4:], CLIP[:, 1:])


def test_a_retake_is_of_the_last_known_frame() -> None:
    row = rows.retake(rows.continue_(CLIP, 4).of(1, 2), 3, 0.8)
    assert levels(row) == "##~" and (row.shown, row.label, row.seed) == (3, 1, 2)


def test_label_and_seed() -> None:
    row = rows.generate(2, (2, 4, 4))
    assert row.label == NO_LABEL
    assert (row.of(3, 7).label, row.of(3, 7).seed) == (3, 7)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="noise levels"):
        rows.vary(CLIP, 1.5)
    with pytest.raises(ValueError, match="do not match"):
        Timeline(CLIP, torch.zeros(2))
    with pytest.raises(ValueError, match="cannot make"):
        rows.continue_(CLIP, -1)
