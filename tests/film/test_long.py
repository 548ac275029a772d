"""Films of hours: what a film may have as its length, it may have as its material and music too, and be verified."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoreel import preflight
from autoreel.clip import Sound
from autoreel.errors import MediaError
from autoreel.film.renderer import render
from autoreel.film.storyboard import Storyboard
from autoreel.film.verify import FOUND, verify
from autoreel.media import decode, watermark_search
from autoreel.media.decode import Limits, read_clip
from autoreel.media.encode import VideoWriter
from autoreel.media.limits import FILM, LONGEST_FILM_S


def test_a_film_of_more_than_an_hour_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film, seen = tmp_path / "film.mp4", 0
    metadata = {"comment": "AI-generated: every picture in it was made by a model with autoreel."}
    with VideoWriter(film, (16, 16), Fraction(1), metadata=metadata, quality="draft") as writer:
        for _ in range(37):
            writer.write(np.zeros((100, 16, 16, 3), np.uint8))

    def counted(chunks: Any) -> None:  # the search for the mark itself takes its time
        nonlocal seen
        seen = sum(len(chunk.frames) for chunk in chunks)

    monkeypatch.setattr(watermark_search, "find", counted)
    assert verify(film).exit_code == FOUND and seen == 3700
    with pytest.raises(MediaError, match="it is longer than 3600 s"):
        read_clip(film, size=(16, 16))


def test_all_that_a_film_is_made_of_may_be_as_long(
    tmp_path: Path, striped_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual bound on footage is made a second here; nothing in a film comes up against it."""
    source = tmp_path / "long.mkv"
    sound = Sound(np.random.default_rng(0).normal(0, 0.1, (6 * 8000, 1)).astype(np.float32), 8000)
    with VideoWriter(source, (32, 32), Fraction(25), sound=sound) as writer:
        writer.write(np.full((150, 32, 32, 3), 90, np.uint8))
    monkeypatch.setattr(decode, "Limits", lambda: replace(Limits(), max_duration_s=1.0, max_frames=25))
    with pytest.raises(MediaError, match="longer than 1 s"):
        read_clip(source)
    assert not preflight.check_music(source, 5.0)
    name = str(source)
    board = Storyboard.model_validate({
        "run": str(tmp_path / "run"), "canvas": {"width": 32, "height": 32, "rate": 25},
        "music": {"file": name}, "voices": [{"file": name, "in_s": 1.0}],
        "shots": [
            {"verb": "material", "source": name, "length_s": 2.0, "volume_db": 0.0},
            {"verb": "card", "beats": 1},
            {"verb": "continue", "source": name, "length_s": 0.4},
            {"verb": "rebuild", "source": name, "length_s": 2.0},
            {"verb": "card", "length_s": 1.2, "effects": [{"name": "inset", "file": name}]},
            {"verb": "animate", "source": name, "in_s": 3.0, "length_s": 0.2},
        ],
    })  # fmt: skip
    film = render(board, striped_run, tmp_path / "film.mp4").path
    assert verify(film).exit_code == FOUND


def test_the_bounds_hold_a_film_of_every_length_and_rate() -> None:
    assert FILM.max_duration_s > LONGEST_FILM_S and FILM.max_frames > LONGEST_FILM_S * 240
    assert preflight.check_film_length(LONGEST_FILM_S) == [] != preflight.check_film_length(LONGEST_FILM_S + 1)
