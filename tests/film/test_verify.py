"""What is told of a film: by its metadata, record, mark and manifest; and what is said when they do not agree."""

import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.cli import main
from autoreel.clip import Frames
from autoreel.errors import ConfigError, MediaError, UsageError
from autoreel.film.renderer import render
from autoreel.film.storyboard import Storyboard
from autoreel.film.verify import DISAGREES, FOUND, NOTHING, lines, verify
from autoreel.generation.clips import write_clips
from autoreel.media.encode import VideoWriter
from autoreel.media.watermark import Watermark


def _texture(num_frames: int, size: tuple[int, int] = (64, 64)) -> Frames:
    rng = np.random.default_rng(3)
    wide = rng.integers(40, 215, (size[0], size[1] + num_frames, 1))
    frames: NDArray[np.uint8] = np.stack([wide[:, i : i + size[1]] for i in range(num_frames)]).astype(np.uint8)
    return np.repeat(frames, 3, axis=3)


def _video(path: Path, num_frames: int = 30) -> Path:
    with VideoWriter(path, (64, 64), Fraction(5), quality=4) as writer:
        writer.write(_texture(num_frames))
    return path


@pytest.fixture
def film(tmp_path: Path, striped_run: Any) -> Path:
    """Four seconds of a model, then two of material."""
    striped_run.rate = Fraction(5)
    board = Storyboard.model_validate({
        "run": str(tmp_path / "run"), "canvas": {"width": 64, "height": 64, "rate": 5},
        "shots": [
            {"label": "red", "length_s": 4.0},
            {"verb": "material", "source": str(_video(tmp_path / "own.mp4")), "length_s": 2.0},
        ],
    })  # fmt: skip
    return render(board, striped_run, tmp_path / "film.mp4").path


def test_a_film_tells_its_seconds(film: Path) -> None:
    found = verify(film)
    assert found.exit_code == FOUND and not found.disagreements
    assert found.notice is not None and found.notice.startswith("Partly AI-generated")
    assert found.record is not None and found.record.is_of_this_file and found.record.is_marked
    assert found.record.timeline == ((0.0, 4.0, ("generated",)), (4.0, 6.0, ("original",)))
    told = "\n".join(lines(found))
    assert "of this very file (SHA-256)" in told
    assert "0:00.0 to 0:04.0  generated" in told and "0:04.0 to 0:06.0  original" in told


def test_a_changed_film_does_not_agree_with_its_record(film: Path) -> None:
    film.write_bytes(film.read_bytes() + b"\0")
    found = verify(film)
    assert found.exit_code == DISAGREES
    assert any("not the file that film.json was written for" in line for line in found.disagreements)


def test_a_clip_tells_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, size = tmp_path / "clip.mp4", (64, 64)
    write_clips(
        [path], iter([_texture(60)[None]]), verb="generate", size=size, rate=Fraction(5), num_frames=60,
        report=lambda share, text: None, watermark=Watermark(size, 5, 0xABCDEF),
        details={"verb": "generate", "seed": 3},
    )  # fmt: skip
    assert main(["verify", str(path), "--json"]) == FOUND
    told = json.loads(capsys.readouterr().out)
    assert told["answer"] == "found" and "[verb generate, seed 3, autoreel" in told["notice"]
    assert told["mark"]["identity"] in (0xABCDEF, None) and told["mark"]["start_s"] == 0 and told["record"] is None
    assert main(["verify", str(path)]) == FOUND
    assert "mark       version 1" in capsys.readouterr().out


def test_nothing_found_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(_video(tmp_path / "own.mp4"))]) == NOTHING
    assert "nothing found: that does not say that no model made it" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["clip.gif", "clip.mkv", "clip.webm", "clip.mov", "pictures/%05d.png"])
def test_every_format_says_what_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_clips([path], iter([_texture(5)[None]]), verb="rebuild", size=(64, 64), rate=Fraction(5), num_frames=5,
                report=lambda share, text: None)  # fmt: skip
    found = verify(path.parent if path.suffix == ".png" else path)
    assert found.exit_code == FOUND and found.notice is not None and found.notice.startswith("Repainted")
    assert found.mark_was_sought == (path.suffix != ".png")


@pytest.mark.parametrize("watermark", [True, False])
def test_a_mark_that_the_material_brought_is_no_contradiction(tmp_path: Path, watermark: bool) -> None:
    path, size = tmp_path / "clip.mkv", (256, 256)
    write_clips(
        [path], iter([_texture(60, size)[None]]), verb="generate", size=size, rate=Fraction(5), num_frames=60,
        report=lambda share, text: None, watermark=Watermark(size, 5, 0xABCDEF),
    )  # fmt: skip
    shots = [{"verb": "material", "source": str(path), "length_s": 12.0}]
    canvas = {"width": 256, "height": 256, "rate": 5}
    board = Storyboard.model_validate({"canvas": canvas, "shots": shots})
    found = verify(render(board, None, tmp_path / "film.mp4", watermark=watermark).path)
    assert found.exit_code == FOUND and found.record is not None and found.record.is_marked == watermark
    assert found.mark is not None and found.mark.identity == (0 if watermark else 0xABCDEF)
    assert any("the mark may be that of its material" in note for note in found.notes) != watermark


def test_records_of_others_are_not_believed(film: Path, tmp_path: Path) -> None:
    other = shutil.copy(film, tmp_path / "other.mp4")
    shutil.copy(film.with_suffix(".json"), tmp_path / "other.json")
    assert verify(Path(other)).record is not None  # the same bytes
    record = json.loads((tmp_path / "other.json").read_text())
    wrong: dict[str, Any] = {"timeline": [{"start_s": "now", "end_s": 1, "kinds": []}], "inputs": {"a": 1}}
    for key, value in wrong.items():
        (tmp_path / "other.json").write_text(json.dumps({**record, key: value}))
        found = verify(Path(other))
        assert found.record is None and any("is no record of a film" in note for note in found.notes)
        with pytest.raises(ConfigError, match="not the record of a film"):
            verify(film, tmp_path / "other.json")
    del record["timeline"], record["sha256"]
    (tmp_path / "other.json").write_text(json.dumps(record))
    assert any("record of another film" in note for note in verify(Path(other)).notes)


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="without PNG files"):
        verify(tmp_path / "empty")
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(MediaError):
        verify(tmp_path / "text.mp4")
    assert main(["verify", str(tmp_path / "absent.mp4")]) == MediaError.exit_code
