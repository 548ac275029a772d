"""The verbs on a codec that was never trained and a prior that always makes the same: lengths, joints, takes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from autoreel.clip import Frames
from autoreel.config import CodecConfig
from autoreel.errors import UsageError
from autoreel.generation import coding, verbs
from autoreel.generation.coding import FrameCodec
from autoreel.generation.timeline import Timeline
from autoreel.generation.verbs import Maker
from autoreel.models.codec import Codec

CONFIG = CodecConfig(latent_channels=8, widths=(8, 8, 8), encoder_depths=(0, 0, 0), decoder_depths=(0, 0, 0))
SIZE = (16, 24)


@pytest.fixture(scope="module")
def codec() -> FrameCodec:
    torch.manual_seed(0)
    made = Codec(CONFIG)
    # The first of its numbers is a block's mean colour: plain pictures come back as they were.
    mean = torch.full((768, 1), 768**-0.5)
    basis = torch.linalg.qr(torch.cat([mean, torch.randn(768, 7)], 1)).Q
    made.linear.fit(torch.zeros(768), basis, torch.full((8,), 10.0))
    return FrameCodec(made.eval(), SIZE, "crop", torch.device("cpu"), torch.float32)


def plain(num_frames: int, value: int) -> Frames:
    return np.full((num_frames, *SIZE, 3), value, np.uint8)


def maker(codec: FrameCodec, value: float, takes: int = 1) -> Maker:
    """One whose every new latent frame paints plain pictures, whatever it was given."""
    stubborn, _ = codec.encode([plain(1, int(value))])

    def fill(row: Sequence[Timeline]) -> Iterator[Tensor]:
        for i, level in enumerate(row[0].level[: row[0].shown].tolist()):
            given = torch.stack([one.latents[:, i : i + 1] for one in row]) if level < 1 else None
            yield given if level == 0 and given is not None else stubborn.expand(len(row), -1, -1, -1, -1)

    return Maker(codec, fill, 4, [(0, seed) for seed in range(takes)])


def steps(frames: Frames) -> list[float]:
    """How far neighbouring frames lie apart, on average."""
    return [float(np.abs(one.astype(float) - other).mean()) for one, other in pairwise(frames)]


def whole(chunks: Iterator[Frames]) -> Frames:
    return np.concatenate(list(chunks), 1)


def test_takes_are_made_side_by_side(codec: FrameCodec) -> None:
    given = plain(9, 100)
    for made in (
        verbs.generate(maker(codec, 60, 3), 10), verbs.animate(maker(codec, 60, 3), given[0], 10),
        verbs.continue_(maker(codec, 60, 3), [given], 7), verbs.between(maker(codec, 60, 3), [given], [given], 4),
        verbs.loop(maker(codec, 60, 3), [given], 4), verbs.vary(maker(codec, 60, 3), [given], 0.5),
    ):  # fmt: skip
        frames = whole(made)
        assert frames.shape[0] == 3 and frames.shape[2:] == (*SIZE, 3)
        assert np.array_equal(frames[0], frames[2])


def test_lengths(codec: FrameCodec) -> None:
    one, other = plain(10, 90), plain(7, 120)
    assert whole(verbs.continue_(maker(codec, 60), [one[:3], one[3:]], 6)).shape[1] == 16
    assert whole(verbs.between(maker(codec, 60), [one], [other], 6)).shape[1] == 10 + 8 + 7
    assert whole(verbs.between(maker(codec, 60), [one[:1]], [other[:1]], 8)).shape[1] == 1 + 8 + 4, "a still is held"
    assert whole(verbs.loop(maker(codec, 60), [one], 6)).shape[1] == 10 + 8
    assert whole(verbs.vary(maker(codec, 60), [one[:4], one[4:]], 1.0)).shape[1] == 10
    assert whole(verbs.morph(codec, one, other, 12)).shape[1] == 12
    assert [whole(verbs.slow(codec, [one[:4], one[4:]], f)).shape[1] for f in (1, 2, 2.5)] == [10, 19, 23]


def test_nothing_jumps_where_given_and_made_meet(codec: FrameCodec) -> None:
    """The prior insists on another colour, 60 away, which in one step would be a jump of 60."""
    dark, light = plain(12, 90), plain(12, 110)
    continued = whole(verbs.continue_(maker(codec, 150), [dark], 40))[0]
    assert max(steps(continued)) < 15 and continued[-1].mean() == pytest.approx(150, abs=2)
    assert max(steps(whole(verbs.animate(maker(codec, 150), dark[0], 40))[0])) < 15
    led_over = whole(verbs.between(maker(codec, 150), [dark], [light], 40))[0]
    assert led_over[:12].mean() == pytest.approx(90, abs=2) and led_over[-8:].mean() == pytest.approx(110, abs=2)
    assert max(steps(led_over)) < 15


def test_what_moves_away_leaves_no_shadow(codec: FrameCodec) -> None:
    """The prior takes the scene for a darker one, and at once something bright covers its right side."""
    darker, covered = plain(1, 60), plain(1, 60)
    covered[:, :, 8:] = 250
    taken, following = (codec.encode([picture])[0] for picture in (darker, covered))

    def fill(row: Sequence[Timeline]) -> Iterator[Tensor]:
        for i, level in enumerate(row[0].level[: row[0].shown].tolist()):
            yield row[0].latents[None, :, i : i + 1] if level == 0 else taken if level < 1 else following

    made = whole(verbs.continue_(Maker(codec, fill, 4, [(0, 0)]), [plain(5, 90)], 4))[0, 5:]
    assert made[:, :, 8:].mean() == pytest.approx(250, abs=3), "nothing of the difference, 30, where it is covered"
    assert made[:, :, :8].mean() > 75, "and most of it where all is still"


def test_a_still_is_held_and_the_hold_not_shown(codec: FrameCodec) -> None:
    seen: list[tuple[int, int]] = []

    def spy(given: int) -> Maker:
        made = maker(codec, 60)

        def fill(timelines: Sequence[Timeline]) -> Iterator[Tensor]:
            seen.append((int((timelines[0].level == 0).sum()), len(timelines[0])))
            return made.fill(timelines)

        return Maker(codec, fill, made.window, made.takes)

    still = plain(1, 90)
    animated, continued = (
        whole(verbs.animate(spy(0), still[0], 9)), whole(verbs.continue_(spy(0), [still], 8)),
    )  # fmt: skip
    assert animated.shape[1] == continued.shape[1] == 9 and np.array_equal(animated, continued)
    assert seen == [(1, 2), (2, 4)] * 2, "the last known frame is made anew, then two groups behind two known frames"
    assert whole(verbs.animate(maker(codec, 60), still[0], 1)).shape[1] == 1
    assert whole(verbs.between(maker(codec, 60), [still], [still], 8)).shape[1] == 1 + 8 + 4
    assert whole(verbs.continue_(maker(codec, 60, 3), [still[:0], still, still[:0]], 8)).shape[:2] == (3, 9)
    assert whole(verbs.continue_(maker(codec, 60), [still, still], 8)).shape[1] == 2 + 8, "two frames are a clip"


def test_a_loop_has_no_seam(codec: FrameCodec) -> None:
    ramp = np.stack([np.full((*SIZE, 3), 60 + 4 * i, np.uint8) for i in range(16)])
    looped = whole(verbs.loop(maker(codec, 100), [ramp], 24))[0]
    twice = np.concatenate([looped, looped])
    usual = max(steps(whole(iter([codec_rebuilt(codec, ramp)[None]]))[0]))
    assert max(steps(twice)) <= 2 * usual
    assert twice[len(looped) - 1].mean() == pytest.approx(60 + 4 * 3, abs=8), "it ends with its first group"
    with pytest.raises(UsageError, match="too short to loop"):
        whole(verbs.loop(maker(codec, 100), [ramp[:4]], 8))


def test_a_known_end_is_shown_as_the_codec_sees_it(codec: FrameCodec) -> None:
    rng = np.random.default_rng(0)
    start, end = (rng.integers(0, 256, (12, *SIZE, 3), np.uint8) for _ in range(2))
    made = whole(verbs.between(maker(codec, 100), [start], [end[:5], end[5:]], 8))[0]
    known = codec_rebuilt(codec, end)
    assert np.abs(made[-8:].astype(int) - known[4:]).max() <= 1


def test_morph_begins_and_ends_with_what_is_given(codec: FrameCodec) -> None:
    made = whole(verbs.morph(codec, plain(3, 80), plain(20, 160), 21))[0]
    assert made[0].mean() == pytest.approx(80, abs=2) and made[-1].mean() == pytest.approx(160, abs=2)
    means = made.mean((1, 2, 3))
    assert (np.diff(means) > -1).all() and max(steps(made)) < 25


def test_slow_shows_every_frame_and_what_lies_between(codec: FrameCodec) -> None:
    ramp = np.stack([np.full((*SIZE, 3), 60 + 8 * i, np.uint8) for i in range(6)])
    means = whole(verbs.slow(codec, [ramp[:2], ramp[2:]], 4))[0].mean((1, 2, 3))
    assert means == pytest.approx(np.arange(60, 101, 2), abs=3)
    with pytest.raises(UsageError, match="factor 0"):
        verbs.slow(codec, [ramp], 0)


def test_mixed_latents_are_as_spread_as_what_they_lie_between() -> None:
    one, other = torch.randn(2, 1, 4, 3, 8, 8).unbind(0)
    half = verbs.mixed(one, 3 * other, torch.tensor(0.5))
    assert float(half.std()) == pytest.approx(2.0, rel=0.1)
    torch.testing.assert_close(verbs.mixed(one, other, torch.tensor(0.0)), one)
    torch.testing.assert_close(verbs.mixed(one, -one, torch.tensor(0.5)), torch.zeros_like(one))


def codec_rebuilt(codec: FrameCodec, frames: Frames) -> Frames:
    return np.concatenate(list(codec.rebuilt([frames])))


def test_a_long_stream_gives_memory_back(codec: FrameCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[int] = []
    monkeypatch.setattr(coding, "give_back_memory", lambda: given_back.append(1))
    latents = codec.encode([plain(1, 60)])[0]
    frames = sum(chunk.shape[1] for chunk in codec.paint(latents for _ in range(20)))
    assert frames == 1 + 19 * codec.stride and len(given_back) == 20 // coding.GIVE_BACK_EVERY
