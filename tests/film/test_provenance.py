"""What a film says of itself: by what its shots are, what lies beside them, and what its material says."""

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from autoreel.errors import MediaError
from autoreel.film import provenance
from autoreel.film.layout import lay_out
from autoreel.film.preflight import check_sources
from autoreel.film.provenance import NOTICE, Kinds, kind_of_film, kinds_seen
from autoreel.film.renderer import render
from autoreel.film.storyboard import Storyboard
from autoreel.generation.clips import NOTICES
from autoreel.media.encode import VideoWriter

DETAILS = " [verb generate, seed 3]"


def _clip(path: Path, comment: str | None = None) -> str:
    frames = np.full((15, 48, 64, 3), 90, np.uint8)
    with VideoWriter(path, (48, 64), Fraction(25), metadata={"comment": comment} if comment else {}) as writer:
        writer.write(frames)
    return str(path)


def _board(*shots: dict[str, Any]) -> Storyboard:
    canvas = {"width": 64, "height": 48, "rate": 25}
    return Storyboard.model_validate({"run": "/run", "canvas": canvas, "shots": list(shots)})


def _seen(files: Mapping[str, Kinds], *shots: dict[str, Any]) -> list[tuple[int, int, list[str]]]:
    layout = lay_out(_board(*({"length_s": 1.0, **shot} for shot in shots)))
    stretches = kinds_seen(layout, range(layout.num_frames), files)
    return [(first, last, sorted(kinds)) for first, last, kinds in stretches]


@pytest.mark.parametrize(
    ("comment", "is_generated", "kind"),
    [(NOTICES["generate"] + DETAILS, True, "generated"), (NOTICES["rebuild"], True, "rebuilt"),
     (NOTICE["mixed"], True, "mixed"), (NOTICE["original"], False, "original"), ("a day at sea", False, "original")],
)  # fmt: skip
def test_material_that_says_that_a_model_made_it_stays_made_by_a_model(
    tmp_path: Path, comment: str, is_generated: bool, kind: str
) -> None:
    source = _clip(tmp_path / "given.mp4", comment)
    film = render(_board({"verb": "material", "source": source, "length_s": 0.4}), None, tmp_path / "film.mp4")
    record = json.loads(film.record.read_text())
    assert record["ai_generated"] == is_generated and record["notice"] == NOTICE[kind]
    assert [span["kind"] for span in record["spans"]] == [kind]
    with av.open(str(film.path)) as file:
        assert file.metadata["comment"] == NOTICE[kind]


@pytest.mark.parametrize("name", ["given.gif", "given.mkv", "%05d.png"])
def test_it_is_read_in_every_format(tmp_path: Path, name: str) -> None:
    (tmp_path / "given").mkdir()
    _clip(tmp_path / "given" / name, NOTICES["generate"] + DETAILS)
    source = str(next(iter((tmp_path / "given").iterdir())))
    files = check_sources(_board({"verb": "still", "source": source, "length_s": 0.4}), None, "film.toml")
    assert files[source].kinds == {"generated"}


def test_the_mark_is_put_on_what_a_model_made_and_on_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[int] = []

    def write(picture: Any, writer: VideoWriter, planar: bool, marker: Any, number: int) -> None:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        marked.extend([number] if marker is not None else [])

    monkeypatch.setattr("autoreel.film.renderer._write", write)
    made, own = _clip(tmp_path / "made.mkv", NOTICES["generate"]), _clip(tmp_path / "own.mkv")
    render(_board(
        {"verb": "material", "source": own, "length_s": 0.2}, {"verb": "material", "source": made, "length_s": 0.2},
        {"verb": "card", "length_s": 0.2, "effects": [{"name": "inset", "file": made}]},
        {"verb": "card", "length_s": 0.2, "effects": [{"name": "inset", "file": own}]},
    ), None, tmp_path / "film.gif")  # fmt: skip
    assert marked == list(range(5, 15))


def test_what_lies_beside_a_shot_is_seen_too() -> None:
    files = {"/made.mp4": frozenset({"generated"}), "/own.mp4": frozenset({"original"})}
    split, inset = ({"name": "split", "file": "/own.mp4"}, {"name": "inset", "file": "/made.mp4"})
    assert _seen(files, {"effects": [split]}) == [(0, 25, ["generated", "original"])]
    assert _seen(files, {"verb": "card", "effects": [inset]}) == [(0, 25, ["generated", "plain"])]
    assert _seen(files, {"verb": "card", "effects": [split]}) == [(0, 25, ["original", "plain"])]
    assert _seen(files, {"verb": "material", "source": "/own.mp4", "effects": [inset, split]}) == [
        (0, 25, ["generated", "original"])
    ]


def test_what_is_painted_again_stays_what_it_was() -> None:
    files = {"/made.mp4": frozenset({"generated"}), "/own.mp4": frozenset({"original"})}
    assert _seen(files, {"verb": "rebuild", "source": "/own.mp4"}) == [(0, 25, ["rebuilt"])]
    assert _seen(files, {"verb": "morph", "source": "/own.mp4", "to": "/made.mp4"}) == [
        (0, 25, ["generated", "rebuilt"])
    ]
    assert _seen(files, {"verb": "continue", "source": "/own.mp4"}) == [(0, 25, ["generated"])]


def test_stretches_have_no_gaps_and_name_all_that_meets() -> None:
    seen = _seen(
        {}, {"verb": "card"}, {"transition": {"kind": "fade", "length_s": 0.4}},
        {"verb": "material", "source": "/a.mp4", "transition": {"kind": "morph", "length_s": 0.4}},
        {"verb": "still", "source": "/a.mp4"},
    )  # fmt: skip
    assert seen == [
        (0, 20, ["plain"]), (20, 30, ["generated", "plain"]), (30, 45, ["generated"]),
        (45, 55, ["generated", "original", "rebuilt"]), (55, 100, ["original"]),
    ]  # fmt: skip


def test_a_part_tells_of_its_own_frames() -> None:
    layout = lay_out(_board({"verb": "card", "length_s": 1.0}, {"length_s": 1.0}, {"verb": "card", "length_s": 1.0}))
    seen = kinds_seen(layout, range(30, 60), {})
    assert [stretch[:2] for stretch in seen] == [(30, 50), (50, 60)]
    assert provenance.timeline(seen, Fraction(25)) == [
        {"start_s": 0.0, "end_s": 0.8, "kinds": ["generated"]}, {"start_s": 0.8, "end_s": 1.2, "kinds": ["plain"]}
    ]  # fmt: skip
    assert kind_of_film(seen) == "generated" and kind_of_film(seen[1:]) == "original"
    assert [len(kinds) for kinds in provenance.of_each_frame(seen)] == [1] * 30


def test_what_is_seen_takes_no_more_memory_for_more_frames() -> None:
    layout = lay_out(_board({"length_s": 36_000.0}, {"verb": "card", "length_s": 36_000.0}))
    assert kinds_seen(layout, range(layout.num_frames), {}) == [
        (0, 900_000, frozenset({"generated"})), (900_000, 1_800_000, frozenset({"plain"}))
    ]  # fmt: skip


def test_a_record_tells_why_a_film_made_again_will_differ(tmp_path: Path, striped_run: Any) -> None:
    source, beside = _clip(tmp_path / "a.mkv"), _clip(tmp_path / "b.mkv")
    (tmp_path / "said.srt").write_text("1\n00:00:00,000 --> 00:00:00,200\nsaid\n")
    steps = "".join(f"{r} {g} {b}\n" for b in (0, 1) for g in (0, 1) for r in (0, 1))
    (tmp_path / "look.cube").write_text(f"LUT_3D_SIZE 2\n{steps}")
    effects = [{"name": "inset", "file": beside}, {"name": "lut", "file": str(tmp_path / "look.cube")}]
    board = Storyboard.model_validate({
        "run": str(tmp_path / "run"), "canvas": {"width": 64, "height": 48},
        "captions": {"file": str(tmp_path / "said.srt")},
        "shots": [{"verb": "material", "source": source, "length_s": 0.2, "effects": effects}, {"length_s": 0.2}],
    })  # fmt: skip
    record = render(board, striped_run, tmp_path / "film.mp4").record
    inputs = {entry["file"]: entry["shows"] for entry in json.loads(record.read_text())["inputs"]}
    assert inputs == {"a.mkv": ["original"], "b.mkv": ["original"], "look.cube": [], "said.srt": []}

    def told() -> list[str]:
        lines: list[str] = []
        render(record, striped_run, tmp_path / "again.mp4", report=lines.append, keep_shots=False)
        return [line for line in lines if "will differ" in line or "may differ" in line]

    assert told() == []
    _clip(tmp_path / "b.mkv", "another")
    (tmp_path / "look.cube").write_text(f"# warmer\nLUT_3D_SIZE 2\n{steps}")
    with (tmp_path / "said.srt").open("a") as file:
        file.write("\n")
    striped_run.computed_on = "a chip, bfloat16"
    assert told() == [
        *(f"{tmp_path / name} is not the file that this film was made of: what is seen or heard of it will differ"
          for name in ("b.mkv", "look.cube", "said.srt")),
        "made on cpu, float32, and this is a chip, bfloat16: its pictures may differ a little",
    ]  # fmt: skip


@pytest.mark.parametrize("inputs", [None, 3, [3], [{"file": 1}], [{"file": "a", "sha256": 2}]])
def test_a_record_that_somebody_wrote_by_hand_is_read(tmp_path: Path, inputs: Any) -> None:
    record = render(_board({"verb": "card", "length_s": 0.2}), None, tmp_path / "film.mp4").record
    values = json.loads(record.read_text()) | {"inputs": inputs, "versions": inputs, "computed_on": inputs}
    record.write_text(json.dumps(values))
    lines: list[str] = []
    assert render(record, None, tmp_path / "again.mp4", report=lines.append).num_frames == 5
    assert not any("differ" in line for line in lines)


def test_material_is_read_once_while_it_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, read, lines = Path(_clip(tmp_path / "given.mp4")), list[Path](), list[str]()
    digest = provenance.digest

    def counted(path: Path) -> str | None:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(provenance, "digest", counted)
    before = provenance.digests([source, source], lines.append)
    assert provenance.digests([source], lines.append) == before == {str(source): digest(source)}
    assert read == [source] and lines == []
    source.write_bytes(source.read_bytes()[::-1])
    assert provenance.digests([source]) == {str(source): digest(source)} != before and len(read) == 2
    monkeypatch.setattr(provenance, "MUCH_BYTES", 100)
    provenance.digests([source], lines.append)
    assert lines == ["film: 0.0 GB of material are read once for the film's record"]
    with pytest.raises(MediaError, match="none: cannot be read: No such file"):
        provenance.digests([tmp_path / "none"])
