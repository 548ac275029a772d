"""SIGKILL at random moments of a training and at each call of a save; errors of the disk at each of those calls too.

    reference   trained without interruption: a hash of everything after every step
    a case      trained, killed, trained on by the same command: every hash it writes must be the reference's

The calls are counted and hit by strace's fault injection. The process that trains is forked from this one, so that a
case costs no start of Python; strace is attached to it before it begins.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks.fault_campaigns.report import Findings
from benchmarks.fault_campaigns.spikes import SMALL
from torch import nn

from autoreel.data.prepare import prepare
from autoreel.data.sample import render_sample_footage
from autoreel.data.store import FootageStore
from autoreel.errors import AutoreelError
from autoreel.runs import RunFolder
from autoreel.training.budget import Budget
from autoreel.training.checkpoint import capture
from autoreel.training.codec_stage import CodecStage
from autoreel.training.loop import Rhythm, run_stage
from autoreel.training.progress import Lines
from autoreel.training.stage import Export

STEPS = 12
SAVE_EVERY = 3
CALLS = (
    "openat", "mkdir", "write", "fsync", "fdatasync", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir",
    "ftruncate", "flock", "lseek", "close",
)  # fmt: skip
FAILING = ("openat", "mkdir", "write", "fsync", "rename")  # calls that a full or broken disk refuses
FAULTS = ("signal=KILL", "error=ENOSPC", "error=EIO")
CALLS_PER_KILL = 2
_PR_SET_PTRACER, _ANY = 0x59616D61, -1


class Recorded:
    """A stage that writes down a hash of everything after each step.

    Args:
        stage: the stage.
        log: a line for each step is added to it.
    """

    def __init__(self, stage: CodecStage, log: Path) -> None:
        self._stage, self._log = stage, log
        self.name, self.seed = stage.name, stage.seed
        self.num_taken = 0

    def modules(self) -> Mapping[str, nn.Module]:
        return self._stage.modules()

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return self._stage.optimizers()

    def step(self, step: int, progress: float) -> dict[str, float]:
        metrics = self._stage.step(step, progress)
        self.num_taken += 1
        with self._log.open("a") as file:
            file.write(f"{step} {self._hash(step)}\n")
        return metrics

    def _hash(self, step: int) -> str:
        """Of weights, averages, optimizers, the global random state and the names in the batch."""
        digest = hashlib.sha256()
        snapshot = capture(self._stage)
        for name, value in sorted(snapshot.tensors.items()):
            digest.update(name.encode() + value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        digest.update(json.dumps(snapshot.plain).encode())
        digest.update(torch.get_rng_state().numpy().tobytes())
        digest.update(json.dumps(self._stage.loader.batch(step).ids).encode())
        return digest.hexdigest()

    def validate(self) -> dict[str, float]:
        return {}

    def preview(self, folder: Path, step: int) -> None:
        return None

    def export(self) -> Export:
        return self._stage.export()


@dataclass(frozen=True)
class Case:
    """Where training is hit.

    Args:
        call: the system call.
        number: which one of its name, counted from 1 after strace was attached.
        fault: as strace takes it: `signal=KILL` or `error=ENOSPC`.
        what: the call as it was traced without a fault.
    """

    call: str
    number: int
    fault: str
    what: str


def train_here(path: Path, store: FootageStore, log: Path) -> None:
    """Train in this process, from where the run is to the end; saves every SAVE_EVERY steps."""
    torch.set_num_threads(1)
    run = RunFolder.open(path) if (path / "run.json").exists() else RunFolder.create(path, SMALL)
    with run.lock():
        stage = Recorded(CodecStage.open(run, store, torch.device("cpu")), log)
        rhythm = Rhythm(checkpoint_every_s=SAVE_EVERY, preview_every_s=1e9)
        run_stage(
            stage, run, Budget(steps=STEPS), Lines(lambda line: None), threading.Event(), rhythm=rhythm,
            clock=lambda: float(stage.num_taken),
        )  # fmt: skip


def fork_waiting(work: Callable[[], int], go: int | None = None) -> int:
    """`work` in a child; with `go` it waits for a byte from that descriptor before it begins.

    Returns:
        The child's process id. It ends with what `work` returns, or 4 after an error.
    """
    child = os.fork()
    if child:
        return child
    code = 4
    try:
        if go is not None:
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(_ANY & (2**64 - 1)), 0, 0, 0)
            os.read(go, 1)
        code = work()
    finally:
        os._exit(code)


def forked(path: Path, store: FootageStore, log: Path, go: int | None = None) -> int:
    """`train_here` in a child, which ends with 0, 3 after an AutoreelError, 4 after any other error."""

    def work() -> int:
        try:
            train_here(path, store, log)
        except AutoreelError:
            return 3
        return 0

    return fork_waiting(work, go)


def ended(child: int, timeout_s: float = 3600.0) -> int:
    """How the child ended: its exit code, or minus the signal. One that hangs is killed: TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError(f"the training hung for {timeout_s:g} s")


def traced(path: Path, store: FootageStore, log: Path, trace: Path, inject: str = "") -> int:
    """Train from where the run is to the end under strace; returns how it ended."""
    return under_strace(lambda go: forked(path, store, log, go=go), trace, inject)


def under_strace(start: Callable[[int], int], trace: Path, inject: str = "", timeout_s: float = 3600.0) -> int:
    """A child that waits for a byte, with strace attached to its main thread; returns how it ended.

    Args:
        start: begins the child and returns its process id, given the descriptor it waits on.
        trace: where the calls are written.
        inject: a fault, as strace takes it.
        timeout_s: until it is killed: TimeoutError.
    """
    read, write = os.pipe()
    child = start(read)
    command = ["strace", "-y", "-p", str(child), "-o", str(trace), "-e", f"trace={','.join(CALLS)}"]
    if inject:
        command += ["-e", f"inject={inject}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        line = strace.stderr.readline()
        if "attached" not in line:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise RuntimeError(f"strace cannot be attached: {line.strip()}")
        os.write(write, b"g")
        try:
            return ended(child, timeout_s)
        finally:
            os.close(read)
            os.close(write)
            strace.wait(30)


_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")


def calls_in(trace: Path, root: Path) -> list[tuple[str, int, str]]:
    """(name, its number among those of its name, the line) of every call that concerns the run folder."""
    counts: dict[str, int] = {}
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name = match[1]
        counts[name] = counts.get(name, 0) + 1
        if str(root) in line:
            found.append((name, counts[name], line))
    return found


def order_problems(trace: Path, root: Path) -> list[str]:
    """What a power cut could tear: a name that something has before it, or a folder above it, is on the disk."""
    problems: list[str] = []
    dirty: set[str] = set()  # written and not fsynced
    unnamed: set[str] = set()  # folders in which a name has changed since their fsync
    made: dict[str, str] = {}  # folders whose own name is not on the disk, and the folder it stands in
    num_renames = 0
    for name, _, line in calls_in(trace, root):
        paths = re.findall(r'[<"]((?:/[^<>"]+))[>"]', line)
        here = [path for path in paths if path.startswith(str(root))]
        if not here or " = -1 " in line:
            continue
        if name in ("write", "ftruncate"):
            dirty.add(here[0])
        elif name == "fsync":
            dirty.discard(here[0])
            unnamed.discard(here[0])
            made = {folder: parent for folder, parent in made.items() if parent != here[0]}
        elif name == "openat" and "O_CREAT" in line:
            unnamed.add(str(Path(here[-1]).parent))
        elif name == "mkdir":
            unnamed.add(str(Path(here[0]).parent))
            if not Path(here[0]).name.startswith("."):
                made[here[0]] = str(Path(here[0]).parent)
        elif name.startswith("rename") and len(here) >= 2:
            old, new = here[0], here[-1]
            if Path(new).name.startswith("."):
                continue  # a checkpoint that is let go of loses its name first
            num_renames += 1
            problems += [f"{new} got its name before {path} was on the disk" for path in dirty if path.startswith(old)]
            if old in unnamed:
                problems.append(f"{new} got its name before its folder was on the disk")
            above = [folder for folder in made if new.startswith(f"{folder}/")]
            problems += [f"{new} got its name before {folder} above it was on the disk" for folder in above]
            unnamed.add(str(Path(new).parent))
        elif name in ("unlink", "unlinkat", "rmdir") and _of_checkpoints(unnamed):
            problems.append(f"{here[0]} was let go of before the new checkpoint's name was on the disk")
    # .lock and metrics.jsonl are made in the run folder and may be lost; a checkpoint may not.
    if _of_checkpoints(unnamed) and num_renames:
        problems.append("the names of the checkpoints are not on the disk at the end")
    return problems if num_renames else ["no checkpoint was written"]


def _of_checkpoints(folders: set[str]) -> bool:
    return any(Path(folder).name == "checkpoints" for folder in folders)


def campaign(count: int, seed: int, only: tuple[str, ...] = ()) -> Findings:
    """`count` random kills; then calls, each killed, and each refused by a full and by a broken disk.

    A training of five saves has 2185 such cases; CALLS_PER_KILL times the count of each fault are drawn.
    `only`: moments, calls, or the name of a fault (KILL, ENOSPC, EIO).
    """
    findings = Findings("-".join(["kills", *only]))
    rng = random.Random(seed)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bench = Bench(work, seed)
        rows: list[tuple[object, ...]] = []
        if not only or "moments" in only:
            rows.append(("SIGKILL at a random moment", count, bench.random_kills(count, rng, findings), ""))
        faults = [fault for fault in FAULTS if not only or "calls" in only or fault.partition("=")[2] in only]
        if faults:
            cases = bench.cases()
            findings.problems += bench.order_problems()
            for fault in faults:
                mine = [case for case in cases if case.fault == fault]
                chosen = sorted(rng.sample(range(len(mine)), min(len(mine), CALLS_PER_KILL * count)))
                found = bench.faults([mine[i] for i in chosen], findings)
                rows.append((f"{fault} at a call", f"{len(chosen)} of {len(mine)}", *found))
        findings.table(("fault", "cases", "went on bit for bit", "ended with one clear error first"), rows)
        findings.lines.append(
            f"{STEPS} steps with a save every {SAVE_EVERY}; a hash of weights, averages, optimizers, random state and "
            "the names in the batch after every step, compared with those of the training that nothing interrupted."
        )
    return findings


class Bench:
    """The footage and the reference.

    Args:
        work: an empty folder.
        seed: of the footage.
    """

    ROOT = "dry"  # in it the traced trainings make their run folder and one above it

    def __init__(self, work: Path, seed: int) -> None:
        self.work = work
        render_sample_footage(work / "clips", seed=seed, kinds=("travel",), clips_per_kind=2, clip_s=0.8, size=(32, 32))
        self.store = prepare([work / "clips"], work / "store", SMALL.data).store
        began = time.monotonic()
        if ended(forked(work / "whole", self.store, work / "whole.log")):
            raise RuntimeError("the training without faults failed")
        self.whole_s = time.monotonic() - began
        self.reference = self._steps(work / "whole.log")

    def _steps(self, log: Path) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        for line in log.read_text().splitlines() if log.exists() else []:
            step, _, digest = line.partition(" ")
            if len(digest) == 64:
                found.setdefault(int(step), set()).add(digest)
        return found

    def finish(self, run: Path, log: Path) -> str:
        """Go on with the same command; what is wrong then, or nothing."""
        try:
            code = ended(forked(run, self.store, log))
        except TimeoutError as error:
            return str(error)
        if code:
            return f"the same command ended with {code}"
        found = self._steps(log)
        wrong = [step for step, digests in found.items() if digests != self.reference[step]]
        if wrong:
            return f"step {min(wrong)} differs"
        return "" if STEPS - 1 in found or self._is_done(run) else "the last step is missing"

    def _is_done(self, run: Path) -> bool:
        return (run / "checkpoints" / f"codec-{STEPS:08d}").exists()

    def random_kills(self, count: int, rng: random.Random, findings: Findings) -> int:
        """Returns how many went on bit for bit."""
        good = 0
        for number in range(count):
            run, log = self.work / "random", self.work / "random.log"
            child = forked(run, self.store, log)
            moment_s = rng.uniform(0, self.whole_s)
            time.sleep(moment_s)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            wrong = self.finish(run, log)
            good += not wrong
            print(f"killed after {moment_s:.3f} s", wrong or "good", flush=True)
            if wrong:
                findings.problems.append(f"killed after {moment_s:.3f} s (case {number}): {wrong}")
            self._clear(run, log)
        return good

    def cases(self) -> list[Case]:
        """Every call that concerns the run folder, from making it to the end, with each fault it can have."""
        run = self._afresh()
        code = traced(run, self.store, self.work / "case.log", self.work / "dry.trace")
        if code:
            raise RuntimeError(f"the traced training ended with {code}")
        found = []
        for name, number, line in calls_in(self.work / "dry.trace", self.work / self.ROOT):
            if name == "openat" and "O_CREAT" not in line and "O_RDWR" not in line and "O_WRONLY" not in line:
                continue
            found.append(Case(name, number, "signal=KILL", line))
            if name in FAILING:
                found += [Case(name, number, f"error={error}", line) for error in ("ENOSPC", "EIO")]
        return found

    def faults(self, cases: list[Case], findings: Findings) -> tuple[int, int]:
        """Returns how many went on bit for bit, and how many of them had first ended with an AutoreelError."""
        good = told = 0
        for case in cases:
            run, log, trace = self._afresh(), self.work / "case.log", self.work / "case.trace"
            where = f"{case.call} {case.number}, {case.fault}"
            try:
                code = traced(run, self.store, log, trace, f"{case.call}:{case.fault}:when={case.number}")
            except TimeoutError as error:
                findings.problems.append(f"{where}: {error}")
                continue
            if "KILL" in case.fault and code != -signal.SIGKILL:
                findings.problems.append(f"{where}: it was not hit (ended with {code})")
                continue
            if code == 4:
                findings.problems.append(f"{where}: ended with an error that is not one of ours")
            told += code == 3
            print(where, code, flush=True)
            wrong = self.finish(run, log)
            good += not wrong
            if wrong:
                findings.problems.append(f"{where} ({case.what[:150]}): {wrong}")
        return good, told

    def order_problems(self) -> list[str]:
        """Of the training that `cases` traced."""
        return order_problems(self.work / "dry.trace", self.work / self.ROOT)

    def _afresh(self) -> Path:
        """Where the next traced training makes its run; nothing is left of the one before."""
        self._clear(self.work / self.ROOT, self.work / "case.log")
        (self.work / self.ROOT).mkdir()
        return self.work / self.ROOT / "above" / "run"

    def _clear(self, run: Path, log: Path) -> None:
        shutil.rmtree(run, ignore_errors=True)
        log.unlink(missing_ok=True)
