"""The run folder: files that appear whole, weights that are what they should be, one writer."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from autoreel.config import PRESETS, load_config
from autoreel.errors import ConfigError, DivergedError, OutputError, RunError, RunLockedError
from autoreel.runs import (
    RunFolder,
    StageState,
    atomic_path,
    atomic_write_bytes,
    atomic_write_text,
    layout_of,
    make_folder,
    read_kept,
    read_metadata,
    read_weights,
    write_kept,
    write_weights,
)
from autoreel.runs import folder as run_folder
from autoreel.runs.weights import MAX_HEADER_BYTES

# --- files that appear whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_when_it_is_complete(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "film.mp4") as part:
        part.write_text("half")
        assert part.suffix == ".mp4" and part.parent == tmp_path
        assert not (tmp_path / "film.mp4").exists()
    assert names(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), MemoryError()])
def test_what_was_there_stays_when_writing_fails(tmp_path: Path, error: BaseException) -> None:
    atomic_write_text(tmp_path / "x.txt", "old")
    with pytest.raises(type(error)), atomic_path(tmp_path / "x.txt") as part:
        part.write_text("new")
        raise error
    assert names(tmp_path) == ["x.txt"]
    assert (tmp_path / "x.txt").read_text() == "old"


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    said = r"cannot write .*x\.bin: the disk is full; free some space"
    with pytest.raises(OutputError, match=said), atomic_path(tmp_path / "x.bin") as part:
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_an_error_about_another_file_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x.bin"):
        (tmp_path / "absent" / "input.bin").read_bytes()


def test_a_missing_folder_and_a_folder_in_the_way_are_found_before_the_work(tmp_path: Path) -> None:
    def work() -> None:
        raise AssertionError("the work was begun")

    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, said in (
        (tmp_path / "absent" / "x.mp4", "its folder does not exist"),
        (tmp_path / "folder", "it is a folder; give a file name"),
        (tmp_path / "file" / "x.mp4", "a part of the path is a file"),
        (tmp_path / ("x" * 300), "the name is too long"),
    ):
        with pytest.raises(OutputError, match=said), atomic_path(path):
            work()


def test_a_folder_without_permission_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, *arguments: Any, **others: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))  # root is forbidden nothing

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match="no permission to write there"), atomic_path(tmp_path / "x.mp4"):
        raise AssertionError("the work was begun")


def test_a_folder_of_files_appears_at_once(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "frames", folder=True) as part:
        (part / "1.png").touch()
        assert not (tmp_path / "frames").exists()
    assert names(tmp_path / "frames") == ["1.png"]
    with pytest.raises(OutputError, match="with files in it"), atomic_path(tmp_path / "frames", folder=True):
        raise AssertionError("the work was begun")
    with pytest.raises(ValueError), atomic_path(tmp_path / "other", folder=True) as part:
        (part / "1.png").touch()
        raise ValueError("a bug")
    assert names(tmp_path) == ["frames"]


def killed_while_writing(final: Path, folder: bool) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from autoreel.runs import atomic_path\n"
        "with atomic_path(Path(sys.argv[1]), folder=bool(sys.argv[2])) as part:\n"
        "    (part / '1.png' if sys.argv[2] else part).write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    arguments = [sys.executable, "-c", code, str(final), "folder" if folder else ""]
    subprocess.run(arguments, env={"PYTHONPATH": ":".join(sys.path)}, check=False)


@pytest.mark.parametrize("name", ["film.mp4", "x" * 240 + ".mp4"])
def test_the_next_writer_takes_over_what_a_killed_one_left(tmp_path: Path, name: str) -> None:
    killed_while_writing(tmp_path / name, folder=False)
    assert len(names(tmp_path)) == 1 and names(tmp_path)[0].endswith(".part.mp4")
    with atomic_path(tmp_path / name) as part:
        assert part.read_bytes() == b""
        part.write_text("whole")
    assert names(tmp_path) == [name]


def test_a_folder_whose_name_cannot_be_put_on_the_disk_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the same command would not go on: there would be something already."""
    fsync, parent = os.fsync, tmp_path.stat().st_ino

    def full(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == parent:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with pytest.raises(OutputError, match="disk is full"), monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with atomic_path(tmp_path / "model", folder=True) as part:
            (part / "config.json").write_text("{}")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_a_killed_writer_left_is_emptied(tmp_path: Path) -> None:
    killed_while_writing(tmp_path / "frames", folder=True)
    assert (tmp_path / ".frames.part/1.png").exists()
    with atomic_path(tmp_path / "frames", folder=True) as part:
        (part / "2.png").touch()
    assert names(tmp_path) == ["frames"] and names(tmp_path / "frames") == ["2.png"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "film.mp4") as first:
        first.write_text("first")
        with atomic_path(tmp_path / "film.mp4") as second:
            second.write_text("second")
        (tmp_path / "film.mp4").unlink()
        (tmp_path / "film.mp4").mkdir()
        with pytest.raises(OutputError, match="it is a folder"), atomic_path(tmp_path / "film.mp4"):
            raise AssertionError("the work was begun")
        (tmp_path / "film.mp4").rmdir()
        atomic_write_text(tmp_path / "film.mp4", "second")
        assert first.read_text() == "first"
        assert (tmp_path / "film.mp4").read_text() == "second"
    assert (tmp_path / "film.mp4").read_text() == "first"
    assert names(tmp_path) == ["film.mp4"]


def test_a_disk_without_locks_is_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):
        atomic_write_text(tmp_path / "x.txt", "whole")
        assert names(tmp_path) == ["x.txt"]


def test_a_folder_is_on_the_disk_with_all_that_were_made_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, Path]] = []
    fsync, mkdir = os.fsync, Path.mkdir

    def traced_mkdir(self: Path, *rest: Any, **others: Any) -> None:
        mkdir(self, *rest, **others)
        events.append(("mkdir", self))

    def traced_fsync(descriptor: int) -> None:
        events.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    monkeypatch.setattr(Path, "mkdir", traced_mkdir)
    monkeypatch.setattr(os, "fsync", traced_fsync)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert events == [
        ("mkdir", tmp_path / "a"), ("fsync", tmp_path), ("mkdir", tmp_path / "a/b"), ("fsync", tmp_path / "a"),
    ]  # fmt: skip
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    for name in ("file", "file/c", "link"):
        with pytest.raises((FileExistsError, NotADirectoryError)):
            make_folder(tmp_path / name)


def test_bytes_and_text(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "b", b"\0\1")
    atomic_write_text(tmp_path / "t", "Größe\n")
    assert (tmp_path / "b").read_bytes() == b"\0\1"
    assert (tmp_path / "t").read_bytes() == "Größe\n".encode()


# --- weights


TENSORS = {
    "layer.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "layer.bias": torch.tensor([0.5, -0.25], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "flags": torch.tensor([True, False, True]),
    "nothing": torch.empty(0, 3),
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    write_weights(tmp_path / "w.safetensors", TENSORS, {"stage": "codec"})
    return tmp_path / "w.safetensors"


def test_weights_come_back_bit_for_bit_and_others_can_read_them(weights: Path) -> None:
    ours, theirs = read_weights(weights, layout_of(TENSORS)), safetensors.torch.load_file(weights)
    assert ours.keys() == theirs.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(ours[name], value) and torch.equal(theirs[name], value)
        assert ours[name].dtype == value.dtype
    assert read_metadata(weights) == {"stage": "codec"}


def test_what_others_wrote_can_be_read(tmp_path: Path) -> None:
    safetensors.torch.save_file(TENSORS, tmp_path / "theirs.safetensors", {"a": "b"})
    read = read_weights(tmp_path / "theirs.safetensors", layout_of(TENSORS))
    assert all(torch.equal(read[name], value) for name, value in TENSORS.items())


def test_views_and_other_memory_formats_are_written_as_what_they_show(tmp_path: Path) -> None:
    video = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors = {"turned": torch.arange(6.0).reshape(2, 3).T, "spread": torch.ones(1).expand(4), "video": video}
    write_weights(tmp_path / "w", tensors, {})
    read = read_weights(tmp_path / "w", layout_of(tensors))
    assert all(torch.equal(read[name], value) for name, value in tensors.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_not_saved(tmp_path: Path, value: float) -> None:
    with pytest.raises(DivergedError, match="b is not finite"):
        write_weights(tmp_path / "w", {"a": torch.ones(2), "b": torch.tensor([0.0, value])}, {})


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the header of a file, and keep its length right."""

    def damage(path: Path) -> None:
        content = path.read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])
        changed = change(header)
        text = changed if isinstance(changed, bytes) else json.dumps(changed or header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])

    return damage


def entry(name: str, **changes: object) -> Callable[[Path], None]:
    return rewritten(lambda header: header[name].update(changes))


EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "seven bytes": lambda path: path.write_bytes(b"1234567"),
    "a header of nothing": lambda path: path.write_bytes(struct.pack("<Q", 0)),
    "a header beyond the file": lambda path: path.write_bytes(struct.pack("<Q", 1000) + b"{}"),
    "a header beyond the limit": lambda path: path.write_bytes(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{}"),
    "a header of 2^63": lambda path: path.write_bytes(struct.pack("<Q", 1 << 63) + b"{}"),
    "a pickle": lambda path: path.write_bytes(b'cos\nsystem\n(S"exit 1"\ntR.' + bytes(100)),
    "an archive of a pickle": lambda path: path.write_bytes(b"PK\x03\x04\x14\x00\x00\x00" + bytes(1000)),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "a byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "no JSON": rewritten(lambda header: b"not json"),
    "no text": rewritten(lambda header: b"\xff\xfe\x00\x01"),
    "a list": rewritten(lambda header: b"[1, 2]"),
    "deep": rewritten(lambda header: b"[" * 100_000),
    "a name twice": rewritten(lambda header: json.dumps(header)[:-1].encode() + b', "count": {}}'),
    "a name more": rewritten(lambda header: {**header, "extra": header["count"]}),
    "a name less": rewritten(lambda header: {name: value for name, value in header.items() if name != "count"}),
    "100,000 empty tensors": rewritten(lambda header: {**header, **dict.fromkeys(map(str, range(100_000)), EMPTY)}),
    "no tensors": rewritten(lambda header: b"{}"),
    "another shape of the same size": entry("layer.weight", shape=[4, 3]),
    "another type of the same size": entry("layer.weight", dtype="I32"),
    "an unknown type": entry("layer.weight", dtype="F8_E4M3"),
    "a type that is none": entry("layer.weight", dtype=["F32"]),
    "a huge shape": entry("layer.weight", shape=[1 << 40, 1 << 40]),
    "a negative shape": entry("layer.weight", shape=[-3, -4]),
    "a shape that is none": entry("layer.weight", shape="3,4"),
    "offsets that overlap": entry("layer.weight", data_offsets=[0, 48]),
    "offsets turned around": entry("layer.weight", data_offsets=[56, 8]),
    "offsets beyond the end": entry("layer.weight", data_offsets=[1 << 50, (1 << 50) + 48]),
    "offsets below zero": entry("layer.weight", data_offsets=[-48, 0]),
    "offsets that are none": entry("layer.weight", data_offsets=None),
    "offsets that are true": entry("flags", data_offsets=[False, True]),
    "three offsets": entry("layer.weight", data_offsets=[8, 56, 56]),
    "an entry that is none": rewritten(lambda header: {**header, "count": 7}),
    "a key more": entry("layer.weight", hidden="x"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_hostile_weights_are_refused(weights: Path, damage: str) -> None:
    DAMAGES[damage](weights)
    with pytest.raises(RunError, match=r"w\.safetensors"):
        read_weights(weights, layout_of(TENSORS))


def test_every_flipped_bit_is_found_by_the_hash(weights: Path) -> None:
    digest = write_weights(weights, TENSORS, {"stage": "codec"})
    whole = weights.read_bytes()
    assert read_weights(weights, layout_of(TENSORS), sha256={digest}).keys() == TENSORS.keys()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        weights.write_bytes(changed)
        with pytest.raises(RunError):
            read_weights(weights, layout_of(TENSORS), sha256={digest})


def test_a_file_that_no_manifest_speaks_of_has_its_hash_in_itself(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    write_kept(path, TENSORS, {"split": "train"})
    assert read_metadata(path)["split"] == "train"
    read = read_kept(path, layout_of(TENSORS))
    assert all(torch.equal(read[name], value) for name, value in TENSORS.items())
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    with pytest.raises(RunError, match="its content is not what was written"):
        read_kept(path, layout_of(TENSORS))
    assert read_kept(weights, layout_of(TENSORS)).keys() == TENSORS.keys()  # of an older version


def test_absent_weights_and_strange_metadata(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read: No such file"):
        read_weights(tmp_path / "absent", {})
    with pytest.raises(RunError, match="cannot be read: No such file"):
        read_metadata(tmp_path / "absent")
    rewritten(lambda header: {**header, "__metadata__": {"a": 1}})(weights)
    with pytest.raises(RunError, match="not a table of strings"):
        read_metadata(weights)


# --- the run folder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", PRESETS["small"])


def test_a_run_opens_as_it_was_made(run: RunFolder) -> None:
    run.update(labels=("bend", "jump"), size=(128, 128), rate=Fraction(30000, 1001), data_hash="d", threads=2)
    run.update_stage("codec", StageState(done=True, step=7, elapsed_s=1.5))
    again = RunFolder.open(run.root)
    assert again.config == PRESETS["small"]
    assert again.manifest == run.manifest
    assert again.manifest.rate == Fraction(30000, 1001)
    assert names(run.root) == [".lock", "config.toml", "run.json"]


def test_a_run_is_made_in_a_new_or_an_empty_folder(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is a run already; open it"):
        RunFolder.create(run.root, PRESETS["tiny"])
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").touch()
    with pytest.raises(RunError, match=r"holds other files \(thesis.txt\)"):
        RunFolder.create(tmp_path / "home", PRESETS["tiny"])
    with pytest.raises(OutputError, match="a part of the path is a file"):
        RunFolder.create(tmp_path / "home" / "thesis.txt" / "run", PRESETS["tiny"])
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.toml").touch()  # of a call that was killed
    RunFolder.create(tmp_path / "begun", PRESETS["tiny"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"format": 99}, "is of format 99, this autoreel reads up to 7; update autoreel"),
        ({"format": 0}, "is of the old format 0, this autoreel reads 7; train it again, in a new run folder"),
        ({"format": "1"}, "does not say its format"),
        ({}, "does not say its format"),
        ({"format": 1, "labels": 7}, "'labels' is 7"),
        ({"format": 1, "created": "x", "lables": []}, "unknown key 'lables', did you mean 'labels'"),
        ([1], "not a table"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_run_that_cannot_be_read_says_what_to_do(run: RunFolder, content: object, said: str) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (run.root / "run.json").write_text(text)
    with pytest.raises(RunError, match=said):
        RunFolder.open(run.root)


def test_in_a_folder_that_may_be_written_and_not_read_all_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.open

    def refused(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:  # the administrator may read anywhere
        if Path(path) == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return before(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", refused)
    assert RunFolder.open(RunFolder.create(tmp_path / "run", PRESETS["tiny"]).root).config == PRESETS["tiny"]
    atomic_write_text(tmp_path / "words.txt", "some")
    assert (tmp_path / "words.txt").read_text() == "some"


def test_a_run_folder_that_may_not_be_looked_into_is_said_so(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Path.stat

    def refused(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:  # the administrator may look anywhere
        if self.parent == run.root:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return stat(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(RunError, match="cannot be opened: Permission denied; name the folder of a run"):
        RunFolder.open(run.root)


def test_absent_runs_other_folders_and_damaged_configs(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist; `autoreel train` makes a run folder"):
        RunFolder.open(tmp_path / "absent")
    with pytest.raises(RunError, match="name too long; name the folder of a run"):
        RunFolder.open(tmp_path / ("a" * 300))
    with pytest.raises(RunError, match="is not a run folder"):
        RunFolder.open(tmp_path)
    (run.root / "config.toml").write_text("codec = 3")
    with pytest.raises(RunError, match=r"is damaged: .*config\.toml"):
        RunFolder.open(run.root)


def test_an_old_format_is_migrated(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads((run.root / "run.json").read_text())
    old = {**{key: value for key, value in content.items() if key != "labels"}, "format": 0, "names": ["a"]}
    (run.root / "run.json").write_text(json.dumps(old))

    def migrate(content: dict[str, Any]) -> dict[str, Any]:
        return {**{key: value for key, value in content.items() if key != "names"}, "labels": content["names"]}

    monkeypatch.setitem(run_folder.MIGRATIONS, 0, migrate)
    assert RunFolder.open(run.root).manifest.labels == ("a",)


@pytest.mark.parametrize("name", ["codec.safetensors", "checkpoints/codec-00000003/state.safetensors"])
def test_runs_of_format_1_are_read_unless_their_codec_is_of_the_old_kind(run: RunFolder, name: str) -> None:
    content = json.loads((run.root / "run.json").read_text())
    (run.root / "run.json").write_text(json.dumps({**content, "format": 1}))
    assert RunFolder.open(run.root).manifest.format == run_folder.FORMAT
    path, tensor = run.root / name, "linear.up" if "/" not in name else "module/codec/linear.up"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(path, {tensor: torch.zeros(6, 4, 3, 3)}, {})
    assert RunFolder.open(run.root).manifest.format == run_folder.FORMAT
    write_weights(path, {tensor: torch.zeros(6, 4)}, {})
    with pytest.raises(RunError, match="is of the old format 1, this autoreel reads 7; train it again, in a new run"):
        RunFolder.open(run.root)
    path.write_bytes(b"torn")
    assert RunFolder.open(run.root).manifest.format == run_folder.FORMAT  # who loads it says what is wrong


def test_a_share_of_windows_is_not_taken_for_one_of_steps(run: RunFolder) -> None:
    """The field of format 2 has another name now: its value is left out, not gone on with."""
    text = (run.root / "config.toml").read_text()
    assert "behind_clean_share = 0.9" in text
    (run.root / "config.toml").write_text(text.replace("behind_clean_share = 0.9", "clean_context_share = 0.1"))
    content = json.loads((run.root / "run.json").read_text())
    (run.root / "run.json").write_text(json.dumps({**content, "format": 2}))
    for _ in range(2):
        old = RunFolder.open(run.root)
        assert old.config == run.config and old.config.prior.behind_clean_share == 0.9
        old.update()  # run.json is of today's format now, config.toml as it was
    with pytest.raises(ConfigError, match=r"'prior\.clean_context_share' was .* windows; write 'behind_clean_share'"):
        load_config(run.root / "config.toml")  # a person's own says what to write


def test_a_config_of_before_format_4_says_nothing_of_mirrored_windows(run: RunFolder) -> None:
    text = (run.root / "config.toml").read_text()
    former, _, rest = text.partition("[prior]")
    assert run.config.prior.mirror and "\nmirror = true\n" in rest
    (run.root / "config.toml").write_text(former + "[prior]" + rest.replace("mirror = true\n", "", 1))
    assert RunFolder.open(run.root).config.prior.mirror  # a person's own, written today
    content = json.loads((run.root / "run.json").read_text())
    old = {key: value for key, value in content.items() if key != "config_format"}
    (run.root / "run.json").write_text(json.dumps({**old, "format": 3}))
    for _ in range(2):
        opened = RunFolder.open(run.root)
        assert not opened.config.prior.mirror and opened.config.objective.contrast_weight == 2.0  # as it is written
        assert opened.absent["objective"] == {"contrast_weight": 0.5, "border_weight": 1.0}
        assert opened.absent["prior"] == {"mirror": False, "drift_share": 0.0, "preconditioned": False}
        opened.update()  # run.json is of today's format now, config.toml as it was


def test_weights_are_held_to_their_hash(run: RunFolder) -> None:
    digest = run.save_weights("codec.safetensors", TENSORS, {})
    assert RunFolder.open(run.root).manifest.codec_hash == digest
    other = {name: value.clone() for name, value in TENSORS.items()}
    other["count"] += 1
    write_weights(run.path("codec.safetensors"), other, {})
    with pytest.raises(RunError, match="its content is not what was written"):
        RunFolder.open(run.root).load_weights("codec.safetensors", layout_of(TENSORS))


def test_weights_that_are_not_there_yet(run: RunFolder) -> None:
    with pytest.raises(RunError, match=r"has no prior.safetensors; run `autoreel train` on it"):
        run.load_weights("prior.safetensors", {})
    run.save_weights("prior.safetensors", TENSORS, {})
    run.forget_weights("prior.safetensors")
    with pytest.raises(RunError, match=r"has no prior.safetensors"):
        run.load_weights("prior.safetensors", layout_of(TENSORS))


def test_a_kill_at_any_write_leaves_weights_that_load(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies before, between and after the renames of replacing a weights file."""
    newer = {name: value + 1 if value.is_floating_point() else value for name, value in TENSORS.items()}
    replace = os.replace
    for survived in range(4):
        run.save_weights("codec.safetensors", TENSORS, {})
        left = iter([True] * survived)

        def dying(old: Any, new: Any, left: Any = left) -> None:
            if not next(left, False):
                raise SystemExit("killed")
            replace(old, new)

        with monkeypatch.context() as context:
            context.setattr(os, "replace", dying)
            if survived < 3:
                with pytest.raises(SystemExit):
                    run.save_weights("codec.safetensors", newer, {})
            else:
                run.save_weights("codec.safetensors", newer, {})
        again = RunFolder.open(run.root)
        loaded = again.load_weights("codec.safetensors", layout_of(TENSORS))
        expected = newer if survived >= 2 else TENSORS
        assert torch.equal(loaded["layer.weight"], expected["layer.weight"])
        run = again


def test_one_writer_and_its_leftovers_are_cleared(run: RunFolder) -> None:
    run.path("checkpoints").mkdir()
    run.path("checkpoints/.abc.part").mkdir()
    run.path("checkpoints/.abc.part/state.json").touch()
    run.path(".abc.part.safetensors").touch()
    run.path(".abc.part.mp4").touch()  # somebody is making a clip into this folder
    with run.lock():
        assert names(run.root) == [".abc.part.mp4", ".lock", "checkpoints", "config.toml", "run.json"]
        assert names(run.path("checkpoints")) == []
        said = rf"is being written by another process \(number {os.getpid()}\)"
        with pytest.raises(RunLockedError, match=said), RunFolder.open(run.root).lock():
            raise AssertionError("two writers")
    with run.lock():
        pass


def test_a_persons_own_config_is_never_overwritten(tmp_path: Path) -> None:
    own = tmp_path / "config.toml"
    own.write_text('# mine\npreset = "tiny"\n[training]\nseed = 7\n', encoding="utf-8")
    text = own.read_text()
    with pytest.raises(RunError, match=r"config\.toml stands there and says something else"):
        RunFolder.create(tmp_path, PRESETS["tiny"])
    RunFolder.create(tmp_path, load_config(own))
    assert own.read_text() == text
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.toml").write_text("preset = 3")
    with pytest.raises(RunError, match=r"config\.toml stands there and cannot be used: .*unknown preset"):
        RunFolder.create(tmp_path / "other", PRESETS["tiny"])
    assert names(tmp_path / "other") == ["config.toml"]


def test_who_waits_for_the_lock_sees_what_the_other_has_written(run: RunFolder) -> None:
    waiting = RunFolder.open(run.root)
    with run.lock():
        run.update_stage("codec", StageState(done=True, step=5))
    with waiting.lock():
        assert waiting.manifest == run.manifest
        waiting.update(labels=("ad",))
    assert RunFolder.open(run.root).manifest.stages["codec"].step == 5


def test_the_lock_of_a_process_that_died_is_free(run: RunFolder) -> None:
    script = "import os, sys; from pathlib import Path; from autoreel.runs import RunFolder; " \
        "RunFolder.open(Path(sys.argv[1])).lock().__enter__(); os.kill(os.getpid(), 9)"  # fmt: skip
    source = Path(run_folder.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(run.root)], env={**os.environ, "PYTHONPATH": str(source)})
    assert done.returncode == -9
    assert (run.root / ".lock").read_text().strip().isdigit()
    with run.lock():
        pass


def test_metrics_survive_a_torn_line(run: RunFolder) -> None:
    assert list(run.metrics()) == []
    run.append_metrics({"stage": "codec", "step": 1, "loss": 0.5})
    with run.path("metrics.jsonl").open("ab") as file:
        file.write(b'{"stage": "codec", "st')
    run.append_metrics({"stage": "codec", "step": 2, "loss": float("nan")})
    run.append_metrics({"stage": "prior", "step": 2})
    assert [(row["stage"], row["step"]) for row in run.metrics()] == [("codec", 1), ("codec", 2), ("prior", 2)]
    assert [row.get("loss") for row in run.metrics()] == [0.5, None, None]
    run.forget_metrics("codec", after=1)
    assert [(row["stage"], row["step"]) for row in run.metrics()] == [("codec", 1), ("prior", 2)]


def test_nothing_is_written_through_a_link_in_a_run(run: RunFolder, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("precious\n")
    for name in (".lock", "metrics.jsonl"):
        run.path(name).unlink(missing_ok=True)
        run.path(name).symlink_to(precious)
    said = "has to be a plain file, not a link, a pipe or a device; remove it"
    with pytest.raises(RunError, match=rf"\.lock {said}"), run.lock():
        raise AssertionError("it was locked")
    with pytest.raises(RunError, match=rf"metrics\.jsonl {said}"):
        run.append_metrics({"stage": "codec", "step": 1})
    with pytest.raises(RunError, match=said):
        list(run.metrics())
    assert precious.read_text() == "precious\n"


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl"])
def test_a_pipe_is_not_waited_for(run: RunFolder, name: str) -> None:
    run.path(name).unlink(missing_ok=True)
    os.mkfifo(run.path(name))
    use = run.lock().__enter__ if name == ".lock" else lambda: list(run.metrics())
    with pytest.raises(RunError, match="has to be a plain file"):
        use()
    if name == "metrics.jsonl":
        with pytest.raises(RunError, match="has to be a plain file"):
            run.append_metrics({"stage": "codec", "step": 1})


STRANGE = (
    "[" * 100_000, '{"stage": "codec", "step": "x"}', '{"stage": "codec"}', '{"step": 3}', '{"stage": 3, "step": 3}',
    '{"stage": "codec", "step": true}', '{"stage": "codec", "step": -1}', '{"stage": "codec", "step": 1e400}',
    '{"stage": "codec", "step": 3, "loss": "x"}', '{"stage": "codec", "step": 3, "loss": [1]}',
    '{"stage": "codec", "step": 3, "loss": NaN}', '{"stage": "codec", "step": 3, "loss": 1' + "0" * 400 + "}",
    '{"stage": "codec", "step": 3, "skipped": [[[]]]}', '{"stage": "codec", "step": 3' + " " * (1 << 20) + "}",
    '{"stage": "codec", "step": 3, "loss": 1' + "0" * 5000 + "}",
)  # fmt: skip


def test_lines_that_we_cannot_have_written_are_left_out(run: RunFolder) -> None:
    for step, line in enumerate(STRANGE):
        run.append_metrics({"stage": "codec", "step": step})
        with run.path("metrics.jsonl").open("a") as file:
            file.write(line + "\n")
    assert [row["step"] for row in run.metrics()] == list(range(len(STRANGE)))
    run.forget_metrics("codec", after=4)
    assert [row["step"] for row in run.metrics()] == [0, 1, 2, 3, 4]


def test_two_that_begin_the_same_run_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one comes when the first has looked and not written yet, or when it is writing."""
    path, begun = tmp_path / "run", list[RunFolder]()
    check, replace = run_folder._check_new, os.replace

    def looked(*arguments: Any) -> bool:
        has_config = check(*arguments)
        monkeypatch.setattr(run_folder, "_check_new", check)
        begun.append(RunFolder.create(path, PRESETS["small"]))
        begun[0].update(labels=("ad",))
        return has_config

    monkeypatch.setattr(run_folder, "_check_new", looked)
    with pytest.raises(RunError, match="is a run already"):
        RunFolder.create(path, PRESETS["tiny"])
    assert RunFolder.open(path).manifest.labels == ("ad",) and RunFolder.open(path).config == PRESETS["small"]

    def writing(*arguments: Any) -> None:
        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(RunLockedError, match="another process"):
            RunFolder.create(tmp_path / "other", PRESETS["small"])
        replace(*arguments)

    monkeypatch.setattr(os, "replace", writing)
    assert RunFolder.create(tmp_path / "other", PRESETS["tiny"]).config == PRESETS["tiny"]


def test_a_lock_that_cannot_be_written_is_one_clear_line(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError, match=r"cannot write .*\.lock: the disk is full"), run.lock():
        raise AssertionError("it was locked")


def test_metrics_that_cannot_be_written_are_an_error(run: RunFolder) -> None:
    run.path("metrics.jsonl").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        run.append_metrics({"step": 1})
