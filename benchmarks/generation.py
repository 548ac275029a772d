"""What generated clips are worth: against real ones, against three peers, in speed, over ten minutes, and to the eye.

    python benchmarks/generation.py FOOTAGE --out FOLDER [--budget 20m] [--clips 256] [--parts quality,steps,speed,...]

The footage is prepared once, with its labels. Runs are trained from scratch with one budget each, unless FOLDER holds
them: `ours` (vae-gan and prior) and, for the quality, `gan` and `vae`, a codec alone that is sampled from N(0, I); the
weight of its KL term is searched before, in an eighth of the budget each. The third peer learns nothing: it patches
clips together from pieces of training clips. Clips of 33 frames are seen as windows of 16 by an encoder of this
footage, which is trained on its training side alone.

quality   accuracy of a classifier of real clips, beside its accuracy on held-out real ones (none where a sampler knows
          no labels); memorised share, coverage, sharpness; Frechet and kernel distances, with the floor (held-out
          against held-out) and the counts
steps     the distances again for each solver and number of steps, from the same noise
speed     frames per second with decoding at 64 and 128 pixels, and a minute of film at 128 pixels
minutes   a rollout of ten minutes: memory and the slope of the drift meter
sheets    a picture of every verb, to look at

Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from codec_quality import hardware
from numpy.typing import NDArray
from PIL import Image

import autoreel
from autoreel.clip import Frames
from autoreel.data.store import FootageStore
from autoreel.durations import parse_duration_s
from autoreel.evaluation import distances, samples
from autoreel.evaluation.encoder import Seen, look
from autoreel.evaluation.learning import open_encoder
from autoreel.evaluation.memorisation import memorisation, nearest, small
from autoreel.generation import verbs
from autoreel.generation.drift import Meter, drift_of, look_of
from autoreel.generation.run import Options, Run
from autoreel.generation.sampler import Solver

FRAMES = 33
AT_ONCE = 8
PATCH, LIBRARY, COARSE = 8, 64, 4  # pixels, clips, pixels
KL_WEIGHTS = (1e-4, 1e-3, 1e-2)  # of which the vae that is sampled from N(0, I) takes the best
SOLVERS: tuple[Solver, ...] = ("adams", "heun", "euler")
STEPS = (2, 4, 6, 8, 16, 32)
STEPS_CLIPS = 64
SPEED_SIDES = {64: "tiny", 128: "small"}
MINUTE = 60 * 24  # frames
UNTIL_SET = 3  # steps of training: speed does not depend on what was learned
Classes = NDArray[np.int64]


def autoreel_command(*arguments: str) -> None:
    """Run the program to its end."""
    subprocess.run([sys.executable, "-m", "autoreel", *arguments], check=True)


def trained(footage: Path, folder: Path, *options: str) -> Run:
    """A run from scratch, trained now or found."""
    autoreel_command("train", str(footage), "--run", str(folder), "--start", "scratch", *options)
    return autoreel.load(folder)


def best_vae(store: FootageStore, out: Path, budget_s: float) -> tuple[Run, dict[str, float]]:
    """The vae whose clips from N(0, I) come nearest to real ones; and that distance for each weight of its KL term."""
    encoder = open_encoder(out, store, report=print)
    held = look(encoder, samples.read(store, samples.windows(store.split("test"), FRAMES - 1, STEPS_CLIPS))).features

    def vae(weight: float, budget_s: float, name: str) -> Run:
        options = ("--family", "vae", "--stage", "codec", "--budget", f"{budget_s:.0f}s")
        return trained(store.path, out / name, *options, "--set", f"objective.kl_weight={weight}")

    found = {}
    for weight in KL_WEIGHTS:
        run = vae(weight, budget_s / 8, f"vae-{weight:g}.run")
        clips = made(run, np.zeros(STEPS_CLIPS, np.int64), Options(sampler="normal"))[:, : FRAMES - 1]
        found[f"{weight:g}"] = round(distances.frechet(held, look(encoder, clips).features), 3)
    best = min(found, key=lambda weight: found[weight])
    return vae(float(best), budget_s, "vae.run"), found


def knows_labels(run: Run, options: Options) -> bool:
    """Whether what is made can be asked for by label."""
    is_prior = options.sampler == "prior" or (options.sampler == "auto" and run.config.codec.family != "gan")
    return bool(run.labels) and is_prior


def made(run: Run, classes: Classes, options: Options) -> Frames:
    """A clip for each class, (N, T, H, W, 3)."""
    parts = []
    for first in range(0, len(classes), AT_ONCE):
        some = range(first, min(first + AT_ONCE, len(classes)))
        labels = [run.labels[classes[i] % len(run.labels)] if knows_labels(run, options) else None for i in some]
        parts.append(run.generate_batch(labels, FRAMES, list(some), options))
    return np.concatenate(parts)


def patched(store: FootageStore, classes: Classes, seed: int = 0) -> Frames:
    """Clips of pieces: for every 8 x 8 x 4 place, that of the training clip most like a blurred mean of two others."""
    random = np.random.default_rng(seed)
    by_class: dict[int, Frames] = {}
    clips = []
    for number in classes:
        if number not in by_class:
            shots = [s for s in store.split("train") if not store.labels or s.label == store.labels[number]]
            by_class[number] = samples.read(store, samples.windows(shots, FRAMES - 1, LIBRARY))
        library = by_class[number]
        one, other = random.choice(len(library), 2, replace=False)
        rest = np.delete(library, [one, other], 0)
        if not len(rest):
            rest = library
        guide = _coarse((library[one].astype(np.float32) + library[other]) / 2)
        coarse = _coarse(rest.astype(np.float32))
        clip = np.empty_like(library[0])
        p, c = PATCH, PATCH // COARSE
        for t in range(0, FRAMES - 1, 4):
            for y in range(0, clip.shape[1], p):
                for x in range(0, clip.shape[2], p):
                    place = np.s_[t : t + 4, y // COARSE : y // COARSE + c, x // COARSE : x // COARSE + c]
                    error = np.square(coarse[(slice(None), *place)] - guide[place]).sum((1, 2, 3, 4))
                    clip[t : t + 4, y : y + p, x : x + p] = rest[error.argmin(), t : t + 4, y : y + p, x : x + p]
        clips.append(clip)
    return np.stack(clips)


def _coarse(clips: NDArray[np.float32]) -> NDArray[np.float32]:
    *front, height, width, colours = clips.shape
    parts = clips.reshape(*front, height // COARSE, COARSE, width // COARSE, COARSE, colours)
    mean: NDArray[np.float32] = parts.mean((-4, -2))
    return mean


def sharpness(clips: Frames) -> float:
    """Mean distance of neighbouring pixels, 0 to 255."""
    luma = clips.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return float(np.abs(np.diff(luma, axis=2)).mean() + np.abs(np.diff(luma, axis=3)).mean())


def quality(store: FootageStore, ours: Run, vae: Run, gan: Run, out: Path, count: int) -> dict[str, Any]:
    """Everything about clips of each kind, with the same encoder, classifier and counts."""
    encoder = open_encoder(out, store, report=print)
    numbers = {label: i for i, label in enumerate(store.labels)}

    def real(split: str, most: int) -> tuple[Frames, Classes, Seen]:
        chosen = samples.windows(store.split(split), FRAMES - 1, most)
        clips = samples.read(store, chosen)
        return clips, np.array([numbers.get(w.shot.label or "", 0) for w in chosen]), look(encoder, clips)

    train, train_classes, train_seen = real("train", 4 * count)
    held, held_classes, held_seen = real("test", count)
    of_a_clip = len(train_seen) // len(train)
    classifier = None
    if len(store.labels) > 1:
        classes = np.repeat(train_classes, of_a_clip)
        classifier = distances.fit_classifier(train_seen.traits, classes, len(store.labels))

    def accuracy(seen: Seen, classes: Classes) -> float | None:
        if classifier is None:
            return None
        said = distances.classify(classifier, seen.traits).reshape(len(classes), -1)
        votes = np.array([np.bincount(row, minlength=len(store.labels)).argmax() for row in said])
        return round(float(np.mean(votes == classes)), 4)

    training = small(train)
    held_near = nearest(small(held), training)
    wanted = np.arange(count) % max(1, len(ours.labels))  # of footage without labels: its styles
    makers: dict[str, tuple[Callable[[], Frames], bool]] = {  # and whether it heeds labels
        "ours": (lambda: made(ours, wanted, Options()), True),
        "ours, gaussian": (lambda: made(ours, wanted, Options(sampler="gaussian")), False),
        "vae, N(0, I)": (lambda: made(vae, wanted, Options(sampler="normal")), False),
        "gan": (lambda: made(gan, wanted, Options()), False),
        "patches": (lambda: patched(store, wanted), True),
    }
    first, second = (samples.windows(part, FRAMES - 1, count) for part in samples.halves(store.split("test")))
    sides = [look(encoder, samples.read(store, part)).features for part in (first, second)]
    results: dict[str, Any] = {
        "clips": count, "held_out_clips": len(held), "training_clips": len(train), "windows_a_clip": of_a_clip,
        "held_out_accuracy": accuracy(held_seen, held_classes), "sharpness": round(sharpness(held), 3),
        "floor": {"frechet": round(distances.frechet(*sides), 4), "kernel": round(distances.kernel_distance(*sides), 5),
                  "windows": [len(side) for side in sides]},
        "made": {},
    }  # fmt: skip
    for name, (make, heeds_labels) in makers.items():
        clips = make()[:, : FRAMES - 1]
        Image.fromarray(np.concatenate([np.concatenate(list(c[::4]), 1) for c in clips[:12]])).save(
            out / f"clips-{name.replace(', ', '-').replace('(', '').replace(')', '')}.png"
        )
        seen = look(encoder, clips)
        near = memorisation(nearest(small(clips), training), held_near)
        results["made"][name] = {
            "accuracy": accuracy(seen, wanted) if heeds_labels else None,
            "frechet": round(distances.frechet(held_seen.features, seen.features), 4),
            "kernel": round(distances.kernel_distance(held_seen.features, seen.features), 5),
            "coverage": round(distances.manifold(held_seen.features, seen.features).coverage, 4),
            "memorised_share": round(near.share, 4), "distance_to_training": round(near.ratio, 3),
            "sharpness_of_real": round(sharpness(clips) / sharpness(held), 4),
        }  # fmt: skip
        print(name, json.dumps(results["made"][name]), flush=True)
    return results


def steps(store: FootageStore, run: Run, out: Path) -> dict[str, Any]:
    """Distances to held-out clips for each solver and number of steps, from the same noise, and frames per second."""
    encoder = open_encoder(out, store, report=print)
    held = look(encoder, samples.read(store, samples.windows(store.split("test"), FRAMES - 1, 4 * STEPS_CLIPS)))
    wanted = np.arange(STEPS_CLIPS) % max(1, len(run.labels))
    found: dict[str, Any] = {"clips": STEPS_CLIPS}
    for solver in SOLVERS:
        for count in STEPS:
            began = time.perf_counter()
            clips = made(run, wanted, Options(steps=count, solver=solver))[:, : FRAMES - 1]
            seconds = time.perf_counter() - began
            seen = look(encoder, clips)
            found[f"{solver} {count}"] = {
                "frechet": round(distances.frechet(held.features, seen.features), 3),
                "kernel": round(distances.kernel_distance(held.features, seen.features), 4),
                "frames_a_second": round(STEPS_CLIPS * FRAMES / seconds, 1),
            }
            print(solver, count, found[f"{solver} {count}"], flush=True)
    return found


def speed(footage: Path, out: Path) -> dict[str, Any]:
    """Frames per second, decoding included, at two sizes; and a minute of film, encoded to a file too."""
    found: dict[str, Any] = {}
    for side, preset in SPEED_SIDES.items():
        run_path = out / f"speed-{side}.run"
        run = trained(footage, run_path, "--preset", preset, "--steps", str(UNTIL_SET))
        label = run.labels[0] if run.labels else None
        rates = {}
        for takes, frames in ((1, 97), (8, 97)):
            run.generate_batch([label] * takes, 9, list(range(takes)))
            for count in (4, 8, 32):
                began = time.perf_counter()
                run.generate_batch([label] * takes, frames, list(range(takes)), Options(steps=count))
                rates[f"{takes} at once, {count} steps"] = round(takes * frames / (time.perf_counter() - began), 1)
        began = time.perf_counter()
        count = sum(len(chunk) for chunk in run.generate_stream(label, MINUTE, 0))
        minute = {"frames": count, "wall_s": round(time.perf_counter() - began, 1)}
        began = time.perf_counter()
        length = f"{MINUTE / float(run.rate):.3f}s"
        autoreel_command("generate", str(run_path), "-o", str(out / f"minute-{side}.mp4"), "--length", length)
        minute["wall_s_of_the_command"] = round(time.perf_counter() - began, 1)
        found[f"{run.size[1]}x{run.size[0]}"] = {"frames_a_second": rates, "a_minute": minute}
        print(side, json.dumps(found[f"{run.size[1]}x{run.size[0]}"]), flush=True)
    return found


def minutes(run: Run, store: FootageStore, length_s: float) -> dict[str, Any]:
    """A long rollout: what memory does, and how the pictures drift."""
    meter, marks, done = Meter(run.rate), [], 0
    total = round(length_s * run.rate)
    began = time.perf_counter()
    for chunk in run.generate_stream(run.labels[0] if run.labels else None, total, 0):
        meter.add(chunk)
        done += len(chunk)
        if done * 10 // total >= len(marks):
            marks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
    drift = drift_of(meter.seconds(), look_of(store))
    return {
        "seconds": length_s, "wall_s": round(time.perf_counter() - began, 1), "peak_mib_at_each_tenth": marks,
        "slope_a_minute_of_the_spread": drift.slope, "level": drift.level,
    }  # fmt: skip


def sheets(run: Run, store: FootageStore, out: Path) -> None:
    """A row for each verb and clip, every third frame."""
    shots = [shot for shot in store.split("test") if shot.num_frames >= 60][:2]
    if len(shots) < 2:
        raise SystemExit("the test split has no two shots of 60 frames to show the verbs with")
    for number, shot in enumerate(shots):
        clip = np.array(store.frames(shot, 0, 60))
        label = shot.label
        maker = run.takes([label], [number])
        rows = {
            "real": clip[:57], "rebuild": run.rebuild(clip[:57]),
            "generate": run.generate(label, 57, number), "continue": run.continue_(clip[:24], 33, label, number),
            "animate": run.animate(clip[0], 57, label, number),
            "between": np.concatenate(list(verbs.between(maker, [clip[:16]], [clip[40:56]], 24)), 1)[0],
            "loop": run.loop(clip[:32], 24, label, number), "vary": run.vary(clip[:57], 0.6, label, number),
            "morph": run.morph(clip, np.array(store.frames(shots[-1 - number], 0, 57)), 57),
            "slow": run.slow(clip[:29], 2.0),
        }  # fmt: skip
        width = min(len(row) for row in rows.values())
        sheet = np.concatenate([np.concatenate(list(row[:width:3]), 1) for row in rows.values()])
        Image.fromarray(sheet).save(out / f"verbs-{number}.png")
        print(f"verbs-{number}.png, from the top: {', '.join(rows)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--length-s", type=float, default=600.0)
    parser.add_argument("--parts", default="quality,steps,speed,minutes,sheets")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    parts = given.parts.split(",")
    store_path = given.out / "store"
    autoreel_command("prepare", str(given.footage), "-o", str(store_path))
    store = FootageStore.open(store_path)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    result: dict[str, Any] = {
        "date": day, "hardware": hardware(), "commit": commit.stdout.strip(),
        "footage": given.footage.resolve().name, "budget_each": given.budget, "start": "scratch",
    }  # fmt: skip
    target = given.results / f"{day}-generation-{result['footage']}.json"
    if target.exists():  # other parts of this day
        result = {**json.loads(target.read_text(encoding="utf-8")), **result}

    def keep(part: str, found: dict[str, Any]) -> None:
        result[part] = found
        target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    budget = ("--budget", given.budget)
    if set(parts) - {"speed"}:
        ours = trained(store_path, given.out / "ours.run", *budget)
    if "quality" in parts:
        vae, searched = best_vae(store, given.out, parse_duration_s(given.budget))
        gan = trained(store_path, given.out / "gan.run", "--family", "gan", *budget)
        keep("quality", {"vae_kl_weights": searched, **quality(store, ours, vae, gan, given.out, given.clips)})
    if "steps" in parts:
        keep("steps", steps(store, ours, given.out))
    if "speed" in parts:
        keep("speed", speed(given.footage, given.out))
    if "minutes" in parts:
        keep("minutes", minutes(ours, store, given.length_s))
    if "sheets" in parts:
        sheets(ours, store, given.out)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
