"""Composing and encoding, timed: a minute of film whose shots are made, and how memory grows with length.

    python benchmarks/film.py --out FOLDER [--peer] [--minutes 30] [--size 1280x720]

The film: 8 shots (6 of material, 2 of a stand-in for a trained run), 7 transitions (2 latent), 3 effects, 2 titles,
music. It is rendered once so that all shots and painted ways are kept, and then timed: that is what an edit costs.
Processor time is that of a process with all its children: decoders have their own, and so has moviepy its FFmpeg.
The same film by moviepy (--peer; pip install moviepy) has crossfades where ours has latent transitions, wipes, slides
and dips; all else is alike. Memory is the peak of a process of its own. Flash and click: in a long film a white frame
and a click are made together every 10 s, and are looked for in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from codec_quality import hardware
from numpy.typing import NDArray

from autoreel.clip import Frames, Sound
from autoreel.config import Config
from autoreel.data.sample import render_sample_footage, write_sample_music
from autoreel.film import provenance
from autoreel.film.renderer import render
from autoreel.film.storyboard import Storyboard
from autoreel.media.decode import decode, read_clip
from autoreel.media.encode import VideoWriter

RATE = 25
SHOT_S = 7.5
FLASH_EVERY_S = 10.0


class StandIn:
    """As much of a trained run as a film asks for; its frames are noise that drifts, at 128 pixels."""

    computed_on = "cpu, uint8"

    def __init__(self) -> None:
        self.labels, self.size, self.rate, self.config = (), (128, 128), Fraction(RATE), Config()

    def generate_stream(self, label: str | None = None, num_frames: int = 33, seed: int = 0) -> Iterator[Frames]:
        rng = np.random.default_rng(seed)
        ground = rng.integers(40, 216, (16, 16, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        for start in range(0, num_frames, 25):
            count = min(25, num_frames - start)
            yield np.stack([np.roll(ground, 2 * (start + i), 1) for i in range(count)])

    def generate_latents(
        self, labels: Sequence[str | None], num_frames: int, seeds: Sequence[int]
    ) -> list[NDArray[np.float32]]:
        return [np.full((1 - (-(num_frames - 1) // 4), 8, 16, 16), seed, np.float32) for seed in seeds]

    def decode(self, latents: NDArray[np.float32], num_frames: int | None = None) -> Frames:
        count = num_frames or 1 + 4 * (len(latents) - 1)
        found = np.empty((count, *self.size, 3), np.uint8)
        start = 0
        for chunk in self.generate_stream(None, count, abs(round(float(latents[0, 0, 0, 0])))):
            found[start : start + len(chunk)] = chunk
            start += len(chunk)
        return found

    def morph(self, start: Frames, end: Frames, num_frames: int = 33) -> Frames:
        share = np.linspace(0, 1, num_frames, dtype=np.float32)[:, None, None, None]
        return np.rint((1 - share) * start[:num_frames] + share * end[:num_frames]).astype(np.uint8)

    def between(
        self, start: Frames, end: Frames, num_frames: int, label: str | None = None, seed: int = 0
    ) -> Frames:
        new = 4 * -(-num_frames // 4)
        return np.concatenate([start, next(self.generate_stream(None, new, seed))[:1].repeat(new, 0), end])


def material(folder: Path, size: tuple[int, int]) -> tuple[list[Path], Path]:
    """Six clips a little longer than their shots, and a song.

    They are rendered small, enlarged, and given the grain of a camera: rendering them large would take longer than all
    that is measured, and without grain they would be easier to encode than footage is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    height, width = size
    small = render_sample_footage(folder / "small", 0, clips_per_kind=2, clip_s=SHOT_S + 2.0, size=(90, 160))
    noise = np.random.default_rng(0).normal(0, 3, (height + 64, width + 64, 1)).astype(np.int16)
    clips = []
    for number, clip in enumerate(small):
        clips.append(folder / f"clip-{number}.mp4")
        if clips[-1].exists():
            continue
        with VideoWriter(clips[-1], size, RATE) as writer:
            for chunk in decode(clip, size=size, rate=Fraction(RATE)):
                for frame in chunk.frames:
                    down, across = (writer.num_frames * 37) % 64, (writer.num_frames * 23) % 64
                    grain = noise[down : down + height, across : across + width]
                    writer.write(np.clip(frame + grain, 0, 255).astype(np.uint8))
    song = folder / "song.wav"
    if not song.exists():
        write_sample_music(song, 61.0, 0)
    return clips, song


def board(clips: list[Path], song: Path, size: tuple[int, int], repeats: int = 1) -> Storyboard:
    """The film; `repeats` minutes of it."""
    kinds = ["fade", "morph", "wipe-left", "dip", "between", "slide-up", "dissolve"]
    effects: list[list[dict[str, Any]]] = [[] for _ in range(8)]
    effects[1] = [{"name": "color", "saturation": 1.2, "contrast": 1.1}]
    effects[4] = [{"name": "zoom", "end": 1.12}]
    effects[6] = [{"name": "vignette", "strength": 0.4}]
    shots: list[dict[str, Any]] = []
    for minute in range(repeats):
        for number in range(8):
            shot: dict[str, Any] = {"length_s": SHOT_S, "effects": effects[number]}
            if number in (2, 5):
                shot |= {"verb": "generate", "seed": minute * 8 + number}
            else:
                source = clips[number - (number > 2) - (number > 5)]
                shot |= {"verb": "material", "source": str(source), "in_s": 1.0}
            if shots:
                shot["transition"] = {"kind": kinds[(number - 1) % 7], "length_s": 1.0}
            shots.append(shot)
    return Storyboard.model_validate({
        "run": "stand-in", "canvas": {"width": size[1], "height": size[0], "rate": RATE}, "shots": shots,
        "music": {"file": str(song)}, "opening": {"length_s": 0.5}, "ending": {"length_s": 1.0},
        "titles": [{"text": "Signs of spring", "start_s": 0.5, "length_s": 4.0},
                   {"text": "by the sea", "start_s": 30.0, "length_s": 4.0, "place": "lower", "size": 0.06}],
    })  # fmt: skip


def peak_mb() -> int:
    """Most memory that this process ever held; what `getrusage` says of it begins with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) // 1024


def timed(film: Storyboard, out: Path) -> dict[str, Any]:
    """Render; what a model makes is kept for the next time."""
    provenance.hash_of_run = lambda storyboard: "stand-in"  # the shots of the stand-in may be kept
    run: Any = StandIn()
    began = time.monotonic()
    result = render(film, run, out)
    wall_s = time.monotonic() - began
    return {
        "frames": result.num_frames, "film_s": result.duration_s, "wall_s": round(wall_s, 1),
        "times_real_time": round(result.duration_s / wall_s, 2), "kept": result.num_kept, "made": result.num_made,
        "peak_mb": peak_mb(),
    }  # fmt: skip


def by_moviepy(clips: list[Path], song: Path, size: tuple[int, int], out: Path) -> dict[str, Any]:
    """The same film by moviepy 2."""
    import moviepy
    from moviepy import AudioFileClip, ColorClip, CompositeVideoClip, TextClip, VideoFileClip, vfx

    began = time.monotonic()
    layers: list[Any] = []
    for number in range(8):
        if number in (2, 5):
            frames = np.concatenate(list(StandIn().generate_stream(None, round((SHOT_S + 1) * RATE), number)))
            clip: Any = moviepy.ImageSequenceClip(list(frames), fps=RATE).resized((size[1], size[0]))
        else:
            clip = VideoFileClip(str(clips[number - (number > 2) - (number > 5)])).subclipped(1.0, 1.0 + SHOT_S + 1.0)
            clip = clip.resized((size[1], size[0])).without_audio()
        if number == 1:
            clip = clip.with_effects([vfx.MultiplyColor(1.1)])
        if number == 4:
            clip = clip.resized(lambda t: 1 + 0.12 * t / SHOT_S).with_position("center")
        if number == 6:
            y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
            fall = (1 - 0.4 * np.clip((x**2 + y**2) / 2, 0, 1))[..., None]
            clip = clip.image_transform(lambda frame, fall=fall: (frame * fall).astype(np.uint8))
        start = number * SHOT_S - (0.5 if number else 0.0)
        clip = clip.with_start(start)
        layers.append(clip.with_effects([vfx.CrossFadeIn(1.0)]) if number else clip)
    for text, start in (("Signs of spring", 0.5), ("by the sea", 30.0)):
        title = TextClip(text=text, font_size=size[0] // 10, color="white", duration=4.0)
        layers.append(title.with_start(start).with_position("center").with_effects([vfx.CrossFadeIn(0.4)]))
    ground = ColorClip((size[1], size[0]), (0, 0, 0), duration=60.0)
    film: Any = CompositeVideoClip([ground, *layers]).with_duration(60.0)
    film = film.with_audio(AudioFileClip(str(song)).subclipped(0, 60.0))
    film.write_videofile(str(out), fps=RATE, codec="libx264", preset="veryfast", ffmpeg_params=["-crf", "18"],
                         audio_codec="aac", threads=2, logger=None)  # fmt: skip
    return {"wall_s": round(time.monotonic() - began, 1), "peak_mb": peak_mb()}


def flashes(folder: Path, minutes: float) -> tuple[Storyboard, Path]:
    """A film of cards that is white for a frame every 10 s, with a click at the same time in its music."""
    rate_hz, length_s = 48_000, minutes * 60
    song = folder / "clicks.mkv"
    samples = np.zeros((round(FLASH_EVERY_S * rate_hz), 2), np.float32)
    samples[round(5.0 * rate_hz) : round(5.0 * rate_hz) + 480] = 0.8
    count = round(length_s / FLASH_EVERY_S)
    with VideoWriter(song, (32, 32), Fraction(1), sound=Sound(np.tile(samples, (count, 1)), rate_hz)) as writer:
        for _ in range(round(length_s)):
            writer.write(np.zeros((1, 32, 32, 3), np.uint8))
    shots = []
    for _ in range(count):
        shots += [{"verb": "card", "length_s": 5.0}, {"verb": "card", "length_s": 1 / RATE, "color": "white"},
                  {"verb": "card", "length_s": FLASH_EVERY_S - 5.0 - 1 / RATE}]  # fmt: skip
    return Storyboard.model_validate({
        "canvas": {"width": 64, "height": 64, "rate": RATE}, "shots": shots,
        "music": {"file": str(song), "fade_in_s": 0, "fade_out_s": 0},
    }), song  # fmt: skip


def apart(film: Path) -> dict[str, float]:
    """How far flashes and clicks lie apart in a file, decoded by FFmpeg as a player would."""
    lit: list[float] = []
    loud: list[float] = []
    with av.open(str(film)) as container:
        for frame in container.decode(video=0):
            if frame.to_ndarray(format="gray").mean() > 128:
                lit.append(float(frame.time or 0.0))
    with av.open(str(film)) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray()).max(axis=0)
            above = np.flatnonzero(samples > 0.1)
            at = float(frame.time or 0.0) + (float(above[0]) / frame.sample_rate if len(above) else 0.0)
            if len(above) and (not loud or at - loud[-1] > 1.0):
                loud.append(at)
    off = [min(abs(a - b) for b in loud) for a in lit]
    return {"flashes": len(lit), "clicks": len(loud), "worst_s": round(max(off), 4), "last_s": round(off[-1], 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--part", choices=("keep", "minute", "long", "peer", "sync"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    width, height = (int(side) for side in given.size.split("x"))
    size = (height, width)
    clips, song = material(given.out, size)
    if given.part is not None:
        if given.part == "peer":
            print(json.dumps(by_moviepy(clips, song, size, given.out / "moviepy.mp4")))
        elif given.part == "sync":
            film, _ = flashes(given.out, given.minutes)
            render(film, None, given.out / "sync.mp4")
            print(json.dumps(apart(given.out / "sync.mp4")))
        else:
            repeats = given.minutes if given.part == "long" else 1
            name = "long.mp4" if given.part == "long" else "minute.mp4"
            print(json.dumps(timed(board(clips, song, size, repeats), given.out / name)))
        return
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    result: dict[str, Any] = {"date": date, "hardware": hardware(), "size": given.size}
    for part in ("keep", "minute", "long", "sync", *(("peer",) if given.peer else ())):
        command = [sys.executable, __file__, "--out", str(given.out), "--size", given.size, "--minutes",
                   str(given.minutes), "--part", part]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{part} ended with {process.returncode}")
        result[part] = json.loads(said.splitlines()[-1]) | {"cpu_s": round(used.ru_utime + used.ru_stime, 1)}
        print(part, result[part], file=sys.stderr, flush=True)
    check = read_clip(given.out / "minute.mp4", size=(36, 64), start_s=59.0)
    result["last_second_frames"] = len(check.frames)
    print(json.dumps(result, indent=1))
    (given.out / "film.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
