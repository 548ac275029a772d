"""Training from footage to weights: codec, then prior, each within its share of the budget."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from autoreel.config import PRESETS, Config
from autoreel.data.store import FootageStore
from autoreel.errors import OutputError, RunError, UsageError
from autoreel.models.compute import choose_device, give_back_memory, keep_memory
from autoreel.runs import Manifest, RunFolder, StageState, layout_of
from autoreel.training.begin import other_footage
from autoreel.training.budget import Budget, divide, show_duration
from autoreel.training.checkpoint import Checkpoints, Place
from autoreel.training.loop import Rhythm, run_stage, stop_at_once, stop_on_signals, stopped_error
from autoreel.training.measure import largest_preset
from autoreel.training.progress import Display, Report, display
from autoreel.training.stage import Stage
from autoreel.training.threads import ThreadWatch, fastest_threads, threads_given_back

BuildStage = Callable[[RunFolder, FootageStore, torch.device, Budget], Stage]  # the budget is that of the stage
OF_ONE_CODEC = ("prior", "refine", "upscale")  # stages that begin again when the codec has changed
MEASURE_FROM_S = 60.0  # in shorter trainings measuring would cost more than it gives
MEASURE_FROM_STEPS = 100
BY_HEART = 1.3  # times the lowest error on held-out footage: at 1.4 a prior of five persons knew its clips by heart


@dataclass(frozen=True)
class TrainResult:
    """What a training left.

    Args:
        run: the run folder.
        stages: how far each stage is.
    """

    run: RunFolder
    stages: Mapping[str, StageState]


def begin(path: Path, store: FootageStore, config: Config | None = None) -> RunFolder:
    """Open the run of a folder, or make it.

    Args:
        path: the run folder; an existing run goes on with its own config.
        store: the footage it learns from.
        config: of a new run; None is the preset "tiny".

    Raises:
        RunError: the run learned from other footage, or the footage is of another size.
        OutputError: it cannot be written.
    """
    path = Path(path)
    run = RunFolder.open(path) if (path / "run.json").exists() else RunFolder.create(path, config or PRESETS["tiny"])
    with run.lock():
        _use_footage(run, store)
    return run


def train(
    run: RunFolder,
    store: FootageStore,
    *,
    budget: Budget,
    stage: str = "all",
    report: Report | None = None,
    stop: threading.Event | None = None,
    device: str = "auto",
    builders: Mapping[str, BuildStage] | None = None,
    larger: FootageStore | None = None,
) -> TrainResult:
    """Train a run, from wherever it is, until the budget of every stage is used up.

    Given again, it goes on; given again when all is done, it says so and ends; a larger budget than before continues.
    When the codec has changed, the prior, which belongs to one codec, begins again.

    Args:
        run: the run folder.
        store: the footage.
        budget: over all sessions. For "all" it is divided by the config's `codec_share`, of which a codec that
            begins as a trained one gets half.
        stage: "codec", "prior", "refine" (the encoder, on generated video), "upscale" (what enlarges frames) or "all",
            which is codec and prior.
        report: given plain lines; None shows a bar on a terminal.
        stop: set it to stop; None lets Ctrl-C and SIGTERM do so.
        device: "auto", "cpu" or "cuda".
        builders: how each stage is made; for tests and for stages of one's own.
        larger: the same footage at twice or four times the size, which the stage "upscale" learns from.

    Raises:
        UsageError: no such stage or device.
        RunError: other footage, no trained codec, or a state that cannot be used.
        RunLockedError: another process trains it.
        StoppedError: it was stopped; saved.
        DivergedError: it left the finite numbers for good.
        OutputError: it could not be saved.
    """
    shares = _shares(run, budget, stage)
    target = choose_device(device)
    builders, available = builders or BUILDERS, torch.get_num_threads()
    if larger is not None:
        builders = {**builders, "upscale": partial(_upscale_stage, larger=larger)}
    with contextlib.ExitStack() as open_things:
        open_things.enter_context(run.lock())
        shown = open_things.enter_context(display(report))
        stop = stop or open_things.enter_context(stop_on_signals(shown.note))
        open_things.enter_context(threads_given_back())
        keep_memory()
        open_things.callback(give_back_memory)
        _use_footage(run, store)
        _note_changes(run, shown)
        if run.config.pretrained is not None:
            from autoreel.training.pretrained_statistics import measure_pretrained

            measure_pretrained(run, store, target)
        for name, share in shares.items():
            made_of = _made_of(name, run, larger)
            _train_stage(name, run, store, share, shown, stop, target, builders[name], available, made_of)
            if stop.is_set():  # asked for after the last step; who called must not go on to what follows
                raise stopped_error(f"stopped after the {name}; it is saved, the same command goes on", stop)
    return TrainResult(run, run.manifest.stages)


def auto_config(
    budget: Budget, *, device: str = "auto", parts: Mapping[str, Any] | None = None, report: Report | None = None
) -> Config:  # fmt: skip
    """The largest preset that this machine can train in the time, after a few measured steps.

    Args:
        budget: of the whole training.
        device: "auto", "cpu" or "cuda".
        parts: tables of values that it will get, which the steps are measured with; they are not in what comes back.
        report: told what was measured and chosen.
    """
    name, measured = largest_preset(budget, choose_device(device), parts)
    if report is not None:
        speeds = ", ".join(f"{preset} {seconds:.2f} s/step" for preset, seconds in measured.items())
        report(f"preset {name} for {budget}" + (f" (measured: {speeds})" if speeds else ""))
    return PRESETS[name]


def _shares(run: RunFolder, budget: Budget, stage: str) -> dict[str, Budget]:
    """The budget of each stage; a pretrained codec leaves all of it to the prior."""
    pretrained = run.config.pretrained
    if pretrained is None:
        training = run.config.training
        from_trained = training.start not in ("auto", "scratch")  # "auto" is settled when a run begins
        return divide(budget, stage, training.codec_share, run.config.codec.family, from_trained=from_trained)
    if stage in ("codec", "refine"):
        raise UsageError(f"the codec of {run.root} is {pretrained.source}, which is not trained; use --stage prior")
    return divide(budget, "prior" if stage == "all" else stage, 0.5)


def _train_stage(
    name: str,
    run: RunFolder,
    store: FootageStore,
    budget: Budget,
    shown: Display,
    stop: threading.Event,
    device: torch.device,
    build: BuildStage,
    available: int,
    codec_hash: str | None,
) -> None:
    state = run.manifest.stages.get(name, StageState())
    weights = f"{name}.safetensors"
    if state.done and weights in run.manifest.weights and state.codec_hash == codec_hash:
        if budget.reached(state.step, state.elapsed_s):
            took = f"{state.step} steps in {show_duration(state.elapsed_s)}"
            shown.note(f"{name}: already trained ({took}); a larger budget goes on from there")
            return
        shown.note(f"{name}: going on after {state.step} steps, with a budget of {budget}")
    began_s = time.monotonic()
    training = run.config.training
    torch.set_num_threads(training.threads or _known_threads(run, available) or available)  # building computes too
    with stop_at_once(stop, f"what the {name} needs is made"):  # of a prior: minutes of footage are encoded
        built = build(run, store, device, budget)
    if name == "prior" and run.manifest.labels and not store.labels:
        shown.note(f"prior: no labels; styles found: {', '.join(run.manifest.labels)}, shown in samples/styles.png")
    checkpoints = Checkpoints(run.path("checkpoints"), built, shown.note)
    if state.codec_hash != codec_hash:
        if checkpoints.paths():
            what = "codec" if name != "upscale" else "codec or the larger footage"
            shown.note(f"{name}: the {what} has changed, so it begins again")
        checkpoints.clear()
        if weights in run.manifest.weights:  # a kill came between the codec's new weights and forgetting these
            run.forget_weights(weights)
        state = StageState(codec_hash=codec_hash)
        run.update_stage(name, state)
    elif state.done and weights in run.manifest.weights and not checkpoints.paths():
        _begin_from_export(run, built)
        checkpoints.save(Place(state.step, state.elapsed_s))
        shown.note(f"{name}: its checkpoints were removed; it goes on from {weights}, its optimizers begin afresh")
    threads = _measure_threads(run, built, available, budget, device, shown)
    ended = run_stage(
        built, run, budget, shown, stop, threads=threads,
        rhythm=Rhythm(training.checkpoint_every_s, training.preview_every_s),
        setup_s=min(time.monotonic() - began_s, (budget.seconds or 0.0) / 2),  # something must be left to train in
    )  # fmt: skip
    export = built.export()
    if export.note:
        shown.note(export.note)
    codec_before = run.manifest.codec_hash
    run.save_weights(weights, export.tensors, export.metadata)
    if run.manifest.codec_hash != codec_before:  # the prior of another codec would paint noise
        for other in OF_ONE_CODEC:
            run.forget_weights(f"{other}.safetensors")
    run.update_stage(name, StageState(done=True, step=ended.updates, elapsed_s=ended.elapsed_s, codec_hash=codec_hash))
    shown.note(f"{name}: trained, {ended.updates} steps in {show_duration(ended.elapsed_s)}")
    if name == "prior":
        _note_learned_by_heart(run, shown, state.step if state.done else 0)


def _note_learned_by_heart(run: RunFolder, shown: Display, since: int) -> None:
    """Say so where the prior has long been getting worse on footage that it does not learn from.

    Args:
        run: with the looks at held-out footage in its metrics.
        shown: told.
        since: steps after which the budget was another, and with it the windows that are looked at.
    """
    looks = [(row["validation/flow_next"], row["step"]) for row in run.metrics()
             if row["stage"] == "prior" and row["step"] > since
             and isinstance(row.get("validation/flow_next"), float)]  # fmt: skip
    if not looks or looks[-1][0] < BY_HEART * min(looks)[0]:
        return
    best, step = min(looks)
    shown.note(
        f"prior: the error of the next frame of held-out footage was lowest after {step} steps ({best:.2f}, now "
        f"{looks[-1][0]:.2f}); since then it learns this footage by heart: more footage would help, more time would not"
    )


def _made_of(name: str, run: RunFolder, larger: FootageStore | None) -> str | None:
    """What a stage belongs to, as hashes; when that is another one it begins again."""
    if name == "upscale" and larger is None:
        raise UsageError(
            "--stage upscale learns from the same footage at twice or four times the size; prepare that with --size, "
            "and give it with --large"
        )
    if name not in OF_ONE_CODEC:
        return None
    return _codec_of(run) + (f"+{larger.hash}" if name == "upscale" and larger is not None else "")


def _codec_of(run: RunFolder) -> str:
    digest = run.manifest.codec_hash
    if digest is None:
        raise RunError(f"{run.root} has no trained codec; train it first, with --stage codec or --stage all")
    return digest


def _use_footage(run: RunFolder, store: FootageStore) -> None:
    """Hold the run to the footage it began with."""
    wanted = (run.config.data.height, run.config.data.width)
    if store.size != wanted:
        raise RunError(
            f"{run.root} learns from frames of {wanted[1]}x{wanted[0]} pixels, this footage is prepared at "
            f"{store.size[1]}x{store.size[0]}; prepare it at that size, or begin a new run"
        )
    if run.manifest.data_hash is None:
        run.update(labels=store.labels, size=store.size, rate=store.rate, data_hash=store.hash)
    elif run.manifest.data_hash != store.hash:
        raise other_footage(run)


def _note_changes(run: RunFolder, shown: Display) -> None:
    now = Manifest.here()
    before = {**run.manifest.versions, "machine": run.manifest.machine}
    changed = [
        f"{what} {before.get(what)} -> {value}"
        for what, value in {**now.versions, "machine": now.machine}.items()
        if before.get(what) != value
    ]
    if changed:
        shown.note(f"changed since this run began: {', '.join(changed)}; it goes on, no longer bit for bit the same")


def _begin_from_export(run: RunFolder, stage: Stage) -> None:
    """Put the weights that the stage left into its network and into their average."""
    average = stage.modules()["averaged"]
    tensors = run.load_weights(f"{stage.name}.safetensors", layout_of(average.state_dict()))
    for module in (stage.modules()[stage.name], average):
        module.load_state_dict(tensors)


def _measure_threads(
    run: RunFolder, stage: Stage, available: int, budget: Budget, device: torch.device, shown: Display
) -> ThreadWatch | None:
    """Take the number of threads that is fastest now, and keep it for the sessions that follow.

    Returns:
        What goes on looking while it trains; None where the number is fixed.
    """
    fixed = run.config.training.threads > 0 or device.type != "cpu" or available == 1
    long_enough = (budget.seconds or 0.0) >= MEASURE_FROM_S or (budget.steps or 0) >= MEASURE_FROM_STEPS
    if fixed or not long_enough:
        return None

    def change(threads: int, seconds: Mapping[int, float], word: str = "going on") -> None:
        speeds = ", ".join(f"{count}: {value:.2f} s/step" for count, value in seconds.items())
        shown.note(f"{word} with {threads} thread{'s' * (threads > 1)} (measured: {speeds})")
        with contextlib.suppress(OutputError):  # a full disk is met at the next save; here it costs a measurement
            run.update(threads=threads)

    if _known_threads(run, available) is None:
        threads, seconds = fastest_threads(stage)
        change(threads, seconds, "training")
        torch.set_num_threads(threads)
    return ThreadWatch(available, torch.get_num_threads(), change) if budget.seconds is not None else None


def _known_threads(run: RunFolder, available: int) -> int | None:
    """What an earlier session measured on this machine; None where it was another one, or had more cores."""
    known = run.manifest.threads
    is_here = run.manifest.machine == Manifest.here().machine
    return known if known is not None and known <= available and is_here else None


def _codec_stage(run: RunFolder, store: FootageStore, device: torch.device, budget: Budget) -> Stage:
    from autoreel.training.codec_stage import CodecStage
    from autoreel.training.start import start_weights

    begun = any(run.path("checkpoints").glob("codec-*"))
    start = None if begun else start_weights(run)
    if start is None:
        return CodecStage.open(run, store, device)
    stage = CodecStage.open(run, store, device, fit=False)
    stage.start_from(start)
    return stage


def _prior_stage(run: RunFolder, store: FootageStore, device: torch.device, budget: Budget) -> Stage:
    from autoreel.models.opening import open_codec
    from autoreel.training.prior_stage import PriorStage

    # Of the codec as it was trained: a refinement in between changes no latents.
    return PriorStage.open(run, store, open_codec(run, refined=False), device, budget)


def _refine_stage(run: RunFolder, store: FootageStore, device: torch.device, budget: Budget) -> Stage:
    from autoreel.models.opening import own_codec
    from autoreel.models.prior import Prior
    from autoreel.training.refine_stage import RefineStage

    codec, prior, manifest = own_codec(run, refined=False), None, run.manifest
    state = manifest.stages.get("prior", StageState())
    if "prior.safetensors" in manifest.weights and state.codec_hash == manifest.codec_hash:
        size = (store.size[0] // codec.spatial_stride, store.size[1] // codec.spatial_stride)
        prior = Prior(run.config.prior, codec.latent_channels, size, len(manifest.labels))
        prior.load_state_dict(run.load_weights("prior.safetensors", layout_of(prior.state_dict())))
    return RefineStage(run.config, codec, prior, store, device)


def _upscale_stage(
    run: RunFolder, store: FootageStore, device: torch.device, budget: Budget, *, larger: FootageStore
) -> Stage:  # fmt: skip
    from autoreel.models.opening import open_codec
    from autoreel.training.upscale_stage import UpscaleStage

    return UpscaleStage(run.config, open_codec(run), store, larger, device)


BUILDERS: Mapping[str, BuildStage] = {"codec": _codec_stage, "prior": _prior_stage, "refine": _refine_stage}
