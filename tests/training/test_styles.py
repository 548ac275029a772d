"""Styles: clusters of the latents of footage without labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autoreel.errors import RunError
from autoreel.training.latents import LatentWindows
from autoreel.training.styles import Styles, examples, traits_of

CHANNELS = 4


def windows(kinds: list[int], seed: int = 0, frames: int = 24) -> LatentWindows:
    """Streams of three kinds: two that differ in their mean, one that moves."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for kind in kinds:
        stream = 0.1 * torch.randn(frames, CHANNELS, 4, 4, generator=generator)
        if kind == 0:
            stream[:, 0, :2] += 2
        elif kind == 1:
            stream[:, 1, :, 2:] += 2
        else:
            stream += torch.randn(frames, 1, 1, 1, generator=generator)
        parts.append(stream)
    count = len(kinds)
    lengths = torch.full((count,), frames)
    return LatentWindows(torch.cat(parts), torch.arange(count) * frames, lengths, torch.full((count,), -1))


KINDS = [0] * 12 + [1] * 9 + [2] * 6


def test_clusters_are_found_and_the_first_is_the_most_frequent() -> None:
    streams = windows(KINDS)
    styles = Styles.find(streams, seed=0)
    assert styles is not None and styles.names == ("style-1", "style-2", "style-3")
    assert styles.of(streams).tolist() == KINDS
    assert styles.of(windows([2, 0, 1], seed=5)).tolist() == [2, 0, 1]


def test_the_same_seed_finds_the_same() -> None:
    one, two = Styles.find(windows(KINDS), seed=3), Styles.find(windows(KINDS), seed=3)
    assert one is not None and two is not None and torch.equal(one.centres, two.centres)


def test_few_streams_and_streams_that_are_all_alike_have_no_styles() -> None:
    assert Styles.find(windows([0, 1] * 3), seed=0) is None
    still = windows([0] * 10)
    alike = LatentWindows(torch.ones_like(still.latents), still.starts, still.lengths, still.labels)
    assert Styles.find(alike, seed=0) is None


def test_they_are_kept(tmp_path: Path) -> None:
    streams = windows(KINDS)
    styles = Styles.find(streams, seed=0)
    assert styles is not None
    path = tmp_path / "styles.safetensors"
    styles.save(path)
    kept = Styles.load(path, CHANNELS, len(styles.names))
    assert torch.equal(kept.of(streams), styles.of(streams))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(RunError):
        Styles.load(path, CHANNELS, len(styles.names))


def test_examples_are_of_their_style() -> None:
    streams = windows(KINDS)
    styles = Styles.find(streams, seed=0)
    assert styles is not None
    shown = examples(streams, styles, columns=8)
    assert [len(latents) for latents in shown] == [8, 8, 6]
    assert float(shown[0][:, 0, :2].mean()) > 1 and float(shown[1][:, 1, :, 2:].mean()) > 1


def test_traits_of_a_single_frame_are_finite() -> None:
    assert traits_of(windows([0, 1], frames=1)).isfinite().all()
