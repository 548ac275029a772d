"""Every command on a disk that is full at some point of its work, and once more after space was made.

The disk is a small tmpfs in a mount namespace of its own (no root needed where user namespaces are allowed); its size
goes through the range from nothing to enough, so that the disk fills at write after write.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fault_campaigns.report import ROOT, Findings

from autoreel.clip import Sound
from autoreel.config import PRESETS, Config, dump_config
from autoreel.data.sample import render_sample_footage
from autoreel.data.store import FootageStore
from autoreel.errors import AutoreelError
from autoreel.media.decode import decode
from autoreel.models.codec import Codec
from autoreel.runs import RunFolder

INSIDE = "AUTOREEL_FAULTS_INSIDE"
TIMEOUT_S = 900
FULL = 6  # the exit code of an OutputError
LARGE = "2g"
NAMES = ("prepare", "train", "generate", "export", "evaluate", "film")


@dataclass(frozen=True)
class Command:
    """One command line whose results lie on the small disk.

    Args:
        name: of the command.
        arguments: with DISK for the mount point.
        check: looks at what stands under its final name; raises an error where it is broken.
        largest_mb: a disk on which it succeeds.
        fill: copied there before.
    """

    name: str
    arguments: Sequence[str]
    check: Callable[[Path], None]
    largest_mb: float
    fill: Path | None = None
    once: bool = False  # where its result is there, it refuses to make it again


def may_mount() -> bool:
    """Whether this machine lets a person mount in namespaces of their own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def enter_namespace() -> None:
    """Start this program again where it may mount, unless this is that already."""
    if os.environ.get(INSIDE):
        return
    sys.stdout.flush()
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--map-root-user", "--mount", sys.executable, *sys.argv])


def check_store(disk: Path) -> None:
    """A store that is there is whole."""
    if (disk / "store/index.json").exists():
        store = FootageStore.open(disk / "store")
        for shot in store.shots:
            store.frames(shot)


def check_run(disk: Path) -> None:
    """A run that is there opens, and every weights file in it is what was written."""
    for run in (disk / "run", disk / "film.run"):
        if (run / "run.json").exists():
            opened = RunFolder.open(run)
            for name, record in opened.manifest.weights.items():
                if record.sha256 is not None and not (run / name).exists():
                    raise ValueError(f"{name} is recorded and not there")
        check_store(run)


def check_clip(disk: Path) -> None:
    """A clip or film that is there decodes to its end."""
    check_run(disk)
    for name in ("clip.mp4", "film.mp4"):
        if (disk / name).exists() and not sum(len(c.frames) for c in decode(disk / name, size=(16, 16))):
            raise ValueError(f"{name} has no pictures")


def check_export(disk: Path) -> None:
    """A folder that is there holds the codec."""
    if (disk / "codec").exists():
        Codec.from_pretrained(disk / "codec")


def check_report(disk: Path) -> None:
    """Numbers and page are whole where they are there."""
    page, numbers = disk / "report/index.html", disk / "report/report.json"
    if numbers.exists():
        json.loads(numbers.read_text())
    if page.exists() and "</html>" not in page.read_text()[-100:]:
        raise ValueError("the page is cut off")


def autoreel(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "autoreel", *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=TIMEOUT_S, check=False,
    )  # fmt: skip


def try_size(command: Command, size_kb: int, work: Path, findings: Findings) -> tuple[str, str]:
    """One command on one size of disk, then again with room.

    Returns:
        What happened at first, and the second time.
    """
    disk = work / "disk"
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "none", str(disk)], check=True)
    where = f"{command.name} on {size_kb} KB"
    try:
        if command.fill is not None:
            copied = subprocess.run(["cp", "-a", f"{command.fill}/.", str(disk)], capture_output=True, check=False)
            if copied.returncode:
                return "too small to begin", ""
        arguments = [word.replace("DISK", str(disk)) for word in command.arguments]
        first = autoreel(arguments, work)
        errors = [line for line in first.stderr.splitlines() if line.startswith("autoreel: error:")]
        if first.returncode == 0:
            said = "done"
        else:
            said = f"exit {first.returncode}"
            if first.returncode != FULL or len(errors) != 1 or "disk is full" not in errors[0]:
                findings.problems.append(f"{where}: exit {first.returncode}, said {errors or first.stderr[-300:]!r}")
        if "Traceback" in first.stderr:
            findings.problems.append(f"{where}: a traceback")
        if command.once and first.returncode == 0:
            command.check(disk)
            return said, "not asked"
        for moment in ("full", "with room"):
            if moment == "with room":
                subprocess.run(["mount", "-o", f"remount,size={LARGE}", str(disk)], check=True)
                again = autoreel(arguments, work)
                if again.returncode != 0:
                    said_then = again.stderr[-300:]
                    findings.problems.append(f"{where}: exit {again.returncode} with room, said {said_then!r}")
            try:
                command.check(disk)
            except (AutoreelError, OSError, ValueError) as error:
                findings.problems.append(f"{where}, {moment}: {error}")
        return said, f"exit {again.returncode}"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def campaign(count: int, seed: int, commands: Sequence[str] = ()) -> Findings:
    """`count` sizes of disk for each command; nothing in it is drawn by chance, the seed is that of the footage."""
    enter_namespace()
    findings = Findings("-".join(["disk-full", *commands]))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        rows: list[tuple[object, ...]] = []
        findings.tables.append((("command", "disk, KB", "first", "again, with room"), rows))
        for command in command_lines(work, seed, commands or NAMES):
            sizes = [max(8, round(command.largest_mb * 1024 * (step + 0.5) / count)) for step in range(count)]
            for size_kb in sizes:
                first, second = try_size(command, size_kb, work, findings)
                print(command.name, size_kb, first, second, flush=True)
                rows.append((command.name, size_kb, first, second))
    return findings


def command_lines(work: Path, seed: int, names: Sequence[str]) -> list[Command]:
    """The command lines, after making what they read: footage, music, a run that is trained a little."""
    render_sample_footage(work / "clips", seed=seed, kinds=("romance",), clips_per_kind=2, clip_s=1.6, size=(64, 64))
    _write_music(work / "music.wav")
    (work / "small.toml").write_text(dump_config(_small()))
    train = ["train", "clips", "--config", "small.toml", "--steps", "3"]
    evaluate = ["evaluate", "made/run", "--clips", "4", "--frames", "16", "--no-minute"]
    if {"generate", "export", "evaluate"} & set(names):
        made = autoreel([*train, "--run", "made/run"], work)
        if made.returncode:
            raise RuntimeError(made.stderr)
    film = ["film", "clips", "--music", "music.wav", "--length", "2s", "--budget", "2 steps", "--preset", "tiny"]
    found = [
        Command("prepare", ["prepare", "clips", "-o", "DISK/store"], check_store, 1.2),
        Command("train", [*train, "--run", "DISK/run"], check_run, 12),
        Command("generate", ["generate", "made/run", "-o", "DISK/clip.mp4", "--length", "2s"], check_clip, 0.06),
        Command("export", ["export", "made/run", "-o", "DISK/codec"], check_export, 0.9, once=True),
        Command("evaluate", [*evaluate, "-o", "DISK/report"], check_report, 0.35),
        Command("film", [*film, "-o", "DISK/film.mp4"], check_clip, 90),
    ]
    return [command for command in found if command.name in names]


def _small() -> Config:
    tiny = PRESETS["tiny"]
    return tiny.model_copy(
        update={
            "codec": tiny.codec.model_copy(update={"widths": (16, 24, 32)}),
            "prior": tiny.prior.model_copy(update={"width": 64, "depth": 1, "heads": 2}),
        }
    )


def _write_music(path: Path) -> None:
    import wave

    import numpy as np

    rate = 22050
    times = np.arange(rate * 4) / rate
    sound = Sound((0.3 * np.sin(2 * np.pi * 220 * times) * (times % 0.5 < 0.1)).astype(np.float32)[:, None], rate)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound.samples * 32767).astype("<i2").tobytes())
