"""A minute of film from a folder of footage and a song, in one command, timed and looked over.

    python benchmarks/film_minute.py FOOTAGE --music SONG [--length 60s] [--budget 20m] --out FOLDER

Runs `autoreel film` as a person would, then decodes the film: its streams and length, the longest stretch that stands
still or is black, and a contact sheet to look at. With --again the film is rendered once more from its storyboard with
empty caches, which times generating, decoding, composing and encoding alone. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from codec_quality import hardware
from parts import commit
from PIL import Image

STILL = 0.3  # mean absolute difference of neighbouring frames below which a film stands still, of 255
BLACK = 8.0  # mean below which it is black, of 255
SHEET_COLUMNS, SHEET_FRAMES, SHEET_WIDTH = 10, 120, 160


def longest(flags: list[bool]) -> int:
    """The most True in a row."""
    best = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        best = max(best, run)
    return best


def look_over(film: Path, sheet: Path) -> dict[str, Any]:
    """Decode a film to its end."""
    with av.open(str(film)) as container:
        video, audio = container.streams.video, container.streams.audio
        rate = Fraction(video[0].average_rate or 25)
        streams = [f"{s.type}:{s.codec_context.name}" for s in container.streams]
        sound_s = float((audio[0].duration or 0) * audio[0].time_base) if audio and audio[0].time_base else 0.0
        small: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
        still, black = [], []
        before = None
        for frame in container.decode(video=0):
            picture = frame.reformat(SHEET_WIDTH, SHEET_WIDTH * frame.height // frame.width, "rgb24").to_ndarray()
            small.append(picture)
            black.append(bool(picture.mean() < BLACK))
            still.append(before is not None and float(np.abs(picture.astype(float) - before).mean()) < STILL)
            before = picture
    chosen = [small[i] for i in np.linspace(0, len(small) - 1, SHEET_FRAMES).round().astype(int)]
    rows = [np.concatenate(chosen[i : i + SHEET_COLUMNS], 1) for i in range(0, len(chosen), SHEET_COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(sheet)
    return {
        "frames": len(small),
        "rate": str(rate),
        "seconds": round(float(len(small) / rate), 3),
        "sound_s": round(sound_s, 3),
        "streams": streams,
        "longest_still_s": round(float(longest(still) / rate), 2),
        "longest_black_s": round(float(longest(black) / rate), 2),
        "size_bytes": film.stat().st_size,
    }


def timed(command: list[str], log: Path) -> float:
    """Run to its end; seconds of wall time."""
    began = time.monotonic()
    with log.open("w") as out:
        subprocess.run([sys.executable, "-m", "autoreel", *command], stdout=out, stderr=subprocess.STDOUT, check=True)
    return round(time.monotonic() - began, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--music", type=Path, required=True)
    parser.add_argument("--length", default="60s")
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--again", action="store_true", help="render once more, without training and caches")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    name = given.footage.resolve().name
    film = given.out / f"{name}.mp4"
    result: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "commit": commit(),
        "footage": name, "music": given.music.name, "length": given.length, "budget": given.budget,
    }  # fmt: skip
    result["command_s"] = timed(
        ["film", str(given.footage), "--music", str(given.music), "--length", given.length,
         "--budget", given.budget, "-o", str(film)],
        given.out / f"{name}.log",
    )  # fmt: skip
    result["film"] = look_over(film, given.out / f"{name}.png")
    if given.again:
        for cache in given.out.glob(f".{name}.shots"):
            shutil.rmtree(cache)
        again = given.out / f"{name}-again.mp4"
        result["render_s"] = timed(
            ["film", str(film.with_suffix(".toml")), "-o", str(again)], given.out / f"{name}-again.log"
        )
    print(json.dumps(result, indent=1))
    (given.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
