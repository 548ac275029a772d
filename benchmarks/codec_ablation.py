"""What each part of the codec is worth: one training per row, each with the same footage, seed and budget.

    python benchmarks/codec_ablation.py STORE --budget 5m [--prior-budget 5m] [--preset tiny] [--only NAME ...]
                                        [--runs FOLDER] [--out benchmarks/results/DATE-codec-ablation.md]

STORE is a folder that `autoreel prepare` made. Every row changes the preset in one thing: family, backbone,
discriminator, loss term, stride or latent channels. Reconstruction is measured on the test side; with --prior-budget a
prior is trained on each row's latents too, and its loss on held-out footage stands beside (normalised latents, so rows
of one shape of latents compare), and the Frechet distance of 64 clips that it makes to the training footage, which
compares all rows (where the footage is enough for it). With --runs the same command goes on where it was stopped.
Budgets are wall time: run it on an otherwise idle machine, or give steps ("200 steps"), which compares equal updates
instead of equal time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from codec_quality import hardware, measure
from parts import commit
from real_side import Real

import autoreel
from autoreel.config import PRESETS, Config, with_parts
from autoreel.data.store import FootageStore
from autoreel.evaluation.encoder import look
from autoreel.evaluation.learning import open_encoder
from autoreel.generation.run import Options
from autoreel.models.codec import Codec
from autoreel.models.opening import own_codec
from autoreel.runs import RunFolder
from autoreel.training.budget import Budget
from autoreel.training.train import begin, train
from generation import WINDOWS, made

CLIPS = 64  # of each prior
Parts = Mapping[str, Mapping[str, Any]]
SIXTEEN = {
    "spatial_stride": 16, "widths": (48, 96, 192, 320), "encoder_depths": (1, 1, 1, 1), "decoder_depths": (1, 1, 2, 2),
}  # fmt: skip

ROWS: dict[str, tuple[str, Parts]] = {
    "base": ("", {}),
    **{f"family {name}": ("family", {"codec": {"family": name}}) for name in ("vae", "ae", "gan")},
    "transformer": ("backbone", {"codec": {"backbone": "transformer"}}),
    "transformer at 1/8 only": (
        "backbone", {"codec": {"backbone": "transformer", "encoder_depths": (0, 0, 3), "decoder_depths": (0, 0, 5)}},
    ),
    "fc": ("discriminator", {"discriminator": {"kind": "fc"}}),
    "sees the original": ("discriminator", {"discriminator": {"sees_original": True}}),
    "spectral norm, no penalty": (
        "discriminator",
        {"discriminator": {"spectral_norm": True}, "objective": {"r1_weight": 0.0, "r2_weight": 0.0}},
    ),
    "two groups together": ("discriminator", {"discriminator": {"groups": 2}}),
    "hinge": ("adversary", {"objective": {"adversary": "hinge"}}),
    "LeCAM": ("adversary", {"objective": {"lecam_weight": 0.005}}),
    "adversary 2": ("adversary", {"objective": {"adversarial_weight": 2.0}}),
    "no features": ("adversary", {"objective": {"feature_weight": 0.0}}),
    "adversary from 0.8 on": ("adversary", {"training": {"adversary_start": 0.8}}),
    "penalty every 8": ("adversary", {"objective": {"r1_every": 8}}),
    "l1": ("reconstruction", {"objective": {"reconstruction": "l1"}}),
    "l2": ("reconstruction", {"objective": {"reconstruction": "l2"}}),
    "still groups": ("layout", {"codec": {"linear_past": 0}}),
    "border 1": ("reconstruction", {"objective": {"border_weight": 1.0}}),
    "linear path as fast": ("training", {"training": {"linear_share": 1.0}}),
    "no frame difference": ("reconstruction", {"objective": {"difference_weight": 0.0}}),
    "no contrast": ("reconstruction", {"objective": {"contrast_weight": 0.0}}),
    "contrast 1": ("reconstruction", {"objective": {"contrast_weight": 1.0}}),
    "contrast 4": ("reconstruction", {"objective": {"contrast_weight": 4.0}}),
    "wavelet 0.5": ("reconstruction", {"objective": {"wavelet_weight": 0.5}}),
    "KL 0": ("latents", {"objective": {"kl_weight": 0.0}}),
    "KL 1e-3": ("latents", {"objective": {"kl_weight": 1e-3}}),
    "scale equivariance 0.25": ("latents", {"objective": {"equivariance_weight": 0.25}}),
    "EQ-VAE 0.25": ("latents", {"objective": {"equivariance_weight": 0.25, "equivariance": "scale-rotation"}}),
    "latent noise 0.2": ("latents", {"objective": {"latent_noise": 0.2}}),
    "stride 4x16x16, 32 channels": ("stride", {"codec": {**SIXTEEN, "latent_channels": 32}}),
    "stride 1x8x8": ("stride", {"codec": {"temporal_stride": 1}}),
    **{f"{count} channels": ("channels", {"codec": {"latent_channels": count}}) for count in (4, 16, 32)},
}  # fmt: skip


def config_of(name: str, preset: str, store: FootageStore) -> Config:
    """The preset with a row's change, on the store's footage; from scratch, on one look of validation a minute."""
    _, parts = ROWS[name]
    config = with_parts(PRESETS[preset], parts, name)
    training = config.training.model_copy(update={"start": "scratch"})
    return config.model_copy(update={"data": store.config, "training": training})


def one(name: str, store: FootageStore, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train a row, or go on with it, and measure it."""
    path = folder / name.replace(" ", "-").replace(",", "").replace("/", "of")
    run = begin(path, store, config_of(name, given.preset, store))
    for stage, text in (("codec", given.budget), ("prior", given.prior_budget)):
        if text is not None and not (stage == "prior" and run.config.codec.family == "gan"):
            train(run, store, budget=Budget.parse(text), stage=stage, report=print)
    run = RunFolder.open(path)
    codec: Codec = own_codec(run)
    found: dict[str, Any] = {
        "steps": run.manifest.stages["codec"].step,
        "parameters": sum(p.numel() for p in codec.parameters()),
    }
    if codec.has_encoder:
        split = "test" if store.split("test") else "validation"
        found |= measure(codec, store, split, run.config.training.codec_frames)
    if "prior.safetensors" in run.manifest.weights:
        looks = [row for row in run.metrics() if row["stage"] == "prior" and "validation/flow_next" in row]
        if looks:
            found |= {key: looks[-1][f"validation/{key}"] for key in ("flow_first", "flow_next")}
        distance = distance_of_made(path, store, folder)
        if distance is not None:
            found["frechet"] = distance
    return found


def distance_of_made(path: Path, store: FootageStore, folder: Path) -> float | None:
    """Frechet distance of clips that a run's prior makes, of each label alike, to the training footage.

    The encoder of the footage is kept in `folder`, so that all rows are seen with one. None: too little footage.
    """
    encoder = open_encoder(folder, store, report=print)
    run = autoreel.load(path)
    clips = made(run, np.arange(CLIPS) % max(1, len(run.labels)), Options())[:, 1:]
    real = Real.of(store, encoder, WINDOWS * CLIPS)
    distance: float | None = real.to_training(look(encoder, clips).features)["frechet"]
    return distance


def table(results: Mapping[str, Mapping[str, Any]], store: FootageStore, given: argparse.Namespace) -> str:
    """The results as Markdown."""
    windows = max((row.get("windows", 0) for row in results.values()), default=0)
    lines = [
        f"# Parts of the codec at equal budget, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"{given.budget} for each codec" + (f", {given.prior_budget} for each prior" if given.prior_budget else "")
        + f", from scratch, one run each, seed {PRESETS[given.preset].training.seed}; preset `{given.preset}`, footage "
        f"`{given.store.name}` at {store.size[1]}x{store.size[0]} px, measured on {windows} windows that were not "
        f"trained on ({store.how_split}); {hardware()}; commit {commit()}.",
        "",
        "| what | changes | parameters | steps | PSNR dB | SSIM | PSNR of changes | sharpness | changes inside "
        "| where groups meet | prior, first | next | made |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, row in results.items():
        figures = [
            f"{row[key]:.{digits}f}" if key in row else "-"
            for key, digits in (
                ("psnr_db", 2), ("ssim", 4), ("temporal_psnr_db", 2), ("sharpness_kept", 3),
                ("changes_inside", 2), ("changes_where_groups_meet", 2),
                ("flow_first", 4), ("flow_next", 4), ("frechet", 2),
            )
        ]  # fmt: skip
        size = f"{row['parameters'] / 1e6:.1f} M"
        lines.append(f"| {name} | {ROWS[name][0]} | {size} | {row['steps']} | {' | '.join(figures)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--prior-budget")
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--only", nargs="+", choices=list(ROWS), metavar="NAME", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--runs", type=Path, help="where the runs are kept; a temporary folder when left out")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    store = FootageStore.open(given.store)
    out = given.out or Path(__file__).parent / "results" / f"{datetime.now(UTC):%Y-%m-%d}-codec-ablation.md"
    results: dict[str, dict[str, Any]] = {}
    with ExitStack() as scratch:
        folder = given.runs or Path(scratch.enter_context(tempfile.TemporaryDirectory()))
        for name in given.only or ROWS:
            print(f"--- {name}", flush=True)
            torch.manual_seed(0)
            results[name] = one(name, store, given, folder)
            out.write_text(table(results, store, given), encoding="utf-8")  # what is there stays, whatever comes
    print(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
