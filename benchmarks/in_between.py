"""How near frames in between come to real ones: every other frame of a clip is left out, made again, and compared.

    python benchmarks/in_between.py FOOTAGE [--size 320x180] [--frames 24] --out FILE.json

Beside the effect `smooth` (film/motion.py) stand doubling (the frame before is shown again) and blending (half of both
neighbours). One clip of each folder of the footage; PSNR in dB, mean over the frames that were left out. A clip that
shows each of its frames twice, as old films and web videos do, has nothing to be made between some of them.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from codec_quality import hardware
from numpy.typing import NDArray
from PIL import Image

from autoreel.errors import MediaError
from autoreel.film.motion import along_motion
from autoreel.media.decode import MEDIA_SUFFIXES, decode

Frames = NDArray[np.uint8]


def load(path: Path, size: tuple[int, int], count: int) -> Frames:
    """The first frames of a clip."""
    parts: list[Frames] = []
    for chunk in decode(path, size=size):
        parts.append(chunk.frames)
        if sum(map(len, parts)) >= count:
            break
    return np.concatenate(parts)[:count]


def psnr_db(made: Frames, true: Frames) -> float:
    """Of a frame; 99 where nothing differs."""
    error = float(np.mean((made.astype(np.float32) - true) ** 2))
    return 10 * np.log10(255**2 / error) if error > 1e-5 else 99.0


def measured(frames: Frames) -> dict[str, Any]:
    """One clip."""
    kept, left_out = frames[::2], frames[1 : 2 * ((len(frames) - 1) // 2) : 2]
    places = [Fraction(2 * i + 1, 2) for i in range(len(left_out))]
    began = time.process_time()
    along = [np.asarray(picture) for picture in along_motion(map(Image.fromarray, kept), places)]
    cost_ms = (time.process_time() - began) / len(places) * 1000
    halves = [np.rint((kept[i].astype(np.float32) + kept[i + 1]) / 2) for i in range(len(left_out))]
    rows = {"doubled": np.stack(kept[: len(left_out)]), "blended": np.stack(halves), "along_motion": np.stack(along)}
    found = {name: round(float(np.mean([psnr_db(a, b) for a, b in zip(made, left_out, strict=True)])), 2)
             for name, made in rows.items()}  # fmt: skip
    return {**found, "frames": len(left_out), "cpu_ms_per_frame": round(cost_ms, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--size", default="320x180", help="width x height")
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    width, height = (int(side) for side in given.size.split("x"))
    clips: dict[str, Any] = {}
    for folder in sorted(path for path in given.footage.iterdir() if path.is_dir()):
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES)
        for path in files[:1]:
            try:
                frames = load(path, (height, width), given.frames)
            except MediaError as error:
                print(error)
                continue
            if len(frames) >= 5:
                clips[str(path.relative_to(given.footage))] = measured(frames)
                print(path.name, clips[str(path.relative_to(given.footage))], flush=True)
    names = ("doubled", "blended", "along_motion")
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"), "hardware": hardware(), "size": given.size, "clips": clips,
        "mean": {name: round(float(np.mean([row[name] for row in clips.values()])), 2) for name in names},
        "best_in": {name: sum(row[name] == max(row[n] for n in names) for row in clips.values()) for name in names},
    }  # fmt: skip
    print(json.dumps({key: result[key] for key in ("mean", "best_in")}, indent=1))
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
