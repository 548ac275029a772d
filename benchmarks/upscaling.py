"""What runs learned of enlarging, against Lanczos, on footage that was held back from them.

    python benchmarks/upscaling.py RUN=LARGER [RUN=LARGER ...] [--out RESULT.md] [--pictures FOLDER]

RUN is a run folder with `footage/` after `autoreel train --stage upscale --large LARGER`. The frames of held-out
windows of the larger store (test, or validation where there is none) are shrunk to the run's size, and enlarged again
as they are ("shrunk") and after the codec ("codec", what films enlarge): PSNR, PSNR of frame differences, and sharpness
kept, means over windows. Lanczos is Pillow's, as in films.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from codec_quality import hardware
from PIL import Image

from autoreel.clip import Frames, to_frames, to_model
from autoreel.data.larger import times_larger
from autoreel.data.loader import ClipLoader
from autoreel.data.store import FootageStore
from autoreel.evaluation.metrics import frame_psnr, sharpness_kept, temporal_psnr
from autoreel.generation.enlarging import Enlarger
from autoreel.media.encode import write_strip
from autoreel.models.compute import autocast, matrix_dtype
from autoreel.models.opening import UPSCALER_FILE, open_codec
from autoreel.models.upscaler import Upscaler
from autoreel.runs import RunFolder, layout_of, read_metadata
from autoreel.training.upscale_stage import shrunk

CPU = torch.device("cpu")
Enlarge = Callable[[Frames], Frames]


def lanczos(times: int) -> Enlarge:
    """As films do it."""

    def enlarge(frames: Frames) -> Frames:
        size = (times * frames.shape[2], times * frames.shape[1])
        return np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.LANCZOS)) for f in frames])

    return enlarge


def learned(run: RunFolder, times: int) -> Enlarge:
    """As it was learned, whether it won or not."""
    upscaler = Upscaler(run.config.upscaler, times)
    upscaler.load_state_dict(run.load_weights(UPSCALER_FILE, layout_of(upscaler.state_dict())))
    enlarger = Enlarger(upscaler, CPU, matrix_dtype(CPU))
    return lambda frames: np.concatenate(list(enlarger.stream([frames])))


def measure(path: Path, larger: FootageStore, windows: int, pictures: Path | None) -> list[str]:
    """The rows of a run in the table."""
    run = RunFolder.open(path)
    times = times_larger(FootageStore.open(path / "footage"), larger)
    codec = open_codec(run).eval()
    split = "test" if larger.split("test") else "validation"
    ways = {"Lanczos": lanczos(times), "learned": learned(run, times)}
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    cells, seconds, count = [], dict.fromkeys(ways, 0.0), 0
    for batch in ClipLoader(larger, split, run.config.training.codec_frames, 1, 0).clips(windows):
        small = shrunk(to_model(batch.frames, CPU), times)
        with torch.no_grad(), autocast(CPU, matrix_dtype(CPU)):
            painted = codec.decode(codec.encode(small).mode())
        for name, given in (("codec", to_frames(painted)[0]), ("shrunk", to_frames(small)[0])):
            for way, enlarge in ways.items():
                began = time.process_time()
                made = enlarge(given)
                seconds[way] += time.process_time() - began
                original = batch.frames[0]
                near = float(frame_psnr(original, made).mean()), temporal_psnr(original, made)
                found.setdefault((name, way), []).append((*near, sharpness_kept(original, made)))
                if name == "codec":
                    cells.append(made[-1])
        cells.append(batch.frames[0][-1])
        count += 2 * batch.frames.shape[1]
    name = f"{path.name.removesuffix('.run')} x{times}"
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        write_strip(pictures / f"{name.replace(' ', '-')}.png", np.stack(cells[: 3 * 4]), columns=3)
    verdict = read_metadata(path / UPSCALER_FILE)["wins"]
    rows = []
    for what in ("codec", "shrunk"):
        one, other = (np.mean(found[what, way], 0) for way in ways)
        rows.append(
            f"| {name} | {what} | {one[0]:.2f} | {other[0]:.2f} | {other[0] - one[0]:+.2f} | {one[1]:.2f} "
            f"| {other[1]:.2f} | {one[2]:.0%} | {other[2]:.0%} |"
        )
    rows.append(
        f"{name}: {run.manifest.stages['upscale'].step} steps, {split} side, {len(found['codec', 'learned'])} windows, "
        f"{larger.size[1]}x{larger.size[0]}; used: {verdict}; ms of a core a frame: learned "
        f"{1000 * seconds['learned'] / count:.1f}, Lanczos {1000 * seconds['Lanczos'] / count:.1f}."
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="RUN=LARGER")
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    rows, notes = list[str](), list[str]()
    for pair in given.pairs:
        run, larger = (Path(part) for part in pair.split("=", 1))
        *table, note = measure(run, FootageStore.open(larger), given.windows, given.pictures)
        rows, notes = rows + table, [*notes, note]
    lines = [
        f"# Upscaling, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"Enlarged frames against originals that were held back; {hardware()}. L: Lanczos; dB, and shares of the "
        "originals' sharpness.",
        "",
        "| run | given | PSNR L | learned | gain | of differences L | learned | sharpness L | learned |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        *notes,
        "",
    ]
    print("\n".join(lines))
    if given.out is not None:
        given.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
