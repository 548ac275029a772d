"""How well the beat tracker finds beats: on click tracks of known tempo, and what it says of real music.

    python benchmarks/beats.py [FILES ...]

Click tracks have a player's unevenness (4 ms), white noise, swing, missing beats and a tempo that drifts. A beat counts
as found when one lies within 35 ms of it; the share of found beats that are true stands beside it. With librosa
installed its tracker is measured on the same tracks (a peer, not needed otherwise).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoreel.clip import Sound
from autoreel.film.beats import track_beats
from autoreel.media.decode import read_sound

RATE_HZ = 22_050
NEAR_S = 0.035
LENGTH_S = 30.0
KINDS: dict[str, dict[str, float]] = {
    "clean": {},
    "noise -20 dB": {"noise": 0.1},
    "noise -14 dB": {"noise": 0.2},
    "swing 2/3": {"swing": 2 / 3},
    "swing 2/3, noise": {"swing": 2 / 3, "noise": 0.05},
    "eighths": {"swing": 1 / 2},
    "eighths, noise": {"swing": 1 / 2, "noise": 0.05},
    "one beat in five missing": {"missing": 0.2},
    "tempo drifts by 4 %": {"drift": 0.04},
}


def clicks(
    tempo_bpm: float, seed: int, noise: float = 0.0, swing: float = 0.0, missing: float = 0.0, drift: float = 0.0
) -> tuple[Sound, NDArray[np.float64]]:
    """A click on every beat, the first of four on another pitch; with swing a softer one before the next beat."""
    rng = np.random.default_rng((round(tempo_bpm * 10), seed))
    samples = rng.normal(0.0, noise, round(LENGTH_S * RATE_HZ)) if noise else np.zeros(round(LENGTH_S * RATE_HZ))
    steps = 60.0 / tempo_bpm * (1.0 + drift * np.sin(np.arange(400) / 25.0))
    beats = rng.uniform(0.05, 0.6) + np.concatenate([[0.0], np.cumsum(steps)])
    beats = beats[beats < LENGTH_S - 0.1]
    beats = beats + rng.normal(0.0, 0.004, len(beats))
    at = np.arange(round(0.03 * RATE_HZ)) / RATE_HZ
    for number, beat in enumerate(beats):
        click = np.sin(2 * np.pi * (150.0 if number % 4 == 0 else 1000.0) * at) * np.exp(-at / 0.01)
        gone = rng.uniform() < missing
        for time_s, loud in ((beat, 0.8), (beat + swing * 60.0 / tempo_bpm, 0.3)):
            start = round(time_s * RATE_HZ)
            if ((loud == 0.8 and not gone) or (loud == 0.3 and swing)) and 0 <= start < len(samples) - len(click):
                samples[start : start + len(click)] += loud * click
    return Sound(samples[:, None].astype(np.float32), RATE_HZ), beats


def librosa_beats(sound: Sound) -> NDArray[np.float64]:
    """The peer's answer."""
    import librosa

    _, times = librosa.beat.beat_track(y=sound.samples[:, 0], sr=sound.sample_rate_hz, units="time", trim=False)
    return np.asarray(times, np.float64)


def shares(truth: NDArray[np.float64], found: NDArray[np.float64]) -> tuple[float, float]:
    """Recall and precision within 35 ms."""
    if not len(found):
        return 0.0, 0.0
    off_s = np.abs(truth[:, None] - found)
    inside = (found > truth[0] - 0.2) & (found < truth[-1] + 0.2)
    return float((off_s.min(axis=1) < NEAR_S).mean()), float((off_s.min(axis=0)[inside] < NEAR_S).mean())


def measure(track: Callable[[Sound], NDArray[np.float64]], seeds: int) -> dict[str, Any]:
    """Mean recall and precision over tempos for each kind of click track."""
    result: dict[str, Any] = {}
    for kind, settings in KINDS.items():
        rows = []
        for tempo in range(60, 181, 5):
            for seed in range(seeds):
                sound, truth = clicks(tempo, seed, **settings)
                rows.append((tempo, *shares(truth, track(sound))))
        recall = np.array([row[1] for row in rows])
        result[kind] = {
            "tracks": len(rows),
            "beats_found": round(float(recall.mean()), 4),
            "beats_true": round(float(np.mean([row[2] for row in rows])), 4),
            "tracks_with_95_percent": round(float((recall >= 0.95).mean()), 4),
            "worst_tempo": rows[int(recall.argmin())][0],
            "worst": round(float(recall.min()), 3),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    began = time.process_time()
    result: dict[str, Any] = {"autoreel": measure(lambda sound: track_beats(sound).times_s, given.seeds)}
    result["cpu_s"] = round(time.process_time() - began, 1)
    if importlib.util.find_spec("librosa") is not None:
        result["librosa"] = measure(librosa_beats, given.seeds)
    for path in given.files:
        sound = read_sound(path, sample_rate_hz=RATE_HZ, channels=1)
        beats = track_beats(sound)
        steps = np.diff(beats.times_s)
        result[path.name] = {
            "seconds": round(sound.duration_s, 1), "beats": len(beats.times_s), "tempo_bpm": round(beats.tempo_bpm, 1),
            "pulse": round(beats.pulse, 3), "uneven_s": round(float(np.std(steps)), 4) if len(steps) else None,
        }  # fmt: skip
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
