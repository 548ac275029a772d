"""Rollouts of any length through a sliding window."""

import itertools

import pytest
import torch
from torch import Tensor

from autoreel.config import PriorConfig
from autoreel.generation import timeline as rows
from autoreel.generation.rollout import Sampling, context_of, roll_out, window_times
from autoreel.generation.timeline import NO_LABEL, Timeline
from autoreel.models.prior import FAR, Prior, PriorCache

SHAPE = (2, 4, 4)
FEW = Sampling(steps=2)


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    made = Prior(PriorConfig(width=32, depth=2, heads=1, window=4), 2, (4, 4), 2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def fill(prior: Prior, *row: Timeline, sampling: Sampling = FEW) -> Tensor:
    return torch.cat(list(roll_out(prior, row, sampling)), 2)


def test_context_is_the_latest_frames_and_the_first() -> None:
    made = [False] * 30
    assert context_of(0, made, 5) == []
    assert context_of(3, made, 5) == [0, 1, 2]
    assert context_of(20, made, 5) == [0, 17, 18, 19]
    assert [context_of(frame, made, 9)[1:] for frame in (20, 21)] == [[*range(13, 20)], [17, 18, 19, 20]]
    assert context_of(20, made, 2) == [19], "the latest, where only one can be seen"


def test_known_frames_come_first_a_known_future_among_them() -> None:
    known = [True, True, False, False, False, True, True, True]
    assert context_of(3, known, 8) == [0, 1, 5, 6, 2]
    assert context_of(4, known, 3) == [5, 3]
    assert context_of(3, known, 3) == [0, 2], "the future is further than any that was learned from"


def test_what_is_seen_lies_as_near_together_as_in_training() -> None:
    for gap in range(1, 16):
        known = [True] * 12 + [False] * gap + [True] * 6
        for frame in range(12, 12 + gap):
            context = context_of(frame, known, 9)
            later = [i for i in (*context, frame) if i]
            assert max(later) - min(later) <= 7 and 0 in context and frame - 1 in context
            assert (12 + gap in context) == (12 + gap - frame <= 6)


def test_the_smallest_windows_see_a_frame_further_than_in_training() -> None:
    for window, further in ((2, 1), (3, 1), (4, 0), (5, 0), (12, 0)):
        spans = []
        for gap in range(1, 16):
            known = [True] * 12 + [False] * gap + [True] * 6
            for frame in range(12, 12 + gap):
                later = [i for i in (*context_of(frame, known, window), frame) if i]
                spans.append(max(later) - min(later))
        assert max(spans) == window - 2 + further


def test_the_window_grows_and_falls_back() -> None:
    made = [False] * 100
    for window in range(3, 12):
        room = window - 1
        contexts = [context_of(frame, made, window) for frame in range(100)]
        for frame, (before, context) in enumerate(itertools.pairwise(contexts), start=1):
            grown = context == [*before, frame - 1]  # what is remembered stays valid
            assert grown or len(before) == room
            assert min(frame, room // 2 + 1) <= len(context) <= room and context[0] == 0
            assert context[-1] == frame - 1 or frame == 1
        assert [i + 7 if i else 0 for i in context_of(53, made, window, left_out=7)] == contexts[60]


def test_no_context_is_longer_than_the_window() -> None:
    known = [i % 7 < 2 for i in range(60)]
    for window in range(2, 12):
        for frame in range(60):
            context = context_of(frame, known, window)
            assert len(context) < window and frame not in context and len(set(context)) == len(context)


def test_far_frames_are_told_at_a_distance_that_was_trained() -> None:
    assert window_times([0, 1, 2, 3]) == [0, 1, 2, 3]
    assert window_times([0, 3, 4, 5]) == [0, 3, 4, 5]
    assert window_times([0, 98, 99, 100]) == [0, 1 + FAR, 2 + FAR, 3 + FAR]
    assert window_times([0]) == [0]


def test_length_and_finite(prior: Prior) -> None:
    made = fill(prior, rows.generate(11, SHAPE))
    assert made.shape == (1, 2, 11, 4, 4) and torch.isfinite(made).all()


def test_known_frames_stay_known(prior: Prior) -> None:
    clip = torch.randn(2, 3, 4, 4)
    made = fill(prior, rows.between(clip, 3, clip[:, 1:], joint=0.0))[0]
    assert torch.equal(made[:, :3], clip) and torch.equal(made[:, 6:], clip[:, 1:2]) and made.shape[1] == 7
    assert torch.equal(fill(prior, rows.rebuild(clip))[0], clip)


def test_a_known_end_changes_what_comes_before_it(prior: Prior) -> None:
    clip = torch.randn(2, 2, 4, 4)
    one, other = (fill(prior, rows.between(clip, 1, end)) for end in (clip, clip + 1))
    assert not torch.equal(one[:, :, 2], other[:, :, 2])


def test_the_joint_is_made_anew_near_what_is_known_of_it(prior: Prior) -> None:
    clip = torch.randn(2, 3, 4, 4)
    near, far = (fill(prior, rows.between(clip, 1, clip[:, 1:], joint))[0, :, 4] - clip[:, 1] for joint in (0.1, 0.9))
    assert 0 < float(near.square().mean()) < float(far.square().mean())


def test_little_strength_stays_near(prior: Prior) -> None:
    clip = torch.randn(2, 4, 4, 4)
    near, far = (fill(prior, rows.vary(clip, strength))[0] - clip for strength in (0.05, 0.9))
    assert float(near.square().mean()) < float(far.square().mean())


def test_seed_and_label_decide(prior: Prior) -> None:
    blank = rows.generate(6, SHAPE)
    first = fill(prior, blank.of(0, 1))
    assert torch.equal(first, fill(prior, blank.of(0, 1)))
    assert not torch.equal(first, fill(prior, blank.of(0, 2)))
    assert not torch.equal(first, fill(prior, blank.of(1, 1)))


def test_side_by_side_equals_one_by_one(prior: Prior) -> None:
    blank = rows.generate(7, SHAPE)
    many = [blank.of(0, 1), blank.of(1, 2), blank.of(-1, 3)]
    together = fill(prior, *many)
    for i, row in enumerate(many):
        torch.testing.assert_close(together[i : i + 1], fill(prior, row), rtol=1e-4, atol=1e-4)


def test_what_is_made_does_not_depend_on_what_follows(prior: Prior) -> None:
    short, long = (fill(prior, rows.generate(n, SHAPE)) for n in (4, 9))
    assert torch.equal(short, long[:, :, :4])


def test_known_frames_that_nobody_looks_at_can_be_left_out(prior: Prior) -> None:
    clip = torch.randn(2, 9, 4, 4)
    whole = fill(prior, rows.continue_(clip, 6).of(1, 3))
    short = fill(prior, rows.continue_(torch.cat([clip[:, :1], clip[:, 6:]], 1), 6, left_out=5).of(1, 3))
    assert torch.equal(short[:, :, 4:], whole[:, :, 9:])
    with pytest.raises(ValueError, match="left out"):
        fill(prior, rows.continue_(clip[:, :2], 6, left_out=6))


def test_guidance_of_one_needs_no_second_answer(prior: Prior) -> None:
    row = rows.generate(3, SHAPE).of(1)
    one, near_one = (fill(prior, row, sampling=Sampling(steps=2, guidance=g)) for g in (1.0, 1.0 + 1e-7))
    torch.testing.assert_close(one, near_one, rtol=1e-4, atol=1e-4)


def test_the_cache_equals_running_the_context_every_time(prior: Prior, monkeypatch: pytest.MonkeyPatch) -> None:
    row = rows.generate(8, SHAPE).of(0)
    cached = fill(prior, row)
    forward = Prior.forward
    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def without_cache(
        self: Prior, x: Tensor, level: Tensor, time: Tensor, label: Tensor, cache: PriorCache, keep: bool
    ) -> Tensor:
        if keep and not cache.entries:
            kept.clear()
        parts = [*((a[: len(x)], b[: len(x)], c[: len(x)]) for a, b, c in kept), (x, level, time)]
        latents = torch.cat([part[0] for part in parts], 2)
        levels, times = (torch.cat([part[i] for part in parts], 1) for i in (1, 2))
        if keep:
            kept.append((x, level, time))
            cache.entries = [(torch.empty(0, 0, 1, 0),) * 2]
        return forward(self, latents, levels, times, label)[:, :, -x.shape[2] :]

    monkeypatch.setattr(Prior, "forward", without_cache)
    torch.testing.assert_close(fill(prior, row), cached, rtol=1e-5, atol=1e-5)


def test_the_label_is_exaggerated_only_where_it_decides(prior: Prior) -> None:
    row = rows.generate(6, SHAPE).of(1)
    everywhere, above, nowhere = (
        fill(prior, row, sampling=Sampling(steps=4, guidance=3.0, guided_above=level)) for level in (0.0, 0.5, 1.0)
    )
    assert not torch.equal(everywhere, above) and not torch.equal(above, nowhere)
    plain = fill(prior, row, sampling=Sampling(steps=4, guidance=1.0))
    torch.testing.assert_close(nowhere, plain, rtol=1e-4, atol=1e-4)


def test_no_guidance_is_no_label(prior: Prior) -> None:
    blank = rows.generate(6, SHAPE)
    asked = fill(prior, blank.of(1, 5), sampling=Sampling(steps=4, guidance=0.0))
    assert torch.equal(asked, fill(prior, blank.of(NO_LABEL, 5), sampling=Sampling(steps=4, guidance=1.0)))


def test_a_weakened_label_is_weak_at_every_level(prior: Prior) -> None:
    row = rows.generate(6, SHAPE).of(1, 5)
    half, everywhere = (
        fill(prior, row, sampling=Sampling(steps=4, guidance=0.5, guided_above=level)) for level in (0.5, 0.0)
    )
    assert torch.equal(half, everywhere)
    least = fill(prior, row, sampling=Sampling(steps=4, guidance=1e-7))
    torch.testing.assert_close(least, fill(prior, row, sampling=Sampling(steps=4, guidance=0.0)), rtol=1e-4, atol=1e-4)


def test_rows_that_do_not_match_are_refused(prior: Prior) -> None:
    with pytest.raises(ValueError, match="same length"):
        fill(prior, rows.generate(3, SHAPE), rows.generate(4, SHAPE))
    with pytest.raises(ValueError, match="are needed"):
        fill(prior, rows.generate(3, (3, 4, 4)))
