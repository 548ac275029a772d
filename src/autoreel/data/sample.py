"""Sample footage of three kinds, and music for it, made by the program itself: nothing is downloaded.

    FOLDER/ad/ad-0.mp4 ...           a product on a turntable
    FOLDER/romance/romance-0.mp4 ... two lights that meet
    FOLDER/travel/travel-0.mp4 ...   a landscape in parallax
"""

from __future__ import annotations

import os
import wave
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Frames, Sound
from autoreel.data import sample_ad, sample_romance, sample_travel
from autoreel.errors import UsageError, translate_os_error
from autoreel.media.encode import VideoWriter
from autoreel.runs import atomic_path

Array = NDArray[np.floating[Any]]
Renderer = Callable[[int, int, int, int, int, float], Iterator[Array]]

KINDS: dict[str, Renderer] = {
    "ad": sample_ad.frames,
    "romance": sample_romance.frames,
    "travel": sample_travel.frames,
}
RATE = Fraction(25)
CHUNK = 25


def render_sample_footage(
    folder: Path,
    seed: int = 0,
    kinds: Sequence[str] = tuple(KINDS),
    *,
    clips_per_kind: int = 6,
    clip_s: float = 4.0,
    size: tuple[int, int] = (256, 256),
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Render sample footage; clips that are there already are kept.

    Args:
        folder: where to; each kind becomes a sub-folder, which makes it a label.
        seed: chooses shapes, speeds and camera; the same seed gives the same frames.
        kinds: of "ad", "romance" and "travel".
        clips_per_kind: how many of each.
        clip_s: length of each in seconds.
        size: (height, width) in pixels, even.
        report: told about each clip.

    Returns:
        The clips' paths, in order.

    Raises:
        UsageError: an unknown kind, or a size or length that cannot be rendered.
        OutputError: the folder cannot be written.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(f"unknown kind of sample footage {unknown[0]!r}; there are {', '.join(KINDS)}")
    num_frames = round(clip_s * RATE)
    if num_frames < 1 or clips_per_kind < 1 or min(size) < 16:
        raise UsageError("sample footage needs at least one clip, one frame and 16 pixels a side")
    jobs = [(folder / kind / f"{kind}-{n}.mp4", kind, n) for kind in kinds for n in range(clips_per_kind)]
    missing = [job for job in jobs if not job[0].exists()]
    for kind in kinds:
        try:
            (folder / kind).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise translate_os_error(error, folder / kind) from error
    done = len(jobs) - len(missing)
    # Threads are enough: numpy and the encoder work outside the interpreter's lock, and a script needs no main guard.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, len(missing) or 1)) as pool:
        futures = [pool.submit(render_clip, *job, seed, num_frames, size) for job in missing]
        try:
            for future in as_completed(futures):
                future.result()
                done += 1
                if report is not None:
                    report(f"sample footage: {done} of {len(jobs)} clips")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [path for path, _, _ in jobs]


def render_clip(path: Path, kind: str, variant: int, seed: int, num_frames: int, size: tuple[int, int]) -> None:
    """Render one clip to a file; the arguments are those of `render_sample_footage`."""
    with VideoWriter(path, size=size, rate=RATE, quality="good") as writer:
        for chunk in sample_frames(kind, variant, seed, num_frames, size):
            writer.write(chunk)


def sample_frames(
    kind: str, variant: int, seed: int, num_frames: int, size: tuple[int, int] = (256, 256)
) -> Iterator[Frames]:
    """One clip as chunks of frames, without a file.

    Args:
        kind: "ad", "romance" or "travel".
        variant: which product, evening or journey; counts around.
        seed: as in `render_sample_footage`.
        num_frames: how many.
        size: (height, width) in pixels.

    Returns:
        uint8 (n, H, W, 3) chunks of at most 25 frames.
    """
    height, width = size
    # A still pattern of half a level breaks the bands that smooth skies show in eight bits.
    dither = np.random.default_rng(7).uniform(-0.5, 0.5, (height, width, 1)).astype(np.float32)
    held: list[NDArray[np.uint8]] = []
    for frame in KINDS[kind](variant, seed, num_frames, height, width, float(RATE)):
        held.append((_to_srgb(frame) * 255 + dither).round().clip(0, 255).astype(np.uint8))
        if len(held) == CHUNK:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


def _to_srgb(linear: Array) -> Array:
    """IEC 61966-2-1; values above 1 roll off instead of clipping hard."""
    x = linear.clip(0)
    x = np.where(x > 0.8, 0.8 + 0.2 * np.tanh((x - 0.8) / 0.2), x)
    return np.asarray(np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-6) ** (1 / 2.4) - 0.055), np.float32)


def sample_music(length_s: float = 60.0, seed: int = 0, sample_rate_hz: int = 48000) -> Sound:
    """A calm piece with a clear beat: pad, bass, plucked notes, a soft drum.

    Args:
        length_s: its length in seconds.
        seed: chooses key, chords and melody.
        sample_rate_hz: samples per second.

    Returns:
        Stereo sound of exactly that length (to the sample), at 96 beats a minute.
    """
    rng = np.random.default_rng((seed, 4))
    beat_s = 60 / 96
    total = round(length_s * sample_rate_hz)
    mix = np.zeros((total + 8 * sample_rate_hz, 2), np.float32)
    root = 220.0 * 2 ** (rng.integers(-4, 4) / 12)
    progression = ((0, 4, 7, 14), (-3, 0, 4, 12), (-7, -3, 0, 9), (-5, -1, 2, 11))
    pentatonic = (0, 2, 4, 7, 9, 12, 14, 16)

    def add(at_s: float, tone: Array, pan: float, gain: float) -> None:
        start = round(at_s * sample_rate_hz)
        room = mix[start : start + len(tone)]
        room += (gain * tone[: len(room), None]) * np.array([1 - pan, 1 + pan], np.float32)

    bar_s = 4 * beat_s
    for bar in range(int(length_s / bar_s) + 1):
        chord, at = progression[bar % 4], bar * bar_s
        for k, step in enumerate(chord):
            add(at, _pad(root * 2 ** (step / 12), bar_s * 1.25, sample_rate_hz), (-0.5, 0.4, -0.2, 0.5)[k], 0.055)
        if bar >= 2:
            for half in (0, 2):
                add(at + half * beat_s, _pluck(root / 2 * 2 ** (chord[0] / 12), 1.4, 2.2, sample_rate_hz), 0.0, 0.22)
        if bar >= 4:
            for beat in range(4):
                add(at + beat * beat_s, _drum(sample_rate_hz), 0.0, 0.30 if beat % 2 == 0 else 0.16)
        if bar >= 1:
            for eighth in range(8):
                if rng.random() < (0.35 if bar < 4 else 0.55):
                    note = pentatonic[rng.integers(len(pentatonic))]
                    tone = _pluck(root * 2 * 2 ** (note / 12), 1.1, 5.0, sample_rate_hz)
                    add(at + eighth * beat_s / 2, tone, rng.uniform(-0.6, 0.6), 0.07)
    echo = round(1.5 * beat_s * sample_rate_hz)
    mix[echo:] += 0.22 * mix[:-echo, ::-1]
    samples = mix[:total]
    return Sound(np.ascontiguousarray(samples * (0.7 / max(1e-6, float(np.abs(samples).max())))), sample_rate_hz)


def write_sample_music(path: Path, length_s: float = 60.0, seed: int = 0) -> None:
    """Write `sample_music` to a 16-bit WAV file.

    Raises:
        OutputError: it cannot be written.
    """
    sound = sample_music(length_s, seed)
    with atomic_path(path) as part, wave.open(str(part), "wb") as file:
        file.setnchannels(sound.samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sound.sample_rate_hz)
        file.writeframes((sound.samples * 32767).round().astype("<i2").tobytes())


def _time(length_s: float, sample_rate_hz: int) -> Array:
    return np.arange(round(length_s * sample_rate_hz), dtype=np.float32) / sample_rate_hz


def _pad(frequency_hz: float, length_s: float, sample_rate_hz: int) -> Array:
    t = _time(length_s, sample_rate_hz)
    swell = np.sin(np.pi * t / length_s) ** 0.7
    partials = [(k, detune) for k in (1, 2, 3) for detune in (0.997, 1.003)]
    tone = sum(np.sin(2 * np.pi * frequency_hz * k * detune * t) / k**1.6 for k, detune in partials)
    return np.asarray(tone * swell, np.float32)


def _pluck(frequency_hz: float, length_s: float, decay: float, sample_rate_hz: int) -> Array:
    t = _time(length_s, sample_rate_hz)
    tone = sum(np.sin(2 * np.pi * frequency_hz * k * t) * np.exp(-decay * k**0.8 * t) / k for k in (1, 2, 3, 4))
    return np.asarray(tone * (t / 0.004).clip(0, 1) * ((length_s - t) / 0.05).clip(0, 1), np.float32)


def _drum(sample_rate_hz: int) -> Array:
    t = _time(0.28, sample_rate_hz)
    return np.asarray(np.sin(2 * np.pi * (48 * t + 4.2 * (1 - np.exp(-22 * t)))) * np.exp(-13 * t), np.float32)
