"""Memory and seams of a codec's streams: peak memory for many frames against few, and what is seen at chunk borders.

    python benchmarks/streaming.py RUN [--frames 10000] [--out RESULT.json]

Each length is rebuilt (encoded, decoded) in a process of its own, so that its peak is its own. The footage is a picture
that drifts, so that neighbouring frames differ evenly; the difference of frames where chunks meet is compared with that
where groups of frames meet inside a chunk, and large frames in tiles with the same frames at once.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from codec_quality import hardware
from parts import commit

from autoreel.clip import to_frames, to_model
from autoreel.generation.coding import FrameCodec
from autoreel.models.compute import matrix_dtype
from autoreel.models.opening import open_codec
from autoreel.models.streaming import GROUPS_AT_ONCE
from autoreel.models.tiling import TiledCodec, tile_spans
from autoreel.models.video_codec import VideoCodec
from autoreel.runs import RunFolder

CPU = torch.device("cpu")
CHUNK = 7  # frames given at a time
SEEN = 400  # frames whose differences are kept


def drifting(num_frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """A soft picture that moves evenly, in chunks uint8 (n, H, W, 3)."""
    height, width = size
    coarse = np.random.default_rng(0).random((1, 3, max(2, height // 8), max(2, width // 8)), np.float32)
    picture = torch.nn.functional.interpolate(torch.from_numpy(coarse), (height, 2 * width), mode="bicubic")[0]
    ring = torch.cat([picture, picture.flip(-1)], -1)  # comes round without an edge
    for first in range(0, num_frames, CHUNK):
        places = range(first, min(first + CHUNK, num_frames))
        frames = torch.stack([ring.roll(-place, -1)[..., :width] for place in places])
        yield (frames.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def rebuild(codec: VideoCodec, num_frames: int, size: tuple[int, int]) -> dict[str, float]:
    """Rebuild so many frames: mean differences of neighbours inside groups, where groups of frames meet inside a chunk
    and where chunks meet; and the process's peak memory."""
    inside, groups, border = list[float](), list[float](), list[float]()
    footage = np.concatenate(list(drifting(1 + 2 * CHUNK, size)))
    before, place = None, 0
    at_once = GROUPS_AT_ONCE * codec.temporal_stride
    product = FrameCodec(codec, size, "crop", CPU, matrix_dtype(CPU))  # what every command streams through
    for piece in product.rebuilt(drifting(num_frames, size)):
        if place < SEEN:
            for number, frame in enumerate(piece.astype(np.int16)):
                if before is not None:
                    begins = (place + number - 1) % codec.temporal_stride == 0
                    kind = border if number == 0 else groups if begins else inside
                    kind.append(float(np.abs(frame - before).mean()))
                before = frame
        place += len(piece)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "frames": place, "peak_mib": peak, "at_once": at_once, "inside": float(np.mean(inside or groups)),
        "group_border": float(np.mean(groups)), "border": float(np.mean(border)),
        "footage": float(np.abs(np.diff(footage.astype(np.int16), axis=0)).mean()),
    }  # fmt: skip


@torch.no_grad()
def seams(codec: VideoCodec, tile: int) -> dict[str, float]:
    """Large frames in tiles and at once: mean difference where tiles meet and everywhere, of 255."""
    s, t = codec.spatial_stride, codec.temporal_stride
    size = (tile * s, (2 * tile - codec.tile_overlap) * s)
    video = to_model(np.concatenate(list(drifting(1 + 2 * t, size)))[None])
    latent = codec.encode(video).mode()
    tiled = TiledCodec(codec, tile)
    difference = (to_frames(tiled.decode(latent)).astype(np.int16) - to_frames(codec.decode(latent))).__abs__()
    spans = tile_spans(size[1] // s, tile, codec.tile_overlap)
    (start, _), (_, end) = spans[1], spans[0]
    shared = difference[..., start * s : end * s, :]
    latent_error = (tiled.encode(video).mode() - latent).norm() / latent.norm()
    return {
        "tile_px": tile * s, "where_tiles_meet": float(shared.mean()), "all": float(difference.mean()),
        "latent_error": float(latent_error),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = RunFolder.open(given.run)
    codec = open_codec(folder).eval()
    if given.part == "seams":
        print(json.dumps(seams(codec, 4 * codec.tile_overlap)))
        return
    if given.part is not None:
        size = (folder.config.data.height, folder.config.data.width)
        print(json.dumps(rebuild(codec, int(given.part), size)))
        return
    result: dict[str, object] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"), "hardware": hardware(), "commit": commit(),
        "run": given.run.name,
    }  # fmt: skip
    for name in (str(given.few), str(given.frames), "seams"):
        command = [sys.executable, __file__, str(given.run), "--part", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        result[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, result[name], flush=True)
    few, many = result[str(given.few)], result[str(given.frames)]
    assert isinstance(few, dict) and isinstance(many, dict)
    result["peak_ratio"] = many["peak_mib"] / few["peak_mib"]
    result["border_over_group_border"] = many["border"] / many["group_border"]
    text = json.dumps(result, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
