"""What generated clips are worth: against real ones, against three peers, in speed, over ten minutes, and to the eye.

    python benchmarks/generation.py FOOTAGE --out FOLDER [--budget 20m] [--clips 256] [--threads N] [--parts ...]

The footage is prepared once, with its labels. Runs are trained from scratch with one budget each, unless FOLDER holds
them: `ours` (vae-gan and prior) and, for the quality, `gan` and `vae`, a codec alone that is sampled from N(0, I); the
weight of its KL term is searched before, in an eighth of the budget each. The third peer learns nothing: it patches
clips together from pieces of training clips. Clips of 33 frames are seen as windows of 16 by an encoder of this
footage, which is trained on its training side alone.

quality   accuracy of a judge of real clips, beside its accuracy on held-out real ones (none where a sampler knows no
          labels); Frechet and kernel distances and coverage to the training footage, beside those of its other moments
          (the floor) and of held-out footage, and to the held-out footage, all with equal counts where there are as
          many; memorised share, beside that of real clips against other shots of the same person; sharpness
steps     the distances again for each solver and number of steps, from the same noise
speed     frames per second with decoding at 64 and 128 pixels, the best of three, and a minute of film at 128 pixels
minutes   eight rollouts of ten minutes side by side: memory, and the slopes of the drift meter with their error
sheets    a picture of every verb, to look at

Run it on an otherwise idle machine. --threads sets how many threads train and compute; 0 leaves that to torch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from codec_quality import hardware, use_threads
from numpy.typing import NDArray
from parts import commit, keep
from patches import patched
from PIL import Image
from real_side import Real, familiar_share, held_out, judge_of

import autoreel
from autoreel.clip import Frames
from autoreel.data.store import FootageStore
from autoreel.durations import parse_duration_s
from autoreel.evaluation import samples
from autoreel.evaluation.encoder import WINDOW, look
from autoreel.evaluation.learning import open_encoder
from autoreel.evaluation.memorisation import memorisation, nearest, small
from autoreel.generation import verbs
from autoreel.generation.drift import LEAST_FOR_A_SLOPE_S, LUMA, QUANTITIES, Meter, drift_of, look_of
from autoreel.generation.run import Options, Run
from autoreel.generation.sampler import Solver

FRAMES = 33
AT_ONCE = 8
WINDOWS = (FRAMES - 1) // WINDOW  # of each clip
KL_WEIGHTS = (1e-2, 1e-1, 1.0)  # of which the vae that is sampled from N(0, I) takes the best
STEPS: dict[Solver, tuple[int, ...]] = {"adams": (2, 4, 6, 8, 16, 32), "heun": (4, 8, 32), "euler": (4, 8, 32)}
STEPS_CLIPS = 64
SPEED_SIDES = {64: "tiny", 128: "small"}
MINUTE = 60 * 24  # frames
TIMES = 3  # of which the best counts
ROLLOUTS = 8  # of minutes, side by side: one alone cannot tell a small slope from chance
SHEET, LEAST_SHEET = 60, 45  # frames of a shot that the verbs are shown with
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
    """The vae whose clips from N(0, I) come nearest to its footage, and that distance for each weight of KL."""
    encoder = open_encoder(out, store, report=print)
    real = Real.of(store, encoder, WINDOWS * STEPS_CLIPS)
    if real.floor()["frechet"] is None:
        raise SystemExit(f"{store.path}: {real.count} pairs of windows for training are too few for a Frechet distance")

    def vae(weight: float, budget_s: float, name: str) -> Run:
        options = ("--family", "vae", "--stage", "codec", "--budget", f"{budget_s:.0f}s")
        return trained(store.path, out / name, *options, "--set", f"objective.kl_weight={weight}")

    found = {}
    for weight in KL_WEIGHTS:
        run = vae(weight, budget_s / 8, f"vae-{weight:g}.run")
        clips = made(run, np.zeros(STEPS_CLIPS, np.int64), Options(sampler="normal"))[:, : FRAMES - 1]
        found[f"{weight:g}"] = real.to_training(look(encoder, clips).features)["frechet"]
    best = min(found, key=lambda weight: found[weight])
    return vae(float(best), budget_s, "vae.run"), found


def knows_labels(run: Run, options: Options) -> bool:
    """Whether what is made can be asked for by label."""
    return bool(run.labels) and run.sampler_of(options) == "prior"


def made(run: Run, classes: Classes, options: Options) -> Frames:
    """A clip for each class, (N, T, H, W, 3)."""
    parts = []
    for first in range(0, len(classes), AT_ONCE):
        some = range(first, min(first + AT_ONCE, len(classes)))
        labels = [run.labels[classes[i] % len(run.labels)] if knows_labels(run, options) else None for i in some]
        parts.append(run.generate_batch(labels, FRAMES, list(some), options))
    return np.concatenate(parts)


def sharpness(clips: Frames) -> float:
    """Mean distance of neighbouring pixels, 0 to 255."""
    found = []
    for clip in clips:
        luma = clip.astype(np.float32) @ LUMA
        found.append(np.abs(np.diff(luma, axis=1)).mean() + np.abs(np.diff(luma, axis=2)).mean())
    return float(np.mean(found))


def quality(store: FootageStore, ours: Run, vae: Run, gan: Run, out: Path, count: int) -> dict[str, Any]:
    """Everything about clips of each kind, with the same encoder, judge and counts."""
    encoder = open_encoder(out, store, report=print)
    real = Real.of(store, encoder, WINDOWS * count)
    judge = judge_of(store, encoder, FRAMES - 1)
    chosen = samples.windows(store.split("train"), FRAMES - 1, 4 * count)
    held = samples.read(store, samples.windows(held_out(store), FRAMES - 1, count))
    train = samples.read(store, chosen)
    training, sharp = small(train), sharpness(train)
    held_near = nearest(small(held), training)
    of_held = memorisation(held_near, held_near)
    wanted = np.arange(count) % max(1, len(ours.labels))  # of footage without labels: its styles
    makers: dict[str, tuple[Callable[[], Frames], bool]] = {  # and whether it heeds labels
        "ours": (lambda: made(ours, wanted, Options()), True),
        "ours, gaussian": (lambda: made(ours, wanted, Options(sampler="gaussian")), False),
        "vae, N(0, I)": (lambda: made(vae, wanted, Options(sampler="normal")), False),
        "gan": (lambda: made(gan, wanted, Options()), False),
        "patches": (lambda: patched(store, wanted, FRAMES - 1), True),
    }
    results: dict[str, Any] = {
        "clips": count, "held_out_clips": len(held), "training_clips": len(train),
        "judge_on_held_out": judge and judge.held_out,
        "floor": real.floor(), "held_out": {
            **real.to_training(real.held_out), "memorised_share": round(of_held.share, 4),
            "sharpness_of_training": round(sharpness(held) / sharp, 4),
        },
        "memorised_share_of_real_beside_other_shots": familiar_share(chosen, training, of_held.threshold),
        "made": {},
    }  # fmt: skip
    print(json.dumps(results, indent=1), flush=True)
    for name, (make, heeds_labels) in makers.items():
        clips = make()[:, : FRAMES - 1]
        Image.fromarray(np.concatenate([np.concatenate(list(c[::4]), 1) for c in clips[:12]])).save(
            out / f"clips-{name.replace(', ', '-').replace('(', '').replace(')', '')}.png"
        )
        seen = look(encoder, clips).features
        near = memorisation(nearest(small(clips), training), held_near)
        results["made"][name] = {
            "accuracy": judge.accuracy(clips, wanted) if judge and heeds_labels else None,
            **real.to_training(seen), "to_held_out": real.to_held_out(seen),
            "memorised_share": round(near.share, 4), "distance_to_training": round(near.ratio, 3),
            "sharpness_of_training": round(sharpness(clips) / sharp, 4),
        }  # fmt: skip
        print(name, json.dumps(results["made"][name]), flush=True)
    return results


def steps(store: FootageStore, run: Run, out: Path) -> dict[str, Any]:
    """Distances for each solver and number of steps, from the same noise, and frames per second."""
    encoder = open_encoder(out, store, report=print)
    real = Real.of(store, encoder, WINDOWS * STEPS_CLIPS)
    wanted = np.arange(STEPS_CLIPS) % max(1, len(run.labels))
    found: dict[str, Any] = {"clips": STEPS_CLIPS, "floor": real.floor(), "held_out": real.to_training(real.held_out)}
    made(run, wanted[:AT_ONCE], Options())  # what is slow once is not timed
    for solver, counts in STEPS.items():
        for count in counts:
            began = time.perf_counter()
            clips = made(run, wanted, Options(steps=count, solver=solver))[:, : FRAMES - 1]
            seconds = time.perf_counter() - began
            seen = look(encoder, clips).features
            found[f"{solver} {count}"] = {
                **real.to_training(seen), "to_held_out": real.to_held_out(seen),
                "frames_a_second": round(STEPS_CLIPS * FRAMES / seconds, 1),
            }  # fmt: skip
            print(solver, count, found[f"{solver} {count}"], flush=True)
    return found


def speed(store: FootageStore, footage: Path, out: Path) -> dict[str, Any]:
    """Frames per second, decoding included, at two sizes; and a minute of film, encoded to a file too.

    The footage is prepared again where the store is of another size.
    """
    found: dict[str, Any] = {}
    for side, preset in SPEED_SIDES.items():
        run_path = out / f"speed-{side}.run"
        source = store.path if store.size == (side, side) else footage
        run = trained(source, run_path, "--preset", preset, "--steps", str(UNTIL_SET))
        label = run.labels[0] if run.labels else None
        rates = {}
        for takes, frames in ((1, 97), (8, 97)):
            run.generate_batch([label] * takes, 9, list(range(takes)))
            for count in (4, 8, 32):
                seconds = []
                for _ in range(TIMES):
                    began = time.perf_counter()
                    run.generate_batch([label] * takes, frames, list(range(takes)), Options(steps=count))
                    seconds.append(time.perf_counter() - began)
                rates[f"{takes} at once, {count} steps"] = round(takes * frames / min(seconds), 1)
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
    """Long rollouts: what memory does, and how the pictures drift."""
    seeds = range(ROLLOUTS)
    meters, marks, done = [Meter(run.rate) for _ in seeds], [], 0
    total = round(length_s * run.rate)
    began = time.perf_counter()
    labels = [run.labels[seed % len(run.labels)] if run.labels else None for seed in seeds]
    for chunk in verbs.generate(run.takes(labels, list(seeds)), total):
        for meter, take in zip(meters, chunk, strict=True):
            meter.add(take)
        done += chunk.shape[1]
        if done * 10 // total >= len(marks):
            marks.append(resident_mib())
    look = look_of(store)
    drifts = [drift_of(meter.seconds(), look) for meter in meters]
    found: dict[str, Any] = {
        "seconds": length_s, "rollouts": ROLLOUTS, "wall_s": round(time.perf_counter() - began, 1),
        "resident_mib_at_each_tenth": marks,
    }  # fmt: skip
    for name in QUANTITIES:
        slopes = np.array([drift.slope[name] for drift in drifts if drift.slope is not None])
        levels = [drift.level[name] for drift in drifts if drift.level is not None]
        found[name] = {
            "level": round(float(np.mean(levels)), 4),
            "slope_a_minute_of_the_spread": round(float(slopes.mean()), 4),
            "standard_error": round(float(slopes.std(ddof=1) / np.sqrt(len(slopes))), 4),
            "slopes": [round(float(slope), 4) for slope in slopes],
        }  # fmt: skip
    return found


def resident_mib() -> int:
    """What of this process is in memory now; the peak of its life would hide that something grows."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def sheets(run: Run, store: FootageStore, out: Path) -> None:
    """A row for each verb and clip, every third frame."""
    shots = [shot for shot in store.split("test") if shot.num_frames >= LEAST_SHEET]
    shots = sorted(shots, key=lambda shot: -min(shot.num_frames, SHEET))[:2]
    if len(shots) < 2:
        raise SystemExit(f"the test split has no two shots of {LEAST_SHEET} frames to show the verbs with")
    for number, shot in enumerate(shots):
        length = min(SHEET, shot.num_frames) // 4 * 4
        shown, gap = length - 3, length - 36
        clip, label = np.array(store.frames(shot, 0, length)), shot.label
        other = shots[1 - number]
        end = np.array(store.frames(other, 0, min(shown, other.num_frames)))
        maker = run.takes([label], [number])
        rows = {
            "real": clip[:shown], "rebuild": run.rebuild(clip[:shown]),
            "generate": run.generate(label, shown, number),
            "continue": run.continue_(clip[:24], shown - 24, label, number),
            "animate": run.animate(clip[0], shown, label, number),
            "between": np.concatenate(list(verbs.between(maker, [clip[:16]], [clip[16 + gap :][:16]], gap)), 1)[0],
            "loop": run.loop(clip[:32], shown - 32, label, number), "vary": run.vary(clip[:shown], 0.6, label, number),
            "morph": run.morph(clip, end, shown), "slow": run.slow(clip[: (shown + 1) // 2], 2.0),
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
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    given = parser.parse_args()
    if given.length_s < LEAST_FOR_A_SLOPE_S:
        parser.error(f"--length-s {given.length_s:g}: at least {LEAST_FOR_A_SLOPE_S} seconds are needed for a slope")
    threads = use_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    parts = given.parts.split(",")
    store_path = given.out / "store"
    autoreel_command("prepare", str(given.footage), "-o", str(store_path))
    store = FootageStore.open(store_path)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    about = {"date": day, "footage": given.footage.resolve().name, "start": "scratch"}
    how = {
        "commit": commit(), "hardware": hardware(), "threads": threads, "budget_each": given.budget,
    }  # fmt: skip
    target = given.results / f"{day}-generation-{about['footage']}.json"

    def measured(part: str, found: dict[str, Any]) -> None:
        print(json.dumps(keep(target, about, part, how, found), indent=1))

    budget = ("--budget", given.budget)
    if set(parts) - {"speed"}:
        ours = trained(store_path, given.out / "ours.run", *budget)
    if "quality" in parts:
        vae, searched = best_vae(store, given.out, parse_duration_s(given.budget))
        gan = trained(store_path, given.out / "gan.run", "--family", "gan", *budget)
        measured("quality", {"vae_kl_weights": searched, **quality(store, ours, vae, gan, given.out, given.clips)})
    if "steps" in parts:
        measured("steps", steps(store, ours, given.out))
    if "speed" in parts:
        measured("speed", speed(store, given.footage, given.out))
    if "minutes" in parts:
        measured("minutes", minutes(ours, store, given.length_s))
    if "sheets" in parts:
        sheets(ours, store, given.out)


if __name__ == "__main__":
    main()
