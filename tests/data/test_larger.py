"""Larger footage beside a run's: the same files, divided in the same way, or a line that says what is wrong."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from autoreel.data.larger import times_larger
from autoreel.data.store import FootageStore, Shot
from autoreel.errors import FootageError


def shot(source: str, split: Any, start_s: float = 0.0, num_frames: int = 50) -> Shot:
    return Shot(id=f"{source}-{start_s}", source=f"{source}.mp4", source_hash=source, label=None, split=split,
                num_frames=num_frames, group=None, start_s=start_s, offset=0)  # fmt: skip


def store(size: tuple[int, int], shots: list[Shot], *, rate: str = "25", fit: str = "crop") -> FootageStore:
    return FootageStore(Path("larger"), {
        "size": list(size), "rate": rate, "labels": [], "shots": [asdict(one) for one in shots],
        "config": {"fit": fit}, "hash": "", "key": "", "how_split": "", "num_rejects": 0, "shards": {},
    })  # fmt: skip


GIVEN = [shot("a", "train"), shot("a", "test", 3.0), shot("b", "validation")]


def test_the_same_footage_twice_or_four_times_as_large() -> None:
    small = store((64, 32), GIVEN)
    assert times_larger(small, store((128, 64), GIVEN)) == 2
    assert times_larger(small, store((256, 128), GIVEN)) == 4
    cut_elsewhere = [shot("a", "train", 0.0, 20), shot("a", "train", 0.8, 30), shot("a", "test", 2.96), GIVEN[2]]
    assert times_larger(small, store((128, 64), cut_elsewhere)) == 2


@pytest.mark.parametrize(
    ("larger", "message"),
    [
        (store((192, 96), GIVEN), "prepare the footage with --size 64x128 or 128x256"),
        (store((128, 128), GIVEN), "its frames are 128x128, the run's 32x64"),
        (store((128, 64), GIVEN, rate="30"), "at 30 frames per second"),
        (store((128, 64), GIVEN, fit="letterbox"), "--fit letterbox"),
        (store((128, 64), [shot("a", "test")]), "a.mp4 is for test here and for train"),
        (store((128, 64), [shot("a", "train", num_frames=100)]), "a.mp4 is for train here and for test"),
        (store((128, 64), [shot("b", "train")]), "so that what was held back stays held back"),
        (store((128, 64), [*GIVEN, shot("c", "train")]), "c.mp4 is not in the run's footage"),
    ],
)
def test_anything_else_is_refused(larger: FootageStore, message: str) -> None:
    with pytest.raises(FootageError, match=message):
        times_larger(store((64, 32), GIVEN), larger)
