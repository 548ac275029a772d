import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autoreel.config import DataConfig
from autoreel.data.store import FootageStore, store_key
from autoreel.errors import FootageError

MakeStore = Callable[..., FootageStore]


def test_frames_are_a_view_of_the_file(make_store: MakeStore) -> None:
    store = make_store([("a", "train", 12), ("b", "test", 7)])
    shot = store.shots[1]
    frames = store.frames(shot, 2, 3)
    assert frames.shape == (3, 16, 24, 3)
    np.testing.assert_array_equal(frames[:, 0, 0, 1], [2, 3, 4])
    assert not frames.flags.writeable and not frames.flags.owndata
    assert len(store.frames(shot)) == 7 and len(store.frames(shot, 5)) == 2


@pytest.mark.parametrize(("start", "count"), [(-1, 2), (0, 8), (6, 2), (0, 0), (7, None)])
def test_frames_that_are_not_there_are_an_error(make_store: MakeStore, start: int, count: int | None) -> None:
    store = make_store([(None, "train", 7)])
    with pytest.raises(ValueError, match="has 7 frames"):
        store.frames(store.shots[0], start, count)


def test_the_sides_and_labels(make_store: MakeStore) -> None:
    store = make_store([("b", "train", 12), ("a", "test", 7), (None, "train", 3)])
    assert store.labels == ("b",), "what was not learned cannot be asked for"
    assert [shot.id for shot in store.split("train")] == ["shot0", "shot2"]
    assert store.split("validation") == ()
    with pytest.raises(ValueError, match="must be one of train, validation, test"):
        store.split("valid")


def test_the_hash_is_of_what_is_learned(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store([("b", "train", 12), ("a", "test", 7)])
    assert FootageStore.open(store.path).hash == store.hash
    (tmp_path / "store").rename(tmp_path / "first")
    assert make_store([("b", "test", 12), ("a", "train", 7)]).hash != store.hash


def test_no_store_there(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="no prepared footage there; run autoreel prepare"):
        FootageStore.open(tmp_path)
    (tmp_path / "shards").mkdir()
    with pytest.raises(FootageError, match="not finished"):
        FootageStore.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FootageError, match="a store of footage is a folder"):
        FootageStore.open(tmp_path / "file")


def test_another_version_is_refused(make_store: MakeStore) -> None:
    store = make_store([(None, "train", 7)])
    path = store.path / "index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"version": 99}))
    with pytest.raises(FootageError, match=r"made by version 99 .* delete that folder"):
        FootageStore.open(store.path)


def test_damage_is_found(make_store: MakeStore) -> None:
    store = make_store([(None, "train", 7)])
    path = store.path / "index.json"
    text = path.read_text()
    for damaged in (text[:-20], text.replace('"num_frames": 7', '"num_frames": 6'), "[]", "[" * 100_000):
        path.write_text(damaged)
        with pytest.raises(FootageError, match=r"index\.json"):
            FootageStore.open(store.path)
    path.write_text(text)
    with pytest.raises(FootageError, match="is damaged"):
        store.verify()  # this store was written with a hash of zeros
    shard = store.path / "shards" / f"{0:064x}.u8"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(FootageError, match="missing or cut short"):
        FootageStore.open(store.path)


def test_the_key_is_of_content_and_settings() -> None:
    inputs = [("aa", "bend", None), ("bb", None, "anna")]
    key = store_key(DataConfig(), inputs)
    assert key == store_key(DataConfig(), inputs[::-1])
    assert key != store_key(DataConfig(fps=12), inputs)
    assert key != store_key(DataConfig(), [("aa", "wave", None), ("bb", None, "anna")])
