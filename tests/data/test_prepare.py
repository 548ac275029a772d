import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autoreel.config import DataConfig
from autoreel.data import shard
from autoreel.data.prepare import prepare
from autoreel.data.store import FootageStore
from autoreel.errors import FootageError, OutputError, RunLockedError
from autoreel.media.decode import decode
from autoreel.media.limits import PassingError

Frames = NDArray[np.uint8]
WriteClip = Callable[..., Path]
MakeScene = Callable[..., Frames]
SMALL = DataConfig(height=32, width=32)


def rejects(store: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (store / "rejects.jsonl").read_text().splitlines()]


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


@pytest.fixture
def six_clips(tmp_path: Path, write_clip: WriteClip, make_scene: MakeScene) -> Path:
    """Two labels with three clips each, 32 × 32, 20 frames at 10 frames per second."""
    folder = tmp_path / "footage"
    for seed in range(6):
        write_clip(folder / ("left", "right")[seed % 2] / f"{seed}.mkv", make_scene(seed, 20, 32, 6))
    return folder


def test_frames_come_through_exactly(tmp_path: Path, six_clips: Path, make_scene: MakeScene) -> None:
    lines: list[str] = []
    result = prepare([six_clips], tmp_path / "store", SMALL, report=lines.append)
    store = result.store
    assert result.made and result.num_shots == 6 and result.num_rejects == 0
    assert store.rate == Fraction(10) and store.size == (32, 32) and store.labels == ("left", "right")
    store.verify()
    for shot in store.shots:
        seed = int(Path(shot.source).stem)
        assert shot.label == ("left", "right")[seed % 2]
        np.testing.assert_array_equal(store.frames(shot), make_scene(seed, 20, 32, 6))
    assert all(store.split(side) for side in ("train", "validation", "test"))
    assert sum("1 shot, 2.0 s" in line for line in lines) == 6
    assert "6 shots, 12.0 s of 32×32 at 10 fps, 2 labels" in lines[-1]


def test_the_same_again_does_nothing(tmp_path: Path, six_clips: Path) -> None:
    first = prepare([six_clips], tmp_path / "store", SMALL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()}
    lines: list[str] = []
    again = prepare([six_clips], tmp_path / "store", SMALL, report=lines.append)
    assert not again.made and again.store.hash == first.store.hash
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(lines) == 1 and "already prepared" in lines[0]


def test_the_same_elsewhere_is_the_same_store(tmp_path: Path, six_clips: Path) -> None:
    one = prepare([six_clips], tmp_path / "one", SMALL)
    other = prepare([six_clips], tmp_path / "deep" / "other", SMALL)
    assert content(tmp_path / "one") == content(tmp_path / "deep" / "other")
    assert one.store.hash == other.store.hash


def test_killed_in_the_middle_it_goes_on(tmp_path: Path, six_clips: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from autoreel.config import DataConfig\n"
        "from autoreel.data.prepare import prepare\n"
        "def report(line):\n"
        "    if line.startswith('[4/6]'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "prepare([Path(sys.argv[1])], Path(sys.argv[2]), DataConfig(height=32, width=32), report=report)\n"
    )
    store = tmp_path / "store"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(six_clips), str(store)], env={"PYTHONPATH": ":".join(sys.path)}, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    with pytest.raises(FootageError, match="not finished"):
        FootageStore.open(store)
    done = {path: path.stat().st_mtime_ns for path in (store / "shards").glob("*.u8")}
    assert len(done) == 4
    (store / "shards" / ".0123456789ab.part.u8").write_bytes(b"half a shard")
    torn = next(iter(done))
    torn.write_bytes(torn.read_bytes()[:-1])  # a power cut
    prepare([six_clips], store, SMALL)
    assert [path for path, at in done.items() if path.stat().st_mtime_ns != at] == [torn]
    prepare([six_clips], tmp_path / "whole", SMALL)
    assert content(store) == content(tmp_path / "whole")


def test_new_files_are_added_and_old_ones_go(
    tmp_path: Path, six_clips: Path, write_clip: WriteClip, make_scene: MakeScene
) -> None:
    store = tmp_path / "store"
    first = prepare([six_clips], store, SMALL).store
    kept = {path: path.stat().st_mtime_ns for path in (store / "shards").glob("*.u8")}
    write_clip(six_clips / "left/9.mkv", make_scene(9, 20, 32, 6))
    second = prepare([six_clips], store, SMALL).store
    assert len(second.shots) == 7 and second.hash != first.hash
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    (six_clips / "left/9.mkv").unlink()
    third = prepare([six_clips], store, SMALL).store
    assert third.hash == first.hash
    assert set((store / "shards").glob("*.u8")) == set(kept)


def test_a_file_with_another_name_is_the_same_footage(tmp_path: Path, six_clips: Path) -> None:
    prepare([six_clips], tmp_path / "store", SMALL)
    (six_clips / "left/0.mkv").rename(six_clips / "left/zero.mkv")
    assert not prepare([six_clips], tmp_path / "store", SMALL).made
    (six_clips / "left/zero.mkv").rename(six_clips / "right/zero.mkv")  # another label is other footage
    assert prepare([six_clips], tmp_path / "store", SMALL).made


def test_a_store_with_other_settings_is_refused(tmp_path: Path, six_clips: Path) -> None:
    prepare([six_clips], tmp_path / "store", SMALL)
    before = content(tmp_path / "store")
    with pytest.raises(FootageError, match=r"other settings \(height 32, now 64; width 32, now 64\).*choose another"):
        prepare([six_clips], tmp_path / "store", DataConfig())
    assert content(tmp_path / "store") == before


def test_other_peoples_folders_are_left_alone(tmp_path: Path, six_clips: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents/letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="folder with other files in it"):
        prepare([six_clips], tmp_path / "documents", SMALL)
    assert [path.name for path in (tmp_path / "documents").iterdir()] == ["letter.txt"]
    with pytest.raises(OutputError, match="it is a file, and a store is a folder"):
        prepare([six_clips], tmp_path / "documents/letter.txt", SMALL)


def test_two_at_once_are_kept_apart(tmp_path: Path, six_clips: Path) -> None:
    (tmp_path / "store/shards").mkdir(parents=True)
    with (tmp_path / "store/.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RunLockedError, match="another process prepares"):
            prepare([six_clips], tmp_path / "store", SMALL)
    prepare([six_clips], tmp_path / "store", SMALL)


def test_a_lock_that_leads_elsewhere_is_refused(tmp_path: Path, six_clips: Path) -> None:
    (tmp_path / "store/shards").mkdir(parents=True)
    (tmp_path / "store/.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match=r"store/\.lock: it is a link; delete it"):
        prepare([six_clips], tmp_path / "store", SMALL)
    assert not (tmp_path / "elsewhere").exists()


def test_bad_files_are_listed_and_good_ones_used(tmp_path: Path, six_clips: Path) -> None:
    good = (six_clips / "left/0.mkv").read_bytes()
    (six_clips / "left/empty.mp4").touch()
    (six_clips / "left/cut.mkv").write_bytes(good[: len(good) // 2])
    (six_clips / "left/text.avi").write_text("not a film at all\n" * 100)
    (six_clips / "left/copy.mkv").write_bytes(good)
    (six_clips / "song.mp3").write_bytes(b"ID3")
    lines: list[str] = []
    result = prepare([six_clips], tmp_path / "store", SMALL, report=lines.append)
    assert result.num_shots == 6 and result.num_rejects == 5
    rows = rejects(tmp_path / "store")
    assert {row["file"] for row in rows} == {
        "left/empty.mp4", "left/cut.mkv", "left/text.avi", "left/copy.mkv", "song.mp3",
    }  # fmt: skip
    for row in rows:
        assert set(row) == {"file", "reason", "start_s", "end_s"}
        assert row["reason"] and "\n" not in row["reason"] and str(tmp_path) not in row["reason"]
    assert any("5 left out" in line for line in lines)


def test_a_failing_disk_is_asked_again(
    tmp_path: Path, six_clips: Path, write_clip: WriteClip, make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, **asked: Any) -> Any:
        if path.name == "0.mkv":
            raise PassingError(f"{path}: cannot be read: Input/output error")
        return decode(path, **asked)

    monkeypatch.setattr(shard, "decode", failing)
    assert prepare([six_clips], tmp_path / "store", SMALL).num_shots == 5
    assert rejects(tmp_path / "store")[0]["reason"] == "cannot be read: Input/output error"
    shutil.copytree(tmp_path / "store", tmp_path / "other")
    lines: list[str] = []
    assert prepare([six_clips], tmp_path / "store", SMALL, report=lines.append).num_shots == 5  # tried, and no better
    assert lines[-1] == "note: 1 of them may go well another time, the first: left/0.mkv"
    monkeypatch.undo()
    before = content(tmp_path / "store")
    assert not prepare([six_clips], tmp_path / "store", SMALL, retry=False).made
    assert content(tmp_path / "store") == before
    assert prepare([six_clips], tmp_path / "store", SMALL).num_shots == 6
    assert rejects(tmp_path / "store") == [] and not prepare([six_clips], tmp_path / "store", SMALL).made
    write_clip(six_clips / "left/9.mkv", make_scene(9, 20, 32, 6))
    assert prepare([six_clips], tmp_path / "other", SMALL).num_shots == 7


@pytest.mark.parametrize("damage", ["pipe", "deep"])
def test_a_record_that_is_none_is_made_again(tmp_path: Path, six_clips: Path, damage: str) -> None:
    prepare([six_clips], tmp_path / "store", SMALL)
    before = content(tmp_path / "store")
    (tmp_path / "store/index.json").unlink()
    record = next((tmp_path / "store/shards").glob("*.json"))
    record.unlink()
    if damage == "pipe":
        os.mkfifo(record)
    else:
        record.write_text("[" * 200_000)
    prepare([six_clips], tmp_path / "store", SMALL)
    assert record.is_file() and content(tmp_path / "store") == before


def test_names_that_are_no_text_are_footage_too(tmp_path: Path, six_clips: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe")
    (six_clips / "left").rename(six_clips / odd)
    (six_clips / "right" / "1.mkv").rename(six_clips / "right" / f"{odd}.mkv")
    (six_clips / "right" / f"{odd}.mp4").write_bytes(b"no film")
    lines: list[str] = []
    result = prepare([six_clips], tmp_path / "store", SMALL, report=lines.append)
    "\n".join(lines).encode()
    assert result.num_shots == 6 and result.store.labels == ("\\xff\\xfe", "right")
    assert "right/\\xff\\xfe.mkv" in {shot.source for shot in FootageStore.open(tmp_path / "store").shots}
    assert rejects(tmp_path / "store")[0]["file"] == "right/\\xff\\xfe.mp4"


def test_what_is_left_out_of_a_file_is_listed_with_its_time(
    tmp_path: Path, write_clip: WriteClip, make_scene: MakeScene
) -> None:
    black = np.zeros((12, 32, 32, 3), np.uint8)
    scenes = [make_scene(seed, 20, 32, 6) for seed in (1, 2)]
    frozen = np.repeat(scenes[1][-1:], 25, axis=0)
    frames = np.concatenate([black, scenes[0], black, scenes[1], frozen])
    write_clip(tmp_path / "footage/a.mkv", frames)
    store = prepare([tmp_path / "footage"], tmp_path / "store", SMALL).store
    rows = [(row["reason"], row["start_s"], row["end_s"]) for row in rejects(tmp_path / "store")]
    assert rows[:2] == [("black", 0.0, 1.2), ("black", 3.2, 4.4)]
    assert rows[2][0] == "frozen" and rows[2][1] == pytest.approx(6.3, abs=0.11)
    assert [shot.start_s for shot in store.shots] == [1.2, 4.4]
    np.testing.assert_array_equal(store.frames(store.shots[0]), scenes[0])
    np.testing.assert_array_equal(store.frames(store.shots[1])[:19], scenes[1][:19])
    store.verify()
    (shard,) = (tmp_path / "store/shards").glob("*.u8")
    assert shard.stat().st_size == sum(shot.num_frames for shot in store.shots) * 32 * 32 * 3


def test_the_same_footage_in_another_file_is_used_once(
    tmp_path: Path, write_clip: WriteClip, make_scene: MakeScene
) -> None:
    write_clip(tmp_path / "footage/a.mkv", make_scene(1, 20, 32, 6))
    write_clip(tmp_path / "footage/b.avi", make_scene(1, 20, 32, 6))
    write_clip(tmp_path / "footage/c.mkv", make_scene(2, 20, 32, 6))
    store = prepare([tmp_path / "footage"], tmp_path / "store", SMALL).store
    assert sorted({shot.source for shot in store.shots}) == ["a.mkv", "c.mkv"]
    (row,) = rejects(tmp_path / "store")
    assert row["file"] == "b.avi" and "shows the same as a.mkv at 0.00 s" in row["reason"]


def test_one_long_file_is_divided_in_time(tmp_path: Path, write_clip: WriteClip, make_scene: MakeScene) -> None:
    clip = write_clip(tmp_path / "long.mkv", make_scene(1, 250, 32, 6), rate=10)
    store = prepare([clip], tmp_path / "store", SMALL).store
    assert [(shot.split, shot.num_frames, shot.start_s) for shot in store.shots] == [
        ("train", 180, 0.0), ("validation", 25, 19.0), ("test", 25, 22.5),
    ]  # fmt: skip
    np.testing.assert_array_equal(store.frames(store.shots[2]), make_scene(1, 250, 32, 6)[225:])


def test_a_clip_shorter_than_any_window_is_used(tmp_path: Path, write_clip: WriteClip, make_scene: MakeScene) -> None:
    lines: list[str] = []
    clip = write_clip(tmp_path / "short.mkv", make_scene(1, 3, 32, 6))
    store = prepare([clip], tmp_path / "store", SMALL, report=lines.append).store
    assert [(shot.split, shot.num_frames) for shot in store.shots] == [("train", 3)]
    assert "too short to hold some back" in lines[-1]


def test_pictures_in_order_are_a_clip(tmp_path: Path, make_scene: MakeScene) -> None:
    frames = make_scene(1, 12, 32, 6)
    (tmp_path / "footage/walk").mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"footage/walk/{number}.png")
    Image.fromarray(make_scene(2, 1, 32, 6)[0]).save(tmp_path / "footage/title.png")
    store = prepare([tmp_path / "footage"], tmp_path / "store", SMALL).store
    assert [(shot.source, shot.num_frames) for shot in store.shots] == [("title.png", 1), ("walk/0.png", 12)]
    np.testing.assert_array_equal(store.frames(store.shots[1]), frames)


def test_numbered_photographs_are_stills_and_no_clip(tmp_path: Path, make_scene: MakeScene) -> None:
    (tmp_path / "album").mkdir()
    for number in range(8):
        Image.fromarray(make_scene(number, 1, 32, 6)[0]).save(tmp_path / f"album/IMG_{number:04d}.png")
    store = prepare([tmp_path / "album"], tmp_path / "store", SMALL).store
    assert [shot.num_frames for shot in store.shots] == [1] * 8
    np.testing.assert_array_equal(store.frames(store.shots[5]), make_scene(5, 1, 32, 6))


def test_the_rate_is_the_footages_own_median_divided_evenly_above_30(
    tmp_path: Path, write_clip: WriteClip, make_scene: MakeScene
) -> None:
    for number, rate in enumerate((12, 15, 60)):
        write_clip(tmp_path / f"footage/{number}.mkv", make_scene(number, 12, 32, 6), rate=rate)
    assert prepare([tmp_path / "footage"], tmp_path / "store", SMALL).store.rate == 15
    assert prepare([tmp_path / "footage/2.mkv"], tmp_path / "fast", SMALL).store.rate == 30
    asked = prepare([tmp_path / "footage"], tmp_path / "asked", SMALL.model_copy(update={"fps": 29.97})).store
    assert asked.rate == Fraction(2997, 100)


def test_a_long_file_is_used_up_to_its_limit(tmp_path: Path, write_clip: WriteClip, make_scene: MakeScene) -> None:
    write_clip(tmp_path / "long.mkv", make_scene(1, 60, 32, 6), rate=10)
    config = SMALL.model_copy(update={"max_file_s": 2.0})
    store = prepare([tmp_path / "long.mkv"], tmp_path / "store", config).store
    assert sum(shot.num_frames for shot in store.shots) == 20
    assert "only its first 2 s" in rejects(tmp_path / "store")[0]["reason"]
    exact = SMALL.model_copy(update={"max_file_s": 6.0})
    assert prepare([tmp_path / "long.mkv"], tmp_path / "exact", exact).num_rejects == 0


def test_nothing_to_use_says_how_many_and_why(tmp_path: Path, write_clip: WriteClip) -> None:
    with pytest.raises(FootageError, match="nowhere: there is no such file or folder"):
        prepare([tmp_path / "nowhere"], tmp_path / "store", SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FootageError, match=r"empty: no video found there$"):
        prepare([tmp_path / "empty"], tmp_path / "store", SMALL)
    (tmp_path / "empty/song.mp3").touch()
    with pytest.raises(
        FootageError, match=r"no video found there \(1 left out, the first: song\.mp3: holds sound only\)$"
    ):
        prepare([tmp_path / "empty"], tmp_path / "store", SMALL)
    assert not (tmp_path / "store").exists()
    write_clip(tmp_path / "dark/a.mkv", np.zeros((20, 32, 32, 3), np.uint8))
    (tmp_path / "dark/b.mp4").touch()
    with pytest.raises(FootageError, match=r"nothing there can be used \(2 left out, the first: a\.mkv: .*black\)"):
        prepare([tmp_path / "dark"], tmp_path / "store", SMALL)
    assert len(rejects(tmp_path / "store")) == 2


def test_a_full_disk_is_one_clear_line_and_it_goes_on(
    tmp_path: Path, write_clip: WriteClip, make_scene: MakeScene
) -> None:
    # A limit on the size of a file ends a write as a full disk does. The decoder's shared memory stays below it.
    write_clip(tmp_path / "footage/a.mkv", make_scene(1, 30, 32, 6))
    write_clip(tmp_path / "footage/b.mkv", make_scene(2, 400, 32, 6))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*u8: the file grew larger"):
            prepare([tmp_path / "footage"], tmp_path / "store", SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(list((tmp_path / "store/shards").glob("*.u8"))) == 1
    assert not list((tmp_path / "store/shards").glob(".*"))
    assert prepare([tmp_path / "footage"], tmp_path / "store", SMALL).num_shots == 3


def test_the_lab_footage_stays_whole_and_its_persons_apart(tmp_path: Path, footage: Path) -> None:
    result = prepare([footage / "actions_lab"], tmp_path / "store", DataConfig())
    store = result.store
    assert result.num_shots == 28 and result.num_rejects == 0
    assert store.labels == ("bend", "jumping_jack", "wave_one_hand", "wave_two_hands")
    persons = [{shot.group for shot in store.split(side)} for side in ("train", "validation", "test")]
    assert [len(found) for found in persons] == [5, 1, 1]
    assert len(set.union(*persons)) == 7
    for side in ("train", "validation", "test"):
        assert {shot.label for shot in store.split(side)} == set(store.labels)


def test_hostile_files_beside_good_ones(tmp_path: Path, hostile: Path, footage: Path) -> None:
    given = tmp_path / "footage"
    shutil.copytree(footage / "actions_lab" / "bend", given / "good")
    slow = {"long_1080p_videoonly_lowbitrate.mp4"}  # and the folder over_1MB: minutes of 4K
    for folder in (hostile, hostile / "derived"):
        for path in folder.iterdir():
            if path.is_file() and path.suffix != ".json" and path.name not in slow:
                (given / "bad").mkdir(exist_ok=True)
                shutil.copy(path, given / "bad" / path.name)
    result = prepare([given], tmp_path / "store", SMALL)
    used = {shot.source for shot in result.store.shots}
    rows = rejects(tmp_path / "store")
    assert sum(source.startswith("good/") for source in used) == 7
    left_out = {row["file"] for row in rows}
    for path in (given / "bad").iterdir():
        assert f"bad/{path.name}" in used | left_out, f"{path.name} is neither used nor listed"
    assert all(row["reason"] and "\n" not in row["reason"] for row in rows)
    certainly_bad = {"zero_bytes.webm", "readme_named.mp4", "sample_audio_only.mp4", "truncated.mkv", "corrupted.mp4"}
    assert not used & {f"bad/{name}" for name in certainly_bad}
    result.store.verify()
