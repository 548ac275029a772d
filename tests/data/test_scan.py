import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoreel.data.scan import MAX_GROUPS_BYTES, Scan, scan
from autoreel.errors import FootageError
from autoreel.film.provenance import NOTICE
from autoreel.media.encode import VideoWriter


def put(path: Path, content: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if content is not None else f"content of {path}")
    return path


def test_labels_are_the_top_folders_below_the_given_one(tmp_path: Path) -> None:
    put(tmp_path / "loose.mp4")
    put(tmp_path / "bend/a.mkv")
    put(tmp_path / "bend/outdoors/b.MOV")
    put(tmp_path / "notes.txt")
    found = scan([tmp_path])
    assert {source.name: source.label for source in found.sources} == {
        "loose.mp4": None, "bend/a.mkv": "bend", "bend/outdoors/b.MOV": "bend",
    }  # fmt: skip
    assert not found.rejects


def test_several_folders_give_their_names_as_labels(tmp_path: Path) -> None:
    put(tmp_path / "dogs/a.mp4")
    put(tmp_path / "cats/a.mp4")
    put(tmp_path / "cats/white/b.mp4")
    found = scan([tmp_path / "dogs", tmp_path / "cats"])
    assert {source.name: source.label for source in found.sources} == {
        "dogs/a.mp4": "dogs", "cats/a.mp4": "cats", "cats/white/b.mp4": "white",
    }  # fmt: skip


def test_a_single_file_has_no_label_and_its_table_beside_it(tmp_path: Path) -> None:
    clip = put(tmp_path / "a.mp4")
    put(tmp_path / "groups.csv", "file,group\na.mp4,anna\nother.mp4,ben\n")
    found = scan([clip])
    assert [(source.name, source.label, source.group) for source in found.sources] == [("a.mp4", None, "anna")]


def test_hidden_names_are_left_out(tmp_path: Path) -> None:
    put(tmp_path / ".cache/a.mp4")
    put(tmp_path / ".b.mp4")
    put(tmp_path / "c.mp4")
    assert [source.name for source in scan([tmp_path]).sources] == ["c.mp4"]


def names(found: Scan) -> list[str]:
    return [source.name for source in found.sources]


def test_what_autoreel_made_is_no_footage_and_one_line_says_so(tmp_path: Path) -> None:
    put(tmp_path / "mine.mp4")
    put(tmp_path / "mine.json", '{"record": 1}')  # somebody else's: it names no film
    put(tmp_path / "film.mp4")
    put(tmp_path / "film.json", '{"record": 1, "film": "film.mp4"}')
    for file in ("run.json", "config.toml", "samples/codec.mp4"):
        put(tmp_path / "film.run" / file)
    for file in ("index.json", "shards/a.mp4"):
        put(tmp_path / "film.footage" / file)
    put(tmp_path / "clips/run.json")
    put(tmp_path / "clips/a.mp4")
    found = scan([tmp_path])
    assert names(found) == ["clips/a.mp4", "mine.mp4"] and not found.rejects
    assert found.notes == ("film.mp4 and 2 more left out, because autoreel made it",)
    assert names(scan([tmp_path / "mine.mp4", tmp_path / "film.mp4"])) == [f"{tmp_path.name}/mine.mp4"]


@pytest.mark.parametrize("kind", [kind for kind in NOTICE if kind != "original"])
def test_generated_clips_are_known_by_their_metadata(tmp_path: Path, kind: str) -> None:
    put(tmp_path / "a.mp4", f"ftyp...{NOTICE[kind]}" + "x" * (9 << 20))
    put(tmp_path / "b.mp4", "x" * (9 << 20) + NOTICE[kind])
    put(tmp_path / "c.mp4", NOTICE["original"])
    assert names(scan([tmp_path])) == ["c.mp4"]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.gif", "pictures/%05d.png"])
def test_every_format_keeps_the_mark(tmp_path: Path, name: str) -> None:
    tags = {"comment": NOTICE["generated"], "title": "Two words"}
    with VideoWriter(tmp_path / name, (32, 48), 10, metadata=tags) as writer:
        writer.write(np.random.default_rng(0).integers(0, 256, (4, 32, 48, 3), np.uint8))
    found = scan([tmp_path])
    assert not found.sources and "because autoreel made it" in found.notes[0]


def test_a_name_that_is_no_text_is_shown_with_its_bytes(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    put(tmp_path / odd / f"{odd}.mp4", "a clip")
    put(tmp_path / f"{odd}.mp3", "a song")
    found = scan([tmp_path])
    assert [(source.name, source.label) for source in found.sources] == [("caf\\xe9/caf\\xe9.mp4", "caf\\xe9")]
    assert found.sources[0].paths[0].exists()
    assert [reject.file for reject in found.rejects] == ["caf\\xe9.mp3"]
    with pytest.raises(FootageError, match="caf"):
        scan([tmp_path / odd / "nowhere"])


def test_what_goes_away_during_the_look_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "gone.mp4")
    put(tmp_path / "locked/b.mp4")
    put(tmp_path / "locked/notes.txt")
    is_symlink, stat = Path.is_symlink, Path.stat

    def guarded(self: Path) -> bool:  # as in a folder that may be listed and not searched; root may always
        if self.parent.name == "locked":
            raise PermissionError(13, "Permission denied", str(self))
        return is_symlink(self)

    def vanishing(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if self.name == "gone.mp4":
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return stat(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "is_symlink", guarded)
    monkeypatch.setattr(Path, "stat", vanishing)
    found = scan([tmp_path])
    assert names(found) == ["a.mp4"]
    assert {reject.file: reject.reason for reject in found.rejects} == {
        "gone.mp4": "cannot be read: No such file or directory", "locked/b.mp4": "cannot be read: Permission denied",
    }  # fmt: skip


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside/secret.mp4")
    inside = put(tmp_path / "in/.annex/real.mp4")
    (tmp_path / "in/good.mp4").symlink_to(inside)
    (tmp_path / "in/bad.mp4").symlink_to(outside)
    (tmp_path / "in/gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "in/circle.mp4").symlink_to(tmp_path / "in/circle.mp4")
    (tmp_path / "in/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "in/up").symlink_to(tmp_path)
    found = scan([tmp_path / "in"])
    assert [source.name for source in found.sources] == ["good.mp4"]
    assert sorted(reject.file for reject in found.rejects) == ["bad.mp4", "circle.mp4", "gone.mp4"]


def test_a_given_folder_may_be_a_link(tmp_path: Path) -> None:
    put(tmp_path / "real/a.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert [source.name for source in scan([tmp_path / "link"]).sources] == ["a.mp4"]


def test_a_pipe_does_not_make_it_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    found = scan([tmp_path])
    assert not found.sources
    assert found.rejects[0].reason == "is not an ordinary file"


def test_the_same_content_is_used_once(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4", "same")
    put(tmp_path / "z/b.mp4", "same")
    found = scan([tmp_path])
    assert [source.name for source in found.sources] == ["a.mp4"]
    assert "same content as a.mp4" in found.rejects[0].reason


def test_a_folder_given_twice_is_no_duplicate(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    found = scan([tmp_path, tmp_path])
    assert len(found.sources) == 1
    assert not found.rejects


def test_numbered_pictures_are_clips_and_others_are_stills(tmp_path: Path) -> None:
    for number in (8, 9, 10, 11, 40, 41):
        put(tmp_path / f"walk/f{number}.png")
    for number in (0, 10, 20):
        put(tmp_path / f"tenth/shot_{number:03d}_v2x.jpg")
    put(tmp_path / "title.png")
    sources = {source.name: [path.name for path in source.paths] for source in scan([tmp_path]).sources}
    assert sources == {
        "walk/f8.png": ["f8.png", "f9.png", "f10.png", "f11.png"],
        "walk/f40.png": ["f40.png", "f41.png"],
        "tenth/shot_000_v2x.jpg": ["shot_000_v2x.jpg"],  # the last number is the 2 of v2x, which is the same in all
        "tenth/shot_010_v2x.jpg": ["shot_010_v2x.jpg"],
        "tenth/shot_020_v2x.jpg": ["shot_020_v2x.jpg"],
        "title.png": ["title.png"],
    }


def test_pictures_numbered_with_a_step_are_one_clip(tmp_path: Path) -> None:
    for number in (0, 10, 20, 30):
        put(tmp_path / f"frame_{number:04d}.png")
    (source,) = scan([tmp_path]).sources
    assert [path.stem[-4:] for path in source.paths] == ["0000", "0010", "0020", "0030"]
    assert source.is_pictures


def test_groups_are_read_from_every_table_and_the_nearest_counts(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "sub/b.mp4")
    put(tmp_path / "sub/c.mp4")
    put(tmp_path / "groups.csv", "file,group\r\na.mp4,anna\r\nsub/b.mp4,ben\r\nsub/c.mp4,carl\r\n")
    put(tmp_path / "sub/groups.csv", '\ufefffile,group\nb.mp4,"ben, the second"\n\n')
    found = scan([tmp_path])
    assert found.has_groups
    assert {source.name: source.group for source in found.sources} == {
        "a.mp4": "anna", "sub/b.mp4": "ben, the second", "sub/c.mp4": "carl",
    }  # fmt: skip


def test_a_row_without_its_file_is_only_a_note(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "b.mp4")
    put(tmp_path / "groups.csv", "file,group\na.mp4,anna\ngone.mp4,anna\n")
    (note,) = scan([tmp_path]).notes
    assert "gone.mp4" in note


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ("a.mp4,anna\n", 1, "header file,group"),
        ("file,group\na.mp4\n", 2, "a file and its group"),
        ("file,group\na.mp4,\n", 2, "a file and its group"),
        ("file,group\na.mp4,anna,bold\n", 2, "a file and its group"),
        ("file,group\n../a.mp4,anna\n", 2, "below the folder"),
        ("file,group\n/etc/a.mp4,anna\n", 2, "below the folder"),
        ("file,group\na.mp4,anna\na.mp4,ben\n", 3, "two groups"),
    ],
)
def test_a_row_that_cannot_be_meant_is_one_clear_line(tmp_path: Path, table: str, line: int, said: str) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "groups.csv", table)
    with pytest.raises(FootageError, match=f"line {line}: .*{said}") as caught:
        scan([tmp_path])
    assert "\n" not in str(caught.value)


def test_what_is_told_of_a_table_is_bounded(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "groups.csv", "file,group\n" + "a\n" * 1000 + ",".join("b" * 100_000))
    with pytest.raises(FootageError, match="line 51: must be a file and its group") as caught:
        scan([tmp_path])
    assert "line 52" not in str(caught.value)
    put(tmp_path / "groups.csv", ",".join("b" * 100_000))
    with pytest.raises(FootageError, match="must be the header") as caught:
        scan([tmp_path])
    assert len(str(caught.value)) < 1000


def test_a_table_that_is_no_text_is_one_clear_line(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    (tmp_path / "groups.csv").write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(FootageError, match=r"groups\.csv: cannot be read as a table"):
        scan([tmp_path])
    os.truncate(tmp_path / "groups.csv", MAX_GROUPS_BYTES + 1)
    with pytest.raises(FootageError, match=r"cannot be read as a table of file,group \(larger than 16 MiB\)"):
        scan([tmp_path])
    (tmp_path / "groups.csv").unlink()
    os.mkfifo(tmp_path / "groups.csv")  # opening it would wait for ever
    with pytest.raises(FootageError, match=r"cannot be read as a table of file,group \(not a plain file\)"):
        scan([tmp_path])


def test_what_is_not_read_is_listed(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "song.mp3")
    put(tmp_path / "list.m3u8")
    put(tmp_path / "readme.md")
    reasons = {reject.file: reject.reason for reject in scan([tmp_path]).rejects}
    assert reasons == {
        "song.mp3": "holds sound only",
        "list.m3u8": "files of the kind .m3u8 are not read; convert it to .mp4 or .png",
    }


def test_looking_for_footage_does_not_load_torch() -> None:
    code = "import sys, autoreel.data.scan, autoreel.data.prepare; print('torch' in sys.modules)"
    paths = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True).stdout == "False\n"


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="nowhere: there is no such file or folder"):
        scan([tmp_path / "nowhere"])
    with pytest.raises(FootageError, match="no footage given"):
        scan([])


def test_the_order_of_files_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.mp4", "c/a.mp4"):
        put(tmp_path / name)
    names = [source.name for source in scan([tmp_path]).sources]
    assert names == sorted(names)
