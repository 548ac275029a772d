"""The encoder: what it takes, that it is repeatable and kept, and that a few steps teach it something."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.footage import make_store

from autoreel.clip import Frames
from autoreel.data.store import FootageStore, Shot
from autoreel.errors import UnreadableError
from autoreel.evaluation import learning
from autoreel.evaluation.encoder import FEATURES, TRAITS, WINDOW, Encoder, look
from autoreel.evaluation.learning import DAMAGES, damage, learn, open_encoder, pairs_of, softened, strangers, together
from autoreel.evaluation.samples import read, windows


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FootageStore:
    return make_store(tmp_path_factory.mktemp("store") / "footage")


@pytest.fixture(scope="module")
def encoder(store: FootageStore) -> Encoder:
    return learn(store, steps=2)


def test_what_it_sees(store: FootageStore, encoder: Encoder) -> None:
    clips = read(store, windows(store.split("train"), 2 * WINDOW + 3, 5))
    seen = look(encoder, clips)
    assert seen.features.shape == (10, FEATURES) and seen.traits.shape == (10, TRAITS) and len(seen) == 10
    assert np.isfinite(seen.features).all()
    second = look(encoder, np.ascontiguousarray(clips[1:2, WINDOW : 2 * WINDOW]))
    assert seen.traits[3] == pytest.approx(second.traits[0], abs=1e-2)  # the first clip's two windows come first
    assert np.array_equal(seen.of(slice(1, 3)).features, seen.features[1:3])


def test_no_direction_of_the_footage_drowns_in_another(store: FootageStore, encoder: Encoder) -> None:
    known = look(encoder, read(store, windows(store.split("train"), WINDOW, 512))).features
    assert known.mean(0) == pytest.approx(np.zeros(FEATURES), abs=1e-2)
    assert known.std(0).min() > 0.1 and known.std(0).max() < 1.01


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (72, 128)])
def test_frames_of_any_size_are_looked_at(encoder: Encoder, size: tuple[int, int]) -> None:
    assert look(encoder, np.full((1, WINDOW, *size, 3), 100, np.uint8)).features.shape == (1, FEATURES)


def test_what_cannot_be_looked_at_is_refused(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="at least 16 frames"):
        look(encoder, np.zeros((2, 15, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        look(encoder, np.zeros((2, 16, 32, 32, 3), np.float32))


def test_it_looks_at_the_training_side_only(store: FootageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = FootageStore.frames

    def watched(self: FootageStore, shot: Shot, start: int = 0, count: int | None = None) -> Frames:
        asked.append(shot.split)
        return real(self, shot, start, count)

    monkeypatch.setattr(FootageStore, "frames", watched)
    learn(store, steps=1)
    assert set(asked) == {"train"}


def test_the_same_seed_gives_the_same_encoder_which_is_kept(
    store: FootageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "STEPS", 1)
    lines: list[str] = []
    first = open_encoder(tmp_path / "kept", store, report=lines.append)
    assert len(lines) == 1
    again = open_encoder(tmp_path / "kept", store, report=lines.append)
    fresh = learn(store, steps=1)
    other = open_encoder(tmp_path / "kept", store, seed=1)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]) and torch.equal(tensor, fresh.state_dict()[name])
    assert len(lines) == 1 and not torch.equal(first.out.weight, other.out.weight)
    kept = sorted((tmp_path / "kept").glob("encoder-*.safetensors"))
    assert len(kept) == 2 and all(store.hash[:16] in path.name for path in kept)
    kept[0].write_bytes(b"damaged")
    again = open_encoder(tmp_path / "kept", store, report=lines.append)
    assert torch.equal(first.out.weight, again.out.weight) and len(lines) == 2
    whole = kept[0].read_bytes()
    kept[0].write_bytes(whole[:-4] + bytes([whole[-4] ^ 1]) + whole[-3:])
    open_encoder(tmp_path / "kept", store, report=lines.append)
    assert len(lines) == 3 and kept[0].read_bytes() == whole


def test_one_that_cannot_be_read_just_now_is_not_learned_again(
    store: FootageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "learn", lambda store, seed: Encoder().eval())
    open_encoder(tmp_path, store)
    (kept,) = tmp_path.glob("encoder-*.safetensors")
    whole, before = kept.read_bytes(), os.open

    def refused(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        if os.fspath(path) == str(kept):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return before(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(UnreadableError, match="Input/output error"):
        open_encoder(tmp_path, store)
    assert kept.read_bytes() == whole


def test_partners_are_found_and_near_windows_are_no_strangers() -> None:
    known = strangers(["a@0", "a@10~", "a@80", "b@0"])
    assert known.tolist() == [[False, False, True, True], [False, False, True, True], [True, True, False, True],
                              [True, True, True, False]]  # fmt: skip
    points = torch.eye(4).repeat(2, 1)
    mixed = torch.cat([torch.eye(4), torch.eye(4).roll(1, 0)])
    assert float(together(points, known)) < 0.1 < float(together(mixed, known))
    alone = together(torch.randn(2, 4), torch.zeros(1, 1, dtype=torch.bool))
    assert float(alone) == pytest.approx(0.0, abs=1e-6)  # one shot: there is nothing to part


def test_damages_are_what_they_are_told_to_be() -> None:
    random = torch.Generator().manual_seed(0)
    video = torch.rand(12, 3, WINDOW, 32, 32, generator=random) * 0.6 - 0.3
    spoiled, amounts = damage(video, random)
    assert spoiled.shape == video.shape and amounts.shape == (12, len(DAMAGES))
    assert float(spoiled.abs().max()) <= 1 and float(amounts.abs().max()) <= 1
    assert (amounts.abs().sum(1) > 0).all() and (amounts != 0).any(0).all()
    assert pairs_of(video[:3], random).shape == (6, 3, WINDOW, 32, 32)


def test_softening_is_a_gaussian() -> None:
    from scipy.ndimage import gaussian_filter

    frames = torch.rand(3, 2, 24, 24)
    expected = gaussian_filter(frames.numpy(), (0, 0, 1.6, 1.6), mode="nearest", radius=(0, 0, 4, 4))
    assert softened(frames, 1.6).numpy() == pytest.approx(expected, abs=1e-6)
