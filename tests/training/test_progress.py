"""What is shown while it trains."""

import sys

import pytest

from autoreel.training.progress import LINE_EVERY_S, Lines, display, figures


def test_the_loss_comes_first_then_others_then_speed_and_time_left() -> None:
    shown = figures({"kl": 2.0, "loss": 0.03125}, steps_per_s=5.123, eta_s=372.0)
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
