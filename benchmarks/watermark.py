"""How well the mark is found again, how much it changes a picture, what it costs, and whether clean films seem marked.

    python benchmarks/watermark.py films FOOTAGE --size 64x64 --count 100 --out FILE.json
    python benchmarks/watermark.py clean FOOTAGE --count 2000 --keys 5 --out FILE.json
    python benchmarks/watermark.py cost FOOTAGE --out FILE.json

`films` cuts 20 seconds together from random stretches of the footage (shots of 1.5 to 5 s, some mirrored or reversed),
marks them, encodes them as a film is (H.264, CRF 18), decodes that, encodes it again with x264 at CRF 28 and preset
medium, and searches; every other film loses its first seconds before the search. PSNR is that of the marked pictures
against the unmarked ones, before any encoding.

`clean` searches films nobody marked: 7 of 10 from footage as above (with changed light and pace), 2 of noise that
moves or flickers, 1 of drifting waves in the mark's own band. Each is tried with several keys: the key is as good as
random to a clean film, so each key is a trial of its own; both counts are in the result.

`cost` is the processor time of marking beside that of encoding (H.264, CRF 18, veryfast, one thread each).
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from codec_quality import hardware
from numpy.typing import NDArray
from PIL import Image

from autoreel.errors import MediaError
from autoreel.media import watermark, watermark_search
from autoreel.media.decode import MEDIA_SUFFIXES, FrameChunk, decode
from autoreel.media.watermark import GRID, Watermark

Frames = NDArray[np.uint8]
RATE = Fraction(25)
LENGTH_S = 20
IDENTITY = 0x5EED42


def load(footage: Path, size: tuple[int, int], most_bytes: int = 900 << 20) -> list[Frames]:
    """The footage at a size, at most so much of each file that all of it fits."""
    files = sorted(path for path in footage.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES)
    each = max(38, most_bytes // len(files) // (size[0] * size[1] * 3))
    files = files[:: max(1, -(-len(files) * 38 * size[0] * size[1] * 3 // most_bytes))]
    clips = []
    for path in files:
        parts, count = [], 0
        try:
            for chunk in decode(path, size=size):
                parts.append(chunk.frames)
                count += len(chunk.frames)
                if count >= each:
                    break
        except MediaError as error:
            print(error)
        if count >= 25:
            clips.append(np.concatenate(parts)[:each])
    return clips


def assembled(clips: list[Frames], rng: np.random.Generator, num_frames: int) -> Frames:
    """A film of random shots."""
    shots, length = [], 0
    while length < num_frames:
        clip = clips[rng.integers(len(clips))]
        count = min(len(clip), int(rng.uniform(1.5, 5) * RATE))
        begin = int(rng.integers(len(clip) - count + 1))
        shot = clip[begin : begin + count]
        shot = shot[:, :, ::-1] if rng.random() < 0.3 else shot
        shots.append(shot[::-1] if rng.random() < 0.1 else shot)
        length += count
    return np.concatenate(shots)[:num_frames]


def packed(frames: Frames, crf: int, preset: str) -> Frames:
    """Through x264 and back."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": str(crf), "preset": preset})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    memory.seek(0)
    with av.open(memory) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def small(frames: Frames) -> Frames:
    """As `decode` gives them to the search: averaged over areas."""
    if frames.shape[1:3] == (GRID, GRID):
        return frames
    return np.stack([np.asarray(Image.fromarray(f).resize((GRID, GRID), Image.Resampling.BOX)) for f in frames])


def chunks(frames: Frames) -> Iterator[FrameChunk]:
    yield FrameChunk(frames, np.arange(len(frames)) / float(RATE))


def films(given: argparse.Namespace) -> dict[str, Any]:
    """Marked films, packed twice."""
    width, height = (int(side) for side in given.size.split("x"))
    clips = load(given.footage, (height, width))
    rows: list[dict[str, Any]] = []
    for number in range(given.first, given.first + given.count):
        rng = np.random.default_rng([number, width])
        plain = assembled(clips, rng, LENGTH_S * int(RATE))
        marker = Watermark((height, width), RATE, IDENTITY)
        marked = np.stack([marker.mark(frame, place) for place, frame in enumerate(plain)])
        psnr_db = 10 * math.log10(255**2 / float(np.mean((marked.astype(np.float32) - plain) ** 2)))
        lost = int(rng.integers(1, 75)) if number % 2 else 0
        # A film that was cut is as long as the others: 20 s are searched.
        again = packed(packed(marked, 18, "veryfast")[lost:], 28, "medium")
        found = watermark_search.find(chunks(small(again)))
        row = {"film": number, "psnr_db": round(psnr_db, 2), "cut_frames": lost, "found": found is not None}
        if found is not None:
            right = abs(found.start_s - lost / float(RATE)) <= 0.5
            row |= {"score": round(found.score, 2), "place_is_right": right}
            row |= {"identity_read": found.identity is not None}
            row |= {"identity_is_wrong": found.identity not in (None, IDENTITY)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    hits = [row for row in rows if row["found"]]
    return {
        "size": given.size, "films": len(rows), "found": len(hits), "first": given.first,
        "films_cut": sum(row["cut_frames"] > 0 for row in rows),
        "found_cut": sum(row["cut_frames"] > 0 for row in hits),
        "place_right": sum(row["place_is_right"] for row in hits),
        "identity_read": sum(row["identity_read"] for row in hits),
        "identity_wrong": sum(row["identity_is_wrong"] for row in hits),
        "lowest_score": min((row["score"] for row in hits), default=None),
        "median_score": float(np.median([row["score"] for row in hits])) if hits else None,
        "psnr_db_lowest": min(row["psnr_db"] for row in rows),
        "psnr_db_mean": round(float(np.mean([row["psnr_db"] for row in rows])), 2),
        "missed": [row["film"] for row in rows if not row["found"]],
    }  # fmt: skip


def clean_film(clips: list[Frames], number: int) -> Frames:
    """A film without a mark."""
    rng = np.random.default_rng([number, 7])
    count, kind = LENGTH_S * int(RATE), number % 10
    if kind < 7:
        film = assembled(clips, rng, count)
        gain, lift = rng.uniform(0.6, 1.3), rng.uniform(-30, 30)
        return np.clip(film * np.float32(gain) + np.float32(lift), 0, 255).astype(np.uint8)
    if kind < 9:
        still = rng.normal(128, 40, (GRID, GRID, 1))
        noise = rng.normal(0, rng.uniform(1, 40), (count if kind == 7 else 1, GRID, GRID, 1))
        noise = np.repeat(noise[:: int(rng.integers(1, 30))], 30, axis=0)[:count] if kind == 7 else noise
        moved = np.stack([np.roll(still, place // 3, axis=1) for place in range(count)]) if kind == 8 else still[None]
        film = moved[: len(noise)] + noise if kind == 7 else moved + noise
        film = np.resize(film, (count, GRID, GRID, 1))
        return np.repeat(np.clip(film, 0, 255).astype(np.uint8), 3, axis=3)
    down, across = np.mgrid[:GRID, :GRID] / GRID
    at = np.arange(count)[:, None, None] / float(RATE)
    film = np.full((count, GRID, GRID), 128.0)
    for _ in range(20):
        wave = rng.uniform(-12, 12, 2) @ np.stack([down.ravel(), across.ravel()])
        film += 8 * np.cos(2 * np.pi * (wave.reshape(1, GRID, GRID) + rng.uniform(-2, 2) * at + rng.random()))
    return np.repeat(np.clip(film, 0, 255).astype(np.uint8)[..., None], 3, axis=3)


def clean(given: argparse.Namespace) -> dict[str, Any]:
    """Films without a mark, searched with several keys."""
    clips = load(given.footage, (GRID, GRID))
    own = watermark._KEY
    best: list[float] = []
    finds = 0
    for key in range(given.keys):
        watermark._KEY = own if key == 0 else b"benchmark %d" % key
        for cached in (watermark.carriers, watermark_search._all_signs):
            cached.cache_clear()
        tables = watermark_search._all_signs(), watermark.carriers()
        if key == 0:
            numbers = range(given.first, given.first + given.count)
            observed = [watermark_search.observe(chunks(clean_film(clips, number))) for number in numbers]
            places = np.concatenate([tables[1][0], *tables[1][1]])
        else:  # the same numbers, in the order of the other key's places
            order = {place: column for column, place in enumerate(places)}
            columns = [order[place] for place in np.concatenate([tables[1][0], *tables[1][1]])]
        for film in observed:
            seen = film if key == 0 else watermark_search.Observed(
                tuple(phase[:, columns] for phase in film.phases), film.duration_s
            )
            found = watermark_search.search(seen)
            finds += found is not None
            first = seen.phases[0][:, : len(tables[1][0])]
            best.append(float(watermark_search._scores(first)[-1]))
        print(f"key {key}: {finds} finds in {len(best)} trials", flush=True)
    scores = np.array(best)
    watermark._KEY = own
    return {
        "clean_films": given.count, "first": given.first, "keys": given.keys, "trials": len(best), "false_finds": finds,
        "places_tried_in_each": watermark.PERIOD * watermark_search.EIGHTHS + watermark_search._LATE + 1,
        "allowed_for_one_film": watermark_search.FALSE_FINDS,
        "score_uncut_mean": round(float(scores.mean()), 4), "score_uncut_deviation": round(float(scores.std()), 4),
        "score_uncut_highest": round(float(scores.max()), 3),
        "highest_of_normals": round(math.sqrt(2 * math.log(len(best))), 3),
    }  # fmt: skip


def cost(given: argparse.Namespace) -> dict[str, Any]:
    """Processor time of marking and of encoding, and what the mark costs in bytes."""
    result: dict[str, Any] = {}
    for width, height in ((64, 64), (512, 512), (1280, 720)):
        clips = load(given.footage, (height, width), 400 << 20)
        plain = assembled(clips, np.random.default_rng(width), 200)
        marker = Watermark((height, width), RATE, IDENTITY)
        marked = np.empty_like(plain)
        began = time.process_time()
        for place, frame in enumerate(plain):
            marked[place] = marker.mark(frame, place)
        mark_ms = (time.process_time() - began) / len(plain) * 1000
        row = {"mark_ms_per_frame": round(mark_ms, 3)}
        for name, frames in (("plain", plain), ("marked", marked)):
            memory = io.BytesIO()
            began = time.process_time()
            with av.open(memory, "w", format="mp4") as container:
                stream: Any = container.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "veryfast"})
                stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
                for frame in frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode(None))
            row[f"encode_{name}_ms_per_frame"] = round((time.process_time() - began) / len(plain) * 1000, 3)
            row[f"{name}_bytes"] = memory.tell()
        result[f"{width}x{height}"] = row
        print(json.dumps(row), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("films", "clean", "cost"))
    parser.add_argument("footage", type=Path)
    parser.add_argument("--size", default="64x64", help="width x height")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keys", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"), "hardware": hardware(), "measured": given.what,
    }  # fmt: skip
    result |= {"films": films, "clean": clean, "cost": cost}[given.what](given)
    print(json.dumps(result, indent=1))
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
