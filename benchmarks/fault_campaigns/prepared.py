"""Mutants through prepare, with good files beside them: what it takes of them, and whether the good files are kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from benchmarks.fault_campaigns.mutants import Mutant, Tally, compared, is_endless, mutants, report_tallies
from benchmarks.fault_campaigns.report import ROOT, Findings

from autoreel.data.store import FootageStore
from autoreel.errors import MediaError
from autoreel.media.probe import probe

LETTERS = str.maketrans("0123456789", "abcdefghij")
PREPARED, FPS = (64, 64), 25  # what prepare makes of the footage


class Looked:
    """What prepare took from a file: the frames of its shots, without any when it took nothing.

    Args:
        store: of the prepared footage.
        content: of the file.
    """

    def __init__(self, store: Path, content: bytes) -> None:
        shard = store / "shards" / f"{hashlib.sha256(content).hexdigest()}.u8"
        self.frames = np.zeros((0, *PREPARED, 3), np.uint8)
        self.shots: list[list[int]] = []
        if shard.exists():
            record = json.loads(shard.with_suffix(".json").read_text())
            self.shots = [shot[:3] for shot in record["shots"]]
            self.frames = np.fromfile(shard, np.uint8).reshape(-1, *PREPARED, 3)

    def verdict(self, whole: Looked) -> Tally:
        """Of a mutant, beside the whole file."""
        if not self.shots:
            return Tally(refused=1)
        return compared(whole.frames, self.frames)


def through_prepare(
    findings: Findings, good: Sequence[Path], sources: Sequence[Path], count: int, seed: int, work: Path,
    batch: int = 100,
) -> None:  # fmt: skip
    """Mutants in folders of `batch`, with good files beside them, through the command.

    What was taken of each is compared with what prepare takes of the whole file.
    """
    wholes, codecs = _wholes(findings, sources, work)
    tallies: dict[tuple[str, str], Tally] = {}
    num_mutants = num_used = num_said = num_batches = 0
    slowest_s = 0.0
    try:
        for begin, made in enumerate(_batches(mutants(sources, count, seed), batch)):
            clips, store = work / f"clips{begin}", work / f"store{begin}"
            names = {}
            for number, mutant in enumerate(made):
                # Without digits: pictures with numbers would be taken for those of one film.
                name = f"{begin * batch + number:05d}".translate(LETTERS) + mutant.source.suffix
                path = clips / mutant.kind.replace(" ", "_") / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(mutant.content)
                names[path.relative_to(clips).as_posix()] = mutant
            kept = [clips / "good" / f"{number}{path.suffix}" for number, path in enumerate(good[:3])]
            kept[0].parent.mkdir(exist_ok=True)
            for path, source in zip(kept, good, strict=False):
                path.write_bytes(source.read_bytes())
            where = f"prepare of mutants {begin * batch} to {begin * batch + len(made) - 1}"
            began = time.monotonic()
            # Every tenth batch finds its rate itself, which looks at each file once more.
            wrong = _prepared(clips, store, fps=None if begin % 10 == 9 else FPS, timeout_s=60.0 * batch)
            slowest_s = max(slowest_s, time.monotonic() - began)
            num_batches, num_mutants = num_batches + 1, num_mutants + len(made)
            if wrong:
                findings.problems.append(f"{where}: {wrong}")
                continue
            used = {shot.source for shot in FootageStore.open(store).shots}
            rejects = [json.loads(line) for line in (store / "rejects.jsonl").read_text().splitlines()]
            # A mutant whose damage changes nothing may be used in its place.
            same = {row["file"] for row in rejects if row["reason"].startswith("shows the same as")}
            lost = [path.name for path in kept if f"good/{path.name}" not in used | same]
            findings.problems += [f"{where}: the good file {name} was lost" for name in lost]
            said = {row["file"] for row in rejects if row.get("reason")}
            findings.problems += [
                f"{where}: {name} is neither used nor refused with a reason" for name in names
                if name not in used and name not in said
            ]  # fmt: skip
            num_used, num_said = num_used + len(used & set(names)), num_said + len(said & set(names))
            for mutant in made if begin % 10 != 9 else ():
                if wholes[mutant.source].shots:
                    found = Looked(store, mutant.content).verdict(wholes[mutant.source])
                    tallies.setdefault((codecs[mutant.source], mutant.kind), Tally()).add(found)
            print(f"{where}: {time.monotonic() - began:.0f} s", flush=True)
            shutil.rmtree(clips)
            shutil.rmtree(store)
    except KeyboardInterrupt:
        findings.lines += ["", f"Stopped after {num_mutants} of {count} mutants."]
    findings.lines += ["", "## Through prepare, with three good files beside each batch"]
    findings.table(
        ("mutants", "runs of prepare", "used", "in rejects.jsonl with a reason", "slowest run"),
        [(num_mutants, num_batches, num_used, num_said, f"{slowest_s:.0f} s")],
    )
    findings.lines.append("A file of which one shot is used and another is not is in both.")
    if tallies:
        report_tallies(findings, "What prepare took of them", tallies)
        findings.lines.append(
            f"Of the sources that prepare takes whole, at {FPS} frames a second and {PREPARED[1]}x{PREPARED[0]}. Only "
            "frames that would be learned from are compared."
        )


def _batches(items: Iterator[Mutant], size: int) -> Iterator[list[Mutant]]:
    while some := list(islice(items, size)):
        yield some


def _wholes(
    findings: Findings, sources: Sequence[Path], work: Path
) -> tuple[dict[Path, Looked], dict[Path, str]]:
    """What prepare takes of each whole file, and its codec; nothing of those that would take minutes."""
    clips, store = work / "whole", work / "wholes"
    clips.mkdir()
    codecs = {}
    for number, source in enumerate(dict.fromkeys(sources)):
        if is_endless(source):
            codecs[source] = "none"
            continue
        (clips / f"{number}{source.suffix}").write_bytes(source.read_bytes())
        try:
            codecs[source] = probe(source).codec or "none"
        except MediaError:
            codecs[source] = "none"
    wrong = _prepared(clips, store, fps=FPS, timeout_s=3600.0)
    if wrong:
        findings.problems.append(f"prepare of the whole files: {wrong}")
    return {source: Looked(store, source.read_bytes()) for source in codecs}, codecs


def _prepared(clips: Path, store: Path, fps: int | None, timeout_s: float) -> str:
    """What is wrong with how prepare ends, or nothing."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "autoreel", "prepare", str(clips), "-o", str(store)]
    command += [] if fps is None else ["--fps", str(fps)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return "it hangs"
    if done.returncode != 0 or "Traceback" in done.stderr:
        return f"exit {done.returncode}, {done.stderr[-300:]!r}"
    return ""
