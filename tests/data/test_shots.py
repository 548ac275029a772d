from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.data.shots import ShotFinder, Span, duplicates

Frames = NDArray[np.uint8]
MakeScene = Callable[..., Frames]
RATE = 25.0


def find(frames: Frames, min_shot_s: float = 0.4, chunk: int = 7) -> tuple[list[Span], list[Span]]:
    finder = ShotFinder(RATE, min_shot_s)
    for first in range(0, len(frames), chunk):
        finder.add(frames[first : first + chunk])
    return finder.finish()


def places(spans: list[Span]) -> list[tuple[int, int]]:
    return [(span.start, span.end) for span in spans]


def test_cuts_are_found_where_they_are(make_scene: MakeScene) -> None:
    frames = np.concatenate([make_scene(seed, 20 + seed) for seed in range(5)])
    edges = np.cumsum([0, 20, 21, 22, 23, 24])
    shots, left_out = find(frames)
    assert places(shots) == list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    assert not left_out


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_the_chunks_do_not_matter(make_scene: MakeScene, chunk: int) -> None:
    frames = np.concatenate([make_scene(1, 30), make_scene(2, 40)])
    assert find(frames, chunk=chunk) == find(frames, chunk=3)


def test_a_waving_hand_is_one_shot_and_not_frozen(make_scene: MakeScene) -> None:
    for hand in (2, 4, 10):
        shots, left_out = find(make_scene(1, 120, hand=hand))
        assert places(shots) == [(0, 120)] and not left_out


def test_a_picture_that_stands_still_is_left_out(make_scene: MakeScene) -> None:
    moving = make_scene(1, 40)
    frozen = np.repeat(moving[-1:], 40, axis=0)
    shots, left_out = find(np.concatenate([moving, frozen, make_scene(1, 40)]))
    assert [span.reason for span in left_out] == ["frozen"]
    assert 38 <= left_out[0].count <= 42
    assert len(shots) == 2
    shots, left_out = find(np.concatenate([moving, frozen[:20], make_scene(1, 40)]))  # under a second
    assert not left_out


def test_one_noisy_level_does_not_hide_a_frozen_picture(make_scene: MakeScene) -> None:
    frozen = np.repeat(make_scene(1, 1), 60, axis=0)
    noisy = frozen + np.random.default_rng(0).integers(0, 2, frozen.shape, np.uint8)
    _, left_out = find(noisy)
    assert [span.reason for span in left_out] == ["frozen"]


def test_slow_change_is_not_frozen() -> None:
    # One level every fourth frame: no two neighbours differ by much, but over a second the light changes.
    frames = (100 + np.arange(200)[:, None, None, None] // 4 + np.zeros((64, 64, 3))).astype(np.uint8)
    frames[:, :32] = 30
    _, left_out = find(frames)
    assert not left_out


def test_black_is_left_out_but_one_dark_frame_is_not(make_scene: MakeScene) -> None:
    black = np.full((30, 64, 64, 3), 3, np.uint8)
    shots, left_out = find(np.concatenate([black, make_scene(1, 30), black, make_scene(2, 30)]))
    assert places(shots) == [(30, 60), (90, 120)]
    assert [(span.start, span.end, span.reason) for span in left_out] == [(0, 30, "black"), (60, 90, "black")]
    flicker = make_scene(1, 60)
    flicker[30] = 0
    assert places(find(flicker)[0]) == [(0, 60)]


def test_one_flat_colour_is_left_out(make_scene: MakeScene) -> None:
    green = np.zeros((30, 64, 64, 3), np.uint8) + np.array([0, 135, 0], np.uint8)
    _, left_out = find(np.concatenate([make_scene(1, 30), green]))
    assert [(span.start, span.end, span.reason) for span in left_out] == [(30, 60, "one flat colour")]


def test_a_flash_is_no_cut(make_scene: MakeScene) -> None:
    frames = make_scene(1, 60)
    frames[30:32] = np.minimum(frames[30:32].astype(int) + 120, 255).astype(np.uint8)
    assert places(find(frames)[0]) == [(0, 60)]


def test_a_cross_fade_is_left_out(make_scene: MakeScene) -> None:
    a, b = make_scene(3, 60).astype(float), make_scene(4, 60).astype(float)
    share = np.clip((np.arange(60) - 20) / 20, 0, 1)[:, None, None, None]
    shots, left_out = find(((1 - share) * a + share * b).astype(np.uint8))
    assert [span.reason for span in left_out] == ["cross-fade"]
    assert 16 <= left_out[0].start <= 24 and 36 <= left_out[0].end <= 44
    assert len(shots) == 2


def test_a_lamp_that_is_dimmed_is_one_shot(make_scene: MakeScene) -> None:
    light = np.interp(np.arange(80), [30, 50], [1.0, 0.35])[:, None, None, None]
    assert places(find((make_scene(1, 80) * light).astype(np.uint8))[0]) == [(0, 80)]


def test_a_lamp_that_is_switched_off_is_one_shot(make_scene: MakeScene) -> None:
    frames = make_scene(1, 60)
    frames[30:] //= 3
    assert places(find(frames)[0]) == [(0, 60)]


def test_a_shaking_camera_is_one_shot() -> None:
    random = np.random.default_rng(0)
    wide = np.kron(random.integers(0, 255, (30, 30, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    shifts = random.integers(0, 170, (80, 2))
    frames = np.stack([wide[y : y + 64, x : x + 64] for y, x in shifts])
    assert places(find(frames)[0]) == [(0, 80)]


def test_short_pieces_are_left_out_but_a_short_file_is_used(make_scene: MakeScene) -> None:
    shots, left_out = find(np.concatenate([make_scene(1, 30), make_scene(2, 5), make_scene(3, 30)]))
    assert places(shots) == [(0, 30), (35, 65)]
    assert left_out[0].reason == "a shot shorter than 0.4 s"
    assert places(find(make_scene(1, 5))[0]) == [(0, 5)]
    assert places(find(make_scene(1, 1))[0]) == [(0, 1)]
    assert find(np.empty((0, 64, 64, 3), np.uint8)) == ([], [])


def test_black_bars_hide_no_cut(make_scene: MakeScene) -> None:
    frames = np.concatenate([make_scene(1, 30), make_scene(2, 30)])
    for rows, columns in ((slice(0, 20), slice(0, 0)), (slice(44, 64), slice(0, 18))):
        frames[:, rows] = 4
        frames[:, :, columns] = 4
        assert places(find(frames)[0]) == [(0, 30), (30, 60)]
    assert places(find(frames[:30])[0]) == [(0, 30)]


@pytest.mark.parametrize("size", [16, 24, 72, 256])
def test_every_size_works(make_scene: MakeScene, size: int) -> None:
    frames = np.concatenate(
        [make_scene(1, 20, size=size, hand=size // 6), make_scene(2, 20, size=size, hand=size // 6)]
    )
    assert places(find(frames)[0]) == [(0, 20), (20, 40)]


def test_a_copy_in_other_quality_is_a_duplicate_and_another_take_is_not(make_scene: MakeScene) -> None:
    takes = [make_scene(1, 40), make_scene(2, 40), make_scene(1, 40), make_scene(1, 41)]
    takes[2] = np.clip(takes[2].astype(int) + np.random.default_rng(0).integers(-4, 5, takes[2].shape), 0, 255).astype(
        np.uint8
    )
    takes[3] = np.roll(takes[3], 9, axis=0)  # the same background and hand, moving at other times
    signatures = []
    for take in takes:
        finder = ShotFinder(RATE, 0.4)
        finder.add(take)
        signatures.append(finder.signature(Span(0, len(take))))
    assert duplicates(signatures, [len(take) for take in takes]) == {2: 0}
