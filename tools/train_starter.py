"""Train the starter codec that ships with the package, and put it there.

    python -m tools.train_starter FOOTAGE --work WORK --budget 6h [--preset tiny] [--install]

FOOTAGE is a folder with a table LICENCES.md; its clips of tier A are learned from, less those that the starter is tried
on, and scenes that this program renders. WORK keeps the prepared clips and the run: the same command goes on where it
was stopped, at any time. With --install the weights and their model card go into src/autoreel/models/starter/PRESET.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import torch
from tools.starter_footage import attributions, build_store, tier_a

from autoreel.config import PRESETS, Config
from autoreel.models.opening import own_codec
from autoreel.models.stored import WEIGHTS_FILE, model_card, save_codec
from autoreel.runs import RunFolder
from autoreel.training.budget import Budget
from autoreel.training.start import STARTERS
from autoreel.training.train import begin, train

LARGEST_BYTES = 20_000_000
EVERY_S = 300.0  # seconds between checkpoints, and between previews
CONTRAST = 0.5  # of the usual weight: footage that it never saw loses decibels to sharpness


def starter_config(preset: str, seed: int, start: str) -> Config:
    """A preset's codec, trained for reconstruction alone: what sharpens one footage blurs another."""
    config = PRESETS[preset]
    contrast = CONTRAST * config.objective.contrast_weight
    return config.model_copy(update={
        "codec": config.codec.model_copy(update={"family": "vae"}),
        "objective": config.objective.model_copy(update={"contrast_weight": contrast}),
        "training": config.training.model_copy(update={
            "seed": seed, "start": start, "checkpoint_every_s": EVERY_S, "preview_every_s": EVERY_S,
        }),
    })  # fmt: skip


def install(run: RunFolder, footage: Path, starters: Path) -> Path:
    """Write the weights in float16 with their card; an older starter of the preset is replaced.

    Raises:
        SystemExit: they are larger than a package should be.
    """
    codec, config = own_codec(run), run.config
    state = run.manifest.stages["codec"]
    found = [row["validation/psnr_db"] for row in run.metrics() if row.get("validation/psnr_db") is not None]
    psnr = f" Held-out clips of the same sources: {found[-1]:.1f} dB." if found else ""
    begun = " It began with the weights of the starter before it." if config.training.start == "starter" else ""
    notes = {
        "Training": f"{state.step} steps of {config.training.codec_batch} clips in {state.elapsed_s / 3600:.1f} hours, "
        f"finished {datetime.now(UTC):%Y-%m-%d}, contrast weight {config.objective.contrast_weight:g}, "
        "on crops of the clips below at many scales and speeds and on scenes "
        f"that the program renders.{begun}{psnr} Not learned from, to try it on: signers, talking faces, traffic, "
        "actions in a laboratory.",
        "Footage": attributions(tier_a(footage), footage),
        "Limits": "It compresses; it recognises nobody and judges nothing. Fine patterns and small text blur.",
    }
    target = starters / config.preset
    with tempfile.TemporaryDirectory(dir=_made(starters)) as scratch:
        card = model_card(codec, licence="cc-by-4.0", notes=notes)
        made = save_codec(codec, Path(scratch) / "starter", dtype=torch.float16, card=card)
        size = (made / WEIGHTS_FILE).stat().st_size
        if size > LARGEST_BYTES:
            raise SystemExit(f"the weights take {size / 1e6:.1f} MB, more than {LARGEST_BYTES / 1e6:.0f}")
        if target.exists():
            shutil.rmtree(target)
        made.rename(target)
    return target


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--budget", default="6h")
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--clips", type=int, default=96, help="crops of each file")
    parser.add_argument("--scenes", type=int, default=600, help="rendered ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", default="scratch", choices=("scratch", "starter"), help="the one that is installed")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--install", action="store_true", help="put the result into the package")
    given = parser.parse_args()
    config = starter_config(given.preset, given.seed, given.start)
    store = build_store(
        given.footage, _made(given.work) / "store", side=config.data.height, clips=given.clips, scenes=given.scenes,
        seed=given.seed, report=print,
    )  # fmt: skip
    run = begin(given.work / "run", store, config)
    train(run, store, budget=Budget.parse(given.budget), stage="codec", report=print, device=given.device)
    if given.install:
        print(install(RunFolder.open(run.root), given.footage, STARTERS))


if __name__ == "__main__":
    main()
