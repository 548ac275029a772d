"""The commands that measure: evaluate and compare."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from autoreel.commands.notes import note
from autoreel.commands.options import Device, MaybeOut, Out, parse_budget, parsed
from autoreel.errors import AutoreelError, UsageError


def evaluate(
    run: Path,
    *,
    out: MaybeOut = None,
    footage: Path | None = None,
    clips: int = 256,
    frames: int = 32,
    seed: int = 0,
    minute: bool = True,
    fvd: Path | None = None,
    cd_fvd: Path | None = None,
    trust_scripts: Annotated[bool, Parameter(negative="")] = False,
    lpips: Path | None = None,
    vmaf: Annotated[bool, Parameter(negative="")] = False,
    device: Device = "auto",
) -> None:
    """Score a run on footage it has not seen: a page with clips, curves and numbers, index.html and report.json.

    Args:
        run: The run folder.
        out: The folder for the page; "report" in the run folder when left out.
        footage: The prepared footage that the run learned from, when it is not in the run folder.
        clips: How many clips are generated.
        frames: Frames of each, at least 16.
        seed: Of the first clip; the others follow.
        minute: Generate a minute in one go, to see whether it drifts.
        fvd: A TorchScript file of I3D, for FVD.
        cd_fvd: A TorchScript file of VideoMAE, for content-debiased FVD.
        trust_scripts: Run the TorchScript files; each is a program that may do all that you may.
        lpips: A safetensors file with LPIPS weights for VGG16.
        vmaf: Measure VMAF with the ffmpeg that is installed.
        device: Where to compute.
    """
    from autoreel import preflight
    from autoreel.report.evaluate import Wanted
    from autoreel.report.evaluate import evaluate as evaluate_run
    from autoreel.report.outside import Files

    problems: list[AutoreelError] = []
    for path, what in ((fvd, "the file for FVD"), (cd_fvd, "the file for cd-FVD"), (lpips, "the LPIPS weights")):
        problems += preflight.check_input(path, what) if path is not None else []
    if not trust_scripts:
        problems += preflight.check_scripts([path for path in (fvd, cd_fvd) if path is not None])
    preflight.insist(problems + (preflight.check_folder(out) if out is not None else []))
    files = Files(fvd=fvd, cd_fvd=cd_fvd, lpips=lpips, vmaf=vmaf)
    wanted = Wanted(clips=clips, frames=frames, seed=seed, minute=minute, files=files)
    print(evaluate_run(run, footage=footage, out=out, wanted=wanted, device=device, report=note))


def compare(
    *footage: Path,
    out: Out,
    families: str = "gan,ae,vae,vae-gan",
    budget: str = "10m",
    steps: int | None = None,
    seeds: int = 1,
    preset: Literal["tiny", "small", "base"] = "tiny",
    clips: int = 128,
    frames: int = 32,
    device: Device = "auto",
) -> None:
    """Train several families on the same footage with the same budget, and rank them on one page.

    The same command goes on where it was stopped.

    Args:
        footage: A folder that `autoreel prepare` made; or folders and files with video.
        out: The folder for the runs and the page.
        families: What to compare, with commas: gan, ae, vae, vae-gan.
        budget: Time for each training, codec and prior together: 10m, 90s, 1h.
        steps: A number of updates for each training instead of a time.
        seeds: Trainings of each family; with two and more there are intervals.
        preset: Size of the models: tiny (64 px), small (128 px), base (256 px).
        clips: How many clips are generated of each run.
        frames: Frames of each, at least 16.
        device: Where to compute.
    """
    from autoreel import preflight
    from autoreel.data.store import INDEX_NAME

    problems: list[AutoreelError] = [] if footage else [UsageError("give a folder of footage")]
    if not (len(footage) == 1 and os.path.isfile(footage[0] / INDEX_NAME)):
        problems += preflight.check_footage(footage)
    amount = parsed(problems, parse_budget, f"{steps} steps" if steps is not None else budget)
    preflight.insist(problems + preflight.check_folder(out))
    assert amount is not None  # or there would have been a problem
    from autoreel.report.compare import Plan
    from autoreel.report.compare import compare as compare_families
    from autoreel.report.evaluate import Wanted

    plan = Plan(
        families=tuple(name.strip() for name in families.split(",")), budget=amount, seeds=seeds, preset=preset,
        wanted=Wanted(clips=clips, frames=frames, minute=False),
    )  # fmt: skip
    print(compare_families(footage, out, plan, device=device, report=note))
