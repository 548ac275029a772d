"""What is shown while it trains."""

import errno
import sys
from pathlib import Path
from types import ModuleType

import pytest

from autoreel.config import PRESETS
from autoreel.runs import RunFolder
from autoreel.training.progress import LINE_EVERY_S, Lines, MetricsLog, display, figures


def test_the_loss_comes_first_then_others_then_speed_and_time_left() -> None:
    shown = figures({"kl": 2.0, "loss": 0.03125}, steps_per_s=5.123, eta_s=372.0)
    assert figures({"loss": 1.0, "rate": 2.0, "gradient_norm": 3.0}, 0.0, None) == "loss 1"
    assert shown == "loss 0.03125  kl 2  5.12 steps/s  6m12s left"
    assert figures({}, steps_per_s=0.02, eta_s=None) == "50 s/step"
    assert figures({}, 0.0, None) == ""
    assert figures({str(i): float(i) for i in range(9)}, 0.0, None).count("  ") == 4


def test_lines_come_now_and_then_and_at_the_end() -> None:
    now, lines = [100.0], list[str]()
    shown = Lines(lines.append, clock=lambda: now[0])
    for step in range(25):
        shown.update("codec", step / 25, f"step {step}")
        now[0] += LINE_EVERY_S / 10
    shown.update("codec", 1.0, "step 25")
    assert lines == ["codec    0%  step 0", "codec   40%  step 10", "codec   80%  step 20", "codec  100%  step 25"]


def test_a_caller_gets_plain_lines() -> None:
    lines: list[str] = []
    with display(lines.append) as shown:
        shown.note("hello [bold]")
        shown.update("codec", 0.5, "loss 1")
    assert lines == ["hello [bold]", "codec   50%  loss 1"]


def test_without_a_terminal_lines_go_to_the_error_stream(capsys: pytest.CaptureFixture[str]) -> None:
    with display(None) as shown:
        shown.note("hello")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    with display(None) as shown:
        shown.update("codec", 0.5, "loss 1")
        shown.note("a note [of] brackets")
    text = capsys.readouterr().err
    assert "codec" in text and "50%" in text and "loss 1" in text and "a note [of] brackets" in text


def test_every_row_goes_to_tensorboard_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            written.append((Path(folder).name, 0.0, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def close(self) -> None:
            written.append(("closed", 0.0, 0))

    board = ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    run = RunFolder.create(tmp_path / "run", PRESETS["tiny"])
    log = MetricsLog(run, "codec", step=4, note=print)
    log.write(5, 1.23456, {"loss": 0.5, "skipped": "why"})
    log.close()
    assert written == [("codec", 0.0, 4), ("codec/loss", 0.5, 5), ("closed", 0.0, 0)]
    assert list(run.metrics()) == [{"stage": "codec", "step": 5, "elapsed_s": 1.235, "loss": 0.5, "skipped": "why"}]


@pytest.mark.parametrize("fails_at", ["open", "write", "close"])
def test_a_tensorboard_that_cannot_write_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            self.fail("open")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            self.fail("write")

        def close(self) -> None:
            self.fail("close")

        def fail(self, what: str) -> None:
            if what == fails_at:
                raise OSError(errno.ENOSPC, "No space left on device")

    board, lines = ModuleType("torch.utils.tensorboard"), list[str]()
    board.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    run = RunFolder.create(tmp_path / "run", PRESETS["tiny"])
    log = MetricsLog(run, "codec", step=0, note=lines.append)
    for step in (1, 2):
        log.write(step, 1.0, {"loss": 0.5})
    log.close()
    assert len(lines) == 1 and "no TensorBoard from here on: [Errno 28] No space left" in lines[0]
    assert [row["step"] for row in run.metrics()] == [1, 2]


def test_rows_that_will_be_written_again_are_taken_back(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", PRESETS["tiny"])
    for step in (1, 2, 3):
        run.append_metrics({"stage": "codec", "step": step})
    MetricsLog(run, "codec", step=2, note=print).close()
    assert [row["step"] for row in run.metrics()] == [1, 2]
