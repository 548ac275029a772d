"""The one loop. It knows neither models nor losses: it takes steps, and keeps what they made.

    elapsed time   wall time inside this loop over all sessions: steps, previews, validation and checkpoints, and what a
                   fresh stage took to set up. All of it, so that `--budget 20m` means twenty minutes.
    a step         decided by the weights, the optimizers, (seed, stage, step) and the share of the budget that has
                   passed: nothing else, so that going on from a checkpoint repeats it bit for bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from autoreel.errors import DivergedError, OutputError, StoppedError
from autoreel.runs import RunFolder, make_folder
from autoreel.training.budget import Budget
from autoreel.training.checkpoint import Checkpoints, Place, scale_rates
from autoreel.training.previews import draw_curve
from autoreel.training.progress import Display, MetricsLog, figures
from autoreel.training.stage import OutlierError, Stage, UnusableStepError, losses_up_to
from autoreel.training.threads import ThreadWatch
from autoreel.training.watch import MAX_REWINDS, Watch

MAX_UNSAVED_STEPS = 5000  # a clock that stands still must not cost everything
SETTLING_STEPS = 5  # that the end of a budget may be late, in trouble that may pass; then training goes back
COST_SHARE = 0.05  # previews, and checkpoints, take at most this share of the time


@dataclass(frozen=True)
class Rhythm:
    """How often what happens beside the steps.

    Args:
        checkpoint_every_s: seconds; less often where saving is slow.
        preview_every_s: seconds; validation comes with it. Less often where it is slow.
    """

    checkpoint_every_s: float = 60.0
    preview_every_s: float = 60.0


class Timer:
    """When something is due that takes time itself.

    Args:
        every_s: seconds between two.
        first_s: seconds until the first.
    """

    def __init__(self, every_s: float, first_s: float) -> None:
        self._every_s = every_s
        self._due_s = first_s

    def due(self, elapsed_s: float) -> bool:
        """Whether it is time."""
        return elapsed_s >= self._due_s

    def done(self, started_s: float, ended_s: float) -> None:
        """It took from the one to the other."""
        self._due_s = ended_s + max(self._every_s, (ended_s - started_s) / COST_SHARE)


def run_stage(
    stage: Stage,
    run: RunFolder,
    budget: Budget,
    display: Display,
    stop: threading.Event,
    *,
    rhythm: Rhythm | None = None,
    threads: ThreadWatch | None = None,
    setup_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> Place:
    """Train a stage until its budget is used up, from where an earlier session left it.

    Args:
        stage: what to train; fresh, or of any state: the newest checkpoint replaces it.
        run: locked by the caller.
        budget: of this stage, over all sessions.
        display: where progress is shown.
        stop: when set, the step is finished and saved.
        rhythm: of checkpoints and previews.
        threads: looks for the fastest number of them; None leaves it alone.
        setup_s: what the stage took to set up; counted when it begins, not when it goes on.
        clock: seconds, never going back.

    Returns:
        Where it ended; the newest checkpoint holds exactly this.

    Raises:
        StoppedError: `stop` was set; saved.
        DivergedError: going back did not help.
        OutputError: the state could not be saved.
        RunError: no checkpoint can be used.
    """
    rhythm = rhythm or Rhythm()
    checkpoints = Checkpoints(run.path("checkpoints"), stage, display.note)
    place = checkpoints.load()
    fresh = place is None
    place = place or Place(elapsed_s=setup_s)
    watch = Watch.from_state(place.watch) if place.watch else Watch()
    log = MetricsLog(run, stage.name, place.step, display.note)
    step, first_step, saved_step, settling = place.step, place.step, place.step, 0
    started_s = clock() - place.elapsed_s
    first_elapsed_s = place.elapsed_s
    saving = Timer(rhythm.checkpoint_every_s, place.elapsed_s + rhythm.checkpoint_every_s)
    # The first preview comes early: nobody should wait long to see that something happens.
    showing = Timer(rhythm.preview_every_s, place.elapsed_s + rhythm.preview_every_s / (4 if fresh else 1))

    def elapsed_s() -> float:
        return clock() - started_s

    def updates() -> int:
        """What a budget of steps counts: a step that left nothing in the weights is made up for."""
        return step - watch.lost

    def used_up() -> bool:
        return budget.reached(updates(), elapsed_s())

    def save() -> None:
        nonlocal saved_step
        began_s = elapsed_s()
        checkpoints.save(Place(step, began_s, watch.state()))
        saving.done(began_s, elapsed_s())
        saved_step = step

    def show() -> None:
        began_s = elapsed_s()
        values = stage.validate()
        log.write(step, elapsed_s(), {f"validation/{name}": value for name, value in values.items()})
        if values:
            display.note(f"{stage.name} step {step}: validation {figures(values, 0.0, None)}")
        try:
            make_folder(run.path("samples"))
            stage.preview(run.path("samples"), step)
            draw_curve(run.path("samples") / f"{stage.name}-curve.png", run.metrics(), stage.name)
        except OSError as error:  # a picture is not worth the training; a disk that stays full is met at the save
            display.note(f"no preview this time: {error}")
        showing.done(began_s, elapsed_s())

    def go_back(reason: str | None = None) -> None:
        """An earlier state with a lower rate; the steps in between, and their data, are left behind."""
        since = watch.trouble_since or 0
        found = checkpoints.load(before=since) or checkpoints.load(before=since + 1)
        reason = reason or ("a loss or gradient that is not finite" if watch.skips else "a loss far over its median")
        if found is None or watch.rewinds >= MAX_REWINDS:
            raise DivergedError(
                f"the {stage.name} has {reason} since step {since}, and going back with half the rate "
                f"{watch.rewinds} times did not help; lower its rate in {run.path('config.toml')}"
            )
        earlier = Watch.from_state(found.watch) if found.watch else Watch()
        watch.went_back(step - found.updates)
        scale_rates(stage, 0.5 ** (watch.rewinds - earlier.rewinds))
        display.note(f"{stage.name} step {step}: {reason}; back to the state of step {found.step} with half the rate")
        log.write(step, elapsed_s(), {"rewound_to": found.step})
        save()

    def save_or_go_back() -> None:
        try:
            save()
        except DivergedError:
            watch.trouble_since = step
            go_back("a weight that is not finite")

    def has_ended() -> bool:
        """Whether the budget is used up and its end is kept; steps that training goes back behind come again."""
        if not used_up() or watch.troubled:
            return False
        save_or_go_back()
        return used_up()

    try:
        if fresh:
            save()  # something to go back to, and a full disk is found now
        while not (ended := has_ended()) and not stop.is_set():
            if used_up():  # a few high losses at the end are no reason to throw a minute away
                if settling == SETTLING_STEPS:
                    go_back()
                    settling = 0
                    continue
                settling += 1
            progress = budget.progress(updates(), elapsed_s())
            _seed_everything(stage, step)
            began_s = elapsed_s()
            if threads is not None:
                threads.before_step(began_s)
            try:
                with losses_up_to(watch.most_loss):
                    metrics = stage.step(step, progress)
                watch.see(step, metrics["loss"])
                if watch.may_recover and not watch.troubled:
                    scale_rates(stage, 2.0)
                    watch.recovered()
                    display.note(f"{stage.name} step {step}: the rate is what it was before")
                row: dict[str, Any] = dict(metrics)
            except UnusableStepError as error:
                metrics = {}
                watch.skip(step, outlier=isinstance(error, OutlierError))
                row = {"skipped": error.what}
                display.note(f"{stage.name} step {step}: {error}; the step is left out")
            step += 1
            # Where this cannot be written, what is saved on the way out is the state after the step.
            log.write(step, elapsed_s(), row)
            if threads is not None:
                threads.after_step(elapsed_s(), elapsed_s() - began_s)

            speed = (step - first_step) / max(elapsed_s() - first_elapsed_s, 1e-9)
            eta_s = budget.remaining_s(updates(), elapsed_s(), speed)
            display.update(stage.name, budget.progress(updates(), elapsed_s()), figures(metrics, speed, eta_s))
            if watch.must_go_back:
                go_back()
            if watch.troubled:
                continue  # such a state is neither saved nor shown
            if saving.due(elapsed_s()) or step - saved_step >= MAX_UNSAVED_STEPS:
                try:
                    save_or_go_back()
                except OutputError as error:  # space may be made before the next one is due
                    saving.done(elapsed_s(), elapsed_s())
                    saved_step = step
                    display.note(f"the state could not be saved, training goes on: {error}")
            if showing.due(elapsed_s()) and not stop.is_set() and not used_up():
                show()  # at the end it is shown anyway

        if not ended and not watch.troubled:
            save_or_go_back()
        place = Place(step, elapsed_s(), watch.state())
        if ended:
            show()
    except OutputError:
        if not watch.troubled:
            with contextlib.suppress(OutputError):  # what could not be written may have been something smaller
                save()
        raise
    finally:
        log.close()
    if not ended:
        raise stopped_error(
            f"stopped in the {stage.name} at step {step} ({budget.progress(updates(), elapsed_s()):.0%}); "
            f"it is saved, the same command goes on{' from the last good state' if watch.troubled else ''}", stop
        )  # fmt: skip
    return place


class Stop(threading.Event):
    """Asked for by a signal, whose number the exit code tells."""

    number = int(signal.SIGINT)
    at_once = False  # raise KeyboardInterrupt where the signal comes: nothing there has to be finished


@contextmanager
def stop_at_once(stop: threading.Event, what: str) -> Iterator[None]:
    """A block that a signal ends in its midst, because nothing in it is lost that is not quickly made again.

    Args:
        stop: from `stop_on_signals`; with any other event the block goes on to its end.
        what: is being done, for the message.

    Raises:
        StoppedError: it was stopped.
    """
    if stop.is_set():
        raise stopped_error(f"stopped before {what}; the same command goes on", stop)
    if not isinstance(stop, Stop):
        yield
        return
    stop.at_once = True
    try:
        yield
    except KeyboardInterrupt:
        if not stop.is_set():
            raise
        raise stopped_error(f"stopped while {what}; the same command goes on", stop) from None
    finally:
        stop.at_once = False


def stopped_error(message: str, stop: threading.Event) -> StoppedError:
    """The error that ends a training; its exit code is 128 and the signal's number, as shells expect."""
    error = StoppedError(message)
    if isinstance(stop, Stop):
        error.exit_code = 128 + stop.number
    return error


def _seed_everything(stage: Stage, step: int) -> None:
    """Stages draw from generators of their own; this makes a forgotten `torch.rand` repeatable too."""
    digest = hashlib.blake2b(f"{stage.seed}/{stage.name}/{step}/global".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


@contextmanager
def stop_on_signals(note: Callable[[str], None]) -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and SIGHUP set; a second Ctrl-C interrupts at once.

    Only the main thread may set handlers; elsewhere the event is the caller's to set.
    """
    event = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not event.is_set():
            event.number = number
        event.set()
        if event.at_once:
            event.at_once = False  # the next one must not interrupt the clearing away
            raise KeyboardInterrupt
        note("finishing this step and saving; Ctrl-C again stops at once and goes back to the last checkpoint")

    # A closed terminal asks for the same; `nohup` has SIGHUP ignored, and means it.
    hang_up = [signal.SIGHUP] if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, *hang_up)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
