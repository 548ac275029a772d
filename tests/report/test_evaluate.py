"""The evaluation of a run: every figure with what must stand beside it, one file that needs nothing, clear refusals."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.report.browser import Browser, find_browser
from tests.report.conftest import make_run

from autoreel.cli import main
from autoreel.errors import FootageError, RunError, UsageError
from autoreel.report.evaluate import Wanted, evaluate
from autoreel.runs import RunFolder

WANTED = Wanted(clips=17, frames=16, seed=5, minute=False)


@pytest.fixture(scope="session")
def report(run: RunFolder) -> Path:
    return evaluate(run.root, wanted=WANTED, device="cpu")


@pytest.fixture(scope="session")
def numbers(report: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((report.parent / "report.json").read_text(encoding="utf-8"))
    return found


def figures(numbers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {figure["key"]: figure for section in numbers["sections"] for figure in section["figures"]}


def test_every_section_is_there(numbers: dict[str, Any]) -> None:
    titles = [section["title"] for section in numbers["sections"]]
    assert titles == ["Accuracy", "Likeness", "Memorisation", "Efficiency"]
    assert numbers["run"] == "mine <b>" and numbers["family"] == "vae-gan" and numbers["seed"] == 5


def test_every_figure_says_what_it_is(numbers: dict[str, Any]) -> None:
    for key, figure in figures(numbers).items():
        assert len(figure["meaning"]) > 20 and figure["meaning"].endswith("."), key
        if figure["value"] is None:
            assert figure["note"].startswith("not measured: "), key
        else:
            assert figure["count"] > 0 and figure["counted"], key


def test_distances_have_count_seed_and_floor(numbers: dict[str, Any]) -> None:
    found = figures(numbers)
    for key in ("mmd2", "precision", "recall", "density", "coverage", "c2st", "motion", "sharpness"):
        figure = found[key]
        assert figure["value"] is not None and figure["floor"] is not None, key
        assert (figure["held_out"] is None) is (key == "c2st"), key  # which needs 16, and 12 are held out
        assert figure["count"] == 17 and figure["seed"] == 5 and isinstance(figure["blind_to"], list), key
        if key != "sharpness":
            assert "memorised" in figure["blind_to"], key  # replays look perfect to every distance
    assert found["frechet"]["value"] is None and "at least 25" in found["frechet"]["note"]


def test_the_others_are_measured_too(numbers: dict[str, Any]) -> None:
    found = figures(numbers)
    for key in ("psnr_db", "ssim", "ms_ssim", "temporal_psnr_db", "flicker_levels", "unevenness_db", "sharpness_kept",
                "bits_per_dimension", "reencoding_db", "label_accuracy", "encode_fps", "decode_fps", "sampling_fps",
                "peak_memory", "encode_operations", "decode_operations", "prior_operations", "nearness"):  # fmt: skip
        assert found[key]["value"] is not None, key
    assert found["codec_minutes"]["value"] == 1.5 and found["codec_minutes"]["count"] == 10
    assert found["psnr_db"]["low"] <= found["psnr_db"]["value"] <= found["psnr_db"]["high"]
    assert found["label_accuracy"]["floor"] > 0.5
    assert 0 < found["bits_per_dimension"]["value"] < 20


def test_the_report_is_one_file_that_asks_for_nothing(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    addresses = re.findall(r'(?:src|href|action|poster)="([^"]*)"', text)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert text.count("data:video/mp4;base64,") == 12 + 4 + 10  # generated, held out, worst ten
    assert "<script src" not in text and "@import" not in text and "url(" not in text
    assert len(text) < 4_000_000
    assert "mine &lt;b&gt;" in text and "mine <b>" not in text


def test_the_report_is_well_formed_and_named_for_screen_readers(report: Path) -> None:
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.ids: list[str] = []
            self.videos: list[dict[str, str | None]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            self.ids += [given["id"] or ""] if "id" in given else []
            self.videos += [given] if tag == "video" else []
            if tag not in ("meta", "link", "br", "line", "circle", "polyline", "input"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            return

    reader = Reader()
    reader.feed(report.read_text(encoding="utf-8"))
    assert reader.open == [] and len(set(reader.ids)) == len(reader.ids)
    assert all(video["aria-label"] and "controls" in video for video in reader.videos)


def test_a_gan_has_no_reconstructions_and_no_prior(tmp_path: Path) -> None:
    run = make_run(tmp_path / "gan", "gan")
    page = evaluate(run.root, wanted=Wanted(clips=8, frames=16, minute=False), device="cpu", out=tmp_path / "out")
    assert page == tmp_path / "out" / "index.html"
    numbers = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [section["title"] for section in numbers["sections"]] == ["Likeness", "Memorisation", "Efficiency"]
    found = figures(numbers)
    assert found["mmd2"]["value"] is not None and "prior_parameters" not in found
    assert "not asked for labels" in found["label_accuracy"]["note"]


def test_what_cannot_be_evaluated_is_refused(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="at least 1 of 16 frames"):
        Wanted(frames=15)
    with pytest.raises(RunError, match="does not exist"):
        evaluate(tmp_path / "none")
    moved = tmp_path / "moved"
    shutil.copytree(run.root, moved)
    shutil.rmtree(moved / "footage")
    with pytest.raises(FootageError, match="--footage"):
        evaluate(moved, device="cpu")
    other = make_run(tmp_path / "other").root
    RunFolder.open(other).update(data_hash="x")
    with pytest.raises(RunError, match="other footage"):
        evaluate(other, device="cpu")
    assert main(["evaluate", str(moved), "--fvd", str(tmp_path / "no.pt")]) == 4
    told = capsys.readouterr().err
    assert "no.pt: no such file" in told and "--trust-scripts" in told


@pytest.mark.parametrize("option", ["--fvd", "--cd-fvd"])
def test_a_script_is_run_only_where_it_is_trusted(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    def running(*_: Any, **__: Any) -> None:
        raise UsageError("it is run")

    monkeypatch.setattr("autoreel.report.evaluate.evaluate", running)
    path = tmp_path / "network.pt"
    path.write_bytes(b"PK")
    assert main(["evaluate", str(run.root), option, str(path)]) == 2
    refused = capsys.readouterr().err
    assert "TorchScript is a program" in refused and "--trust-scripts" in refused and refused.count("\n") == 1
    assert main(["evaluate", str(run.root), option, str(path), "--trust-scripts"]) == 2
    assert "it is run" in capsys.readouterr().err


# --- in a real browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Any:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium is installed: the page was not opened in a real browser")
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_clips_play_without_complaint_or_request(report: Path, browser: Browser) -> None:
    browser.open(report)
    playing = "[...document.querySelectorAll('video')].filter(v => v.currentTime > 0 && v.videoWidth > 0).length"
    browser.wait(lambda: browser.ask(playing) >= 3)
    assert browser.ask("[...document.querySelectorAll('video')].every(v => v.error === null)")
    assert browser.complaints() == []
    assert browser.requests() == [report.resolve().as_uri()]


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_read_on_a_phone(report: Path, browser: Browser, dark: bool) -> None:
    browser.open(report, width=360, height=740, dark=dark)
    assert browser.ask("document.documentElement.scrollWidth") <= 360
    assert browser.ask("parseFloat(getComputedStyle(document.body).fontSize)") >= 16
    # Light on dark or dark on light, far apart.
    colours = browser.ask("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    ink, ground = (sum(int(n) for n in re.findall(r"\d+", colour)[:3]) / 3 for colour in colours)
    assert (ink > ground) is dark and abs(ink - ground) > 150
    assert browser.complaints() == []


def test_everything_is_reached_by_keyboard(report: Path, browser: Browser) -> None:
    browser.open(report)
    reached = []
    for _ in range(14):
        browser.press("Tab")
        reached.append(browser.ask("document.activeElement.tagName + ' ' + (document.activeElement.id || '')"))
        if "BUTTON" in reached[-1]:
            before = browser.ask("document.getElementById('playing').textContent")
            browser.press(" ", " ")
            assert browser.ask("document.getElementById('playing').textContent") != before
            browser.wait(lambda: bool(browser.ask("[...document.querySelectorAll('video')].every(v => v.paused)")))
    assert browser.ask("document.querySelector('.skip').getAttribute('href')") == "#main"
    assert reached[0].startswith("A ") and "BUTTON playing" in reached
    assert any(name.startswith("VIDEO") for name in reached)
