"""The comparison of families: the same footage, the same budget, several seeds, one page that ranks them.

    OUT/footage/           prepared once, unless prepared footage was given
    OUT/gan-0/ ae-0/ ...   a run folder for each family and seed; all families of a seed before the next seed
    OUT/evaluation/        the encoder, and the figures of each run that is measured
    OUT/report/            index.html, report.json

Stopped at any place, the same call goes on: trainings from their checkpoints, what is measured is not measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from autoreel.config import PRESETS, Family, nearest
from autoreel.data.prepare import prepare
from autoreel.data.store import INDEX_NAME, FootageStore
from autoreel.errors import UsageError, translate_os_error
from autoreel.evaluation.distances import TooFewError
from autoreel.evaluation.encoder import Encoder
from autoreel.evaluation.learning import VERSION, open_encoder
from autoreel.report.evaluate import Wanted, assess, plain
from autoreel.report.likeness import Footage, likeness, look_at_footage, see
from autoreel.report.page import write
from autoreel.report.ranking import Results
from autoreel.report.side_by_side import page
from autoreel.report.subject import Subject
from autoreel.runs import atomic_write_text
from autoreel.training.begin import Wishes, open_run
from autoreel.training.budget import Budget
from autoreel.training.train import begin, train

FAMILIES: tuple[str, ...] = get_args(Family)
FIGURES = 2  # which figures are measured, and how; kept ones of another number are measured again
WITHOUT_PRIOR = "gaussian_"  # before the keys of figures of clips whose latents come from N(0, I) or a Gaussian fit
Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Args:
        families: in the order of the page.
        budget: of each training, all its stages together: a time, or a number of steps.
        seeds: how many trainings of each family.
        preset: size of the models; the footage is prepared for it.
        wanted: how much is measured of each run.
    """

    families: tuple[str, ...] = FAMILIES
    budget: Budget = field(default_factory=lambda: Budget(seconds=600.0))
    seeds: int = 1
    preset: str = "tiny"
    wanted: Wanted = field(default_factory=lambda: Wanted(clips=128))

    def __post_init__(self) -> None:
        if not self.families or len(set(self.families)) < len(self.families):
            raise UsageError(f"families {','.join(self.families)}: name each once, of {', '.join(FAMILIES)}")
        for family in self.families:
            if family not in FAMILIES:
                raise UsageError(f"unknown family {family!r}{nearest(family, list(FAMILIES))}")
        if self.seeds < 1:
            raise UsageError(f"{self.seeds} seeds: at least one training of each family is needed")
        if self.preset not in PRESETS:
            raise UsageError(f"unknown preset {self.preset!r}{nearest(self.preset, list(PRESETS))}")


def compare(
    footage: Sequence[Path], out: Path, plan: Plan | None = None, *, device: str = "auto", report: Report | None = None
) -> Path:
    """Train every family from nothing on the same footage, measure each, and write the page.

    Args:
        footage: one folder of prepared footage; or folders and files with video.
        out: the folder for everything.
        plan: what is compared.
        device: "auto", "cpu" or "cuda".
        report: told what is going on.

    Returns:
        The path of index.html.

    Raises:
        UsageError: a plan that cannot be meant.
        FootageError: nothing to learn from.
        RunError: `out` holds runs of other footage or of another plan.
        StoppedError: stopped; saved.
        OutputError: it cannot be written.
    """
    plan, say = plan or Plan(), report or (lambda line: None)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translate_os_error(error, out) from error
    store = _store(footage, out, plan, report)
    names = [(family, seed) for seed in range(plan.seeds) for family in plan.families]
    for number, (family, seed) in enumerate(names):
        say(f"training {number + 1} of {len(names)}: {family}, seed {seed}, {plan.budget}")
        _train(_run_path(out, family, seed), store, family, seed, plan, device, report)
    encoder = open_encoder(out / "evaluation", store, report=report)
    results: Results = {}
    real: Footage | TooFewError | None = None
    for number, (family, seed) in enumerate(names):
        subject = Subject.open(_run_path(out, family, seed), store.path, device)
        kept = _figures_file(out, subject, plan)
        if not kept.is_file():
            say(f"measuring {number + 1} of {len(names)}: {family}, seed {seed}")
            real = real if real is not None else _real(subject, encoder)
            found = _measure(subject, encoder, real, plan.wanted, report)
            atomic_write_text(kept, json.dumps(found, ensure_ascii=False, indent=1))
        results[family, seed] = json.loads(kept.read_text(encoding="utf-8"))
    subjects = {family: Subject.open(_run_path(out, family, 0), store.path, device) for family in plan.families}
    budget = f"{plan.budget}, {'equal steps' if plan.budget.steps is not None else 'equal time'}"
    return write(out / "report", page(subjects, results, budget, plan.seeds, plan.wanted))


def _store(footage: Sequence[Path], out: Path, plan: Plan, report: Report | None) -> FootageStore:
    if len(footage) == 1 and (footage[0] / INDEX_NAME).is_file():
        store = FootageStore.open(footage[0])
        wanted = PRESETS[plan.preset].data
        if store.size != (wanted.height, wanted.width):
            raise UsageError(
                f"{footage[0]} is prepared at {store.size[1]}x{store.size[0]} pixels and the preset {plan.preset} "
                f"takes {wanted.width}x{wanted.height}; give --preset, or footage that is prepared for it"
            )
        return store
    begun = any(_run_path(out, family, 0).is_dir() for family in FAMILIES)  # and go on with the footage they began with
    return prepare(footage, out / "footage", PRESETS[plan.preset].data, retry=not begun, report=report).store


def _run_path(out: Path, family: str, seed: int) -> Path:
    return out / f"{family}-{seed}"


def _train(
    path: Path, store: FootageStore, family: str, seed: int, plan: Plan, device: str, report: Report | None
) -> None:
    wishes = Wishes(preset=plan.preset, seed=seed, family=family, start="scratch")
    run = open_run(path, wishes, plan.budget, data=store.config, device=device)
    train(begin(run.root, store), store, budget=plan.budget, stage="all", device=device, report=report)


def _figures_file(out: Path, subject: Subject, plan: Plan) -> Path:
    """Where a run's figures are kept; another training, or another wish, gives another name."""
    weights = subject.folder.manifest.weights
    hashes = "".join((weights[name].sha256 or "") for name in sorted(weights))
    asked = json.dumps([VERSION, FIGURES, hashes, asdict(plan.wanted)], default=str, sort_keys=True)
    digest = hashlib.sha256(asked.encode()).hexdigest()[:12]
    return out / "evaluation" / f"{subject.folder.root.name}-{digest}.json"


def _real(subject: Subject, encoder: Encoder) -> Footage | TooFewError:
    try:
        return look_at_footage(subject, encoder)
    except TooFewError as error:
        return error


def _measure(
    subject: Subject, encoder: Encoder, real: Footage | TooFewError, wanted: Wanted, report: Report | None
) -> dict[str, Any]:
    """Every figure of a run by its key; of families with a prior also those of clips that were drawn without it."""
    found = plain(assess(subject, encoder, real, wanted, report).sections)
    if subject.origin == "prior" and not isinstance(real, TooFewError):
        drawn = replace(subject, origin=subject.without_prior())
        seeds = range(wanted.seed, wanted.seed + wanted.clips)
        made = drawn.sample(drawn.labels(wanted.clips), wanted.frames, seeds, report)
        for figure in likeness(real, see(encoder, made), wanted.seed):
            found[WITHOUT_PRIOR + figure.key] = figure.plain()
    return found
