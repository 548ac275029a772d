from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from autoreel.data.loader import ClipLoader, there_and_back
from autoreel.data.store import FootageStore
from autoreel.errors import FootageError

MakeStore = Callable[..., FootageStore]


def test_a_batch_depends_on_seed_and_step_only(make_store: MakeStore) -> None:
    store = make_store([("a", "train", 40), ("b", "train", 60), (None, "test", 30)])
    one, other = (ClipLoader(store, "train", 17, 4, seed=3, mirror=True) for _ in range(2))
    for step in range(5):
        one.batch(step)
    np.testing.assert_array_equal(one.batch(7).frames, other.batch(7).frames)
    assert one.batch(7).ids == other.batch(7).ids
    assert one.batch(8).ids != other.batch(7).ids
    assert (
        ClipLoader(store, "train", 17, 4, seed=4).batch(7).ids != ClipLoader(store, "train", 17, 4, seed=3).batch(7).ids
    )


def test_a_batch_is_what_its_ids_say(make_store: MakeStore) -> None:
    store = make_store([("a", "train", 40), ("b", "train", 60), (None, "train", 30)])
    batch = ClipLoader(store, "train", 9, 32, seed=0, mirror=True).batch(0)
    assert batch.frames.shape == (32, 9, 16, 24, 3) and batch.frames.dtype == np.uint8
    assert batch.label.dtype == np.int64
    for frames, label, id_ in zip(batch.frames, batch.label, batch.ids, strict=True):
        shot, start = id_.rstrip("~").split("@")
        number = int(shot.removeprefix("shot"))
        assert (frames[..., 0] == number).all()
        assert label == (0, 1, -1)[number]
        np.testing.assert_array_equal(frames[:, 0, 0, 1], int(start) + np.arange(9))
        columns = frames[0, 0, :, 2]
        np.testing.assert_array_equal(columns[::-1] if id_.endswith("~") else columns, np.arange(24))
    assert 4 <= sum(id_.endswith("~") for id_ in batch.ids) <= 28


def test_a_batch_may_be_written_to(make_store: MakeStore) -> None:
    assert ClipLoader(make_store([(None, "train", 40)]), "train", 9, 2, seed=0).batch(0).frames.flags.writeable


def test_every_place_is_drawn(make_store: MakeStore) -> None:
    loader = ClipLoader(make_store([(None, "train", 12)]), "train", 9, 64, seed=1)
    starts = Counter(id_.split("@")[1] for step in range(10) for id_ in loader.batch(step).ids)
    assert sorted(starts) == ["0", "1", "2", "3"]
    assert min(starts.values()) > 0.7 * 160


def test_a_rare_label_is_seen(make_store: MakeStore) -> None:
    store = make_store([*[("common", "train", 100)] * 20, ("rare", "train", 20)])
    loader = ClipLoader(store, "train", 9, 100, seed=0)
    seen = np.concatenate([loader.batch(step).label for step in range(20)])
    rare = (seen == store.labels.index("rare")).mean()
    assert 0.05 < rare < 0.25  # its share of the frames is 0.01


def test_a_short_shot_plays_there_and_back(make_store: MakeStore) -> None:
    loader = ClipLoader(make_store([(None, "train", 4)]), "train", 9, 1, seed=0)
    np.testing.assert_array_equal(loader.batch(0).frames[0, :, 0, 0, 1], [0, 1, 2, 3, 2, 1, 0, 1, 2])
    np.testing.assert_array_equal(next(loader.clips()).frames[0, :, 0, 0, 1], [0, 1, 2, 3, 2, 1, 0, 1, 2])


def test_a_still_stands() -> None:
    np.testing.assert_array_equal(there_and_back(1, 5), np.zeros(5))
    assert there_and_back(4, 9, start=2).tolist() == [2, 3, 2, 1, 0, 1, 2, 3, 2]


def test_fixed_clips_do_not_overlap(make_store: MakeStore) -> None:
    store = make_store([("a", "test", 40), ("b", "test", 5), ("a", "train", 90), ("b", "test", 18), ("b", "train", 9)])
    loader = ClipLoader(store, "test", 9, 4, seed=0)
    batches = list(loader.clips())
    assert [len(batch.ids) for batch in batches] == [4, 3]
    ids = [id_ for batch in batches for id_ in batch.ids]
    assert ids == ["shot0@0", "shot0@9", "shot0@18", "shot0@27", "shot1@0", "shot3@0", "shot3@9"]
    assert [id_ for batch in loader.clips(limit=3) for id_ in batch.ids] == ["shot0@0", "shot0@18", "shot1@0"]
    assert batches[1].label.tolist() == [1, 1, 1]


def test_a_label_that_was_not_learned_counts_as_none(make_store: MakeStore) -> None:
    store = make_store([("b", "train", 12), ("a", "test", 9)])
    assert store.labels == ("b",)
    assert next(ClipLoader(store, "test", 9, 1, seed=0).clips()).label.tolist() == [-1]


def test_an_empty_side_is_said(make_store: MakeStore) -> None:
    with pytest.raises(FootageError, match=r"no footage for validation \(as told\)"):
        ClipLoader(make_store([(None, "train", 9)]), "validation", 9, 1, seed=0)
