"""What a person sees while it trains, and what is kept of it in files."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from autoreel.runs import RunFolder
from autoreel.training.budget import show_duration

LINE_EVERY_S = 10.0
NOT_SHOWN = ("gradient_norm", "rate")  # for the metrics file, not for the eye
Report = Callable[[str], None]


class Display(Protocol):
    """Where progress is shown."""

    def note(self, text: str) -> None:
        """One line that stays."""
        ...

    def update(self, stage: str, progress: float, text: str) -> None:
        """How far a stage is, in [0, 1], and its figures; called after every step."""
        ...


class Lines:
    """Plain lines, one every LINE_EVERY_S: for files, pipes and callers that bring their own `report`.

    Args:
        report: given each line.
        clock: seconds; for tests.
    """

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._next_s = clock()

    def note(self, text: str) -> None:
        """One line."""
        self._report(text)

    def update(self, stage: str, progress: float, text: str) -> None:
        """A line, unless there was one just now."""
        if self._clock() >= self._next_s or progress >= 1.0:
            self._next_s = self._clock() + LINE_EVERY_S
            self._report(f"{stage}  {progress:4.0%}  {text}")


class Bar:
    """A bar that is redrawn in place.

    Args:
        bars: rich's display, already live.
    """

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._bars.console.print(text, markup=False, highlight=False)

    def update(self, stage: str, progress: float, text: str) -> None:
        """Move the bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=1.0, text="")
        self._bars.update(self._tasks[stage], completed=progress, text=text)


@contextmanager
def display(report: Report | None) -> Iterator[Display]:
    """Where to show progress.

    Args:
        report: given plain lines; None shows a bar on a terminal and writes lines to the error stream elsewhere.
    """
    if report is not None:
        yield Lines(report)
    elif not sys.stderr.isatty():
        yield Lines(lambda line: print(line, file=sys.stderr, flush=True))
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (TextColumn("{task.description:6}"), BarColumn(bar_width=24), TaskProgressColumn())
        figures = TextColumn("{task.fields[text]}", markup=False)
        with Progress(*columns, figures, console=Console(stderr=True), refresh_per_second=4) as bars:
            yield Bar(bars)


def figures(metrics: Mapping[str, float], steps_per_s: float, eta_s: float | None) -> str:
    """The figures beside the bar: the loss first, then up to four others, the speed and the time left."""
    names = sorted((name for name in metrics if name not in NOT_SHOWN), key=lambda name: name != "loss")[:5]
    shown = [f"{name} {metrics[name]:.4g}" for name in names]
    if steps_per_s > 0:
        shown.append(f"{steps_per_s:.2f} steps/s" if steps_per_s >= 0.1 else f"{1 / steps_per_s:.0f} s/step")
    if eta_s is not None:
        shown.append(f"{show_duration(eta_s)} left")
    return "  ".join(shown)


class MetricsLog:
    """Writes every row to the run's metrics.jsonl, and to TensorBoard where that is installed (extra `track`).

    Curves are not worth the training: where TensorBoard cannot write, it is done without.

    Args:
        run: the run.
        stage: the stage's name, put into every row.
        step: steps taken; what an earlier session wrote of later ones is taken back, for they are taken again.
        note: told in one line when TensorBoard cannot write.
    """

    def __init__(self, run: RunFolder, stage: str, step: int, note: Report) -> None:
        self._run = run
        self._stage = stage
        self._note = note
        if run.path("metrics.jsonl").exists():
            run.forget_metrics(stage, after=step)
        self._board: Any = None
        with self._without_board():
            self._board = _open_board(run, stage, step)

    def write(self, step: int, elapsed_s: float, values: Mapping[str, Any]) -> None:
        """One row.

        Raises:
            OutputError: it cannot be written.
        """
        self._run.append_metrics({"stage": self._stage, "step": step, "elapsed_s": round(elapsed_s, 3), **values})
        if self._board is None:
            return
        with self._without_board():
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{self._stage}/{name}", value, step)

    def close(self) -> None:
        """Finish the TensorBoard file."""
        if self._board is not None:
            with self._without_board():
                self._board.close()

    @contextmanager
    def _without_board(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._board = None
            self._note(f"no TensorBoard from here on: {error}; metrics.jsonl has the same numbers")


def _open_board(run: RunFolder, stage: str, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # the extra is not installed; metrics.jsonl holds the same numbers
        return None
    return SummaryWriter(str(run.path("tensorboard") / stage), purge_step=step)
