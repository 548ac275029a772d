"""Damaged copies of media files, and whether their damage is noticed.

A mutant is refused, or harmless (its pictures are those of the whole file), or it slips through: it is accepted with
other pictures. A flipped bit that leads to another valid stream cannot be told from one that was meant.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.fault_campaigns.report import ROOT, Findings
from numpy.typing import NDArray

from autoreel.data.store import FootageStore
from autoreel.errors import MediaError
from autoreel.media.decode import Limits, decode
from autoreel.media.probe import probe

KINDS = ("bit flips", "truncation", "header edit", "splice")
LIMITS = Limits(max_decoded_frames=400, wall_s=120.0, cpu_s=60, memory_bytes=2 << 30)
SIZE = (48, 64)
ALIKE = 1.0  # mean difference of a picture in 8-bit steps up to which it counts as the same


@dataclass(frozen=True)
class Mutant:
    """One damaged copy.

    Args:
        source: the whole file.
        kind: of KINDS.
        content: its bytes.
    """

    source: Path
    kind: str
    content: bytes


def mutate(content: bytes, kind: str, rng: random.Random, other: bytes) -> bytes:
    """A damaged copy of a file's content.

    Args:
        content: of the whole file.
        kind: of KINDS.
        rng: decides where.
        other: content of another file, for splices.
    """
    damaged = bytearray(content)
    size = len(damaged)
    if kind == "bit flips":
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            damaged[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == "truncation":
        del damaged[rng.randrange(1, size) :]
    elif kind == "header edit":
        for _ in range(rng.choice((1, 2, 4))):
            # Indexes stand at the start or at the end of a file.
            place = rng.choice((rng.randrange(min(size, 2048)), size - 1 - rng.randrange(min(size, 2048))))
            value = rng.choice((b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", rng.randbytes(4), rng.randbytes(1)))
            damaged[place : place + len(value)] = value[: size - place]
    else:
        length = rng.randrange(1, max(2, min(size // 2, 65536)))
        begin, end = rng.randrange(size), rng.randrange(size)
        how = rng.randrange(4)
        if how == 0:
            del damaged[begin : begin + length]
        elif how == 1:
            damaged[begin:begin] = content[end : end + length]
        elif how == 2:
            damaged[begin : begin + length] = content[end : end + length]
        else:
            place = rng.randrange(max(1, len(other)))
            damaged[begin : begin + length] = other[place : place + length]
    return bytes(damaged)


def mutants(sources: Sequence[Path], count: int, seed: int, kinds: Sequence[str] = KINDS) -> Iterator[Mutant]:
    """Mutants of the sources in turn; the same for the same arguments."""
    rng = random.Random(seed)
    contents = {source: source.read_bytes() for source in sources}
    made = 0
    while made < count:
        source, kind = sources[made % len(sources)], kinds[made // len(sources) % len(kinds)]
        content = mutate(contents[source], kind, rng, contents[rng.choice(sources)])
        if content != contents[source] and content:
            yield Mutant(source, kind, content)
        made += 1


def pictures(path: Path) -> NDArray[np.uint8]:
    """What a file shows, small.

    Raises:
        MediaError: it is refused.
    """
    return np.concatenate([chunk.frames for chunk in decode(path, size=SIZE, fit="letterbox", limits=LIMITS)])


def is_alike(whole: NDArray[np.uint8], given: NDArray[np.uint8]) -> bool:
    """Whether both show the same pictures in the same order."""
    if whole.shape != given.shape:
        return False
    differences = np.abs(whole.astype(np.int16) - given).mean(axis=(1, 2, 3))
    return bool(differences.max() <= ALIKE)


@dataclass
class Tally:
    """What became of the mutants of one codec and kind."""

    refused: int = 0
    harmless: int = 0
    slipped: int = 0

    @property
    def count(self) -> int:
        """Of all mutants."""
        return self.refused + self.harmless + self.slipped

    def add(self, other: Tally) -> None:
        """Count another's too."""
        self.refused += other.refused
        self.harmless += other.harmless
        self.slipped += other.slipped


def good_files(footage: Path) -> list[Path]:
    """Twelve files of footage: of each kind of file (suffix) in turn the smallest."""
    by_suffix: dict[str, list[Path]] = {}
    for path in sorted(footage.rglob("*"), key=lambda path: (path.stat().st_size, path)):
        if path.suffix in (".mp4", ".mkv", ".webm", ".mpg", ".gif", ".avi", ".mov"):
            by_suffix.setdefault(path.suffix, []).append(path)
    found: list[Path] = []
    while len(found) < 12 and any(by_suffix.values()):
        found += [paths.pop(0) for paths in by_suffix.values() if paths]
    return found[:12]


def campaign(count: int, seed: int, footage: Path, hostile: Path, only: tuple[str, ...] = ()) -> Findings:
    """`count` mutants decoded one by one, and as many others through prepare, beside good files."""
    findings = Findings("mutants")
    good = good_files(footage)
    sources = good + [p for p in sorted(hostile.rglob("*")) if p.is_file() and p.suffix != ".json"]
    with tempfile.TemporaryDirectory() as folder:
        if not only or "decode" in only:
            small = [path for path in sources if path.stat().st_size < 1 << 20 and "long" not in path.name]
            _report(findings, look(small, count, seed, Path(folder)))
        if not only or "prepare" in only:
            through_prepare(findings, good, sources, count, seed + 1, Path(folder))
    return findings


def _report(findings: Findings, tallies: dict[tuple[str, str], Tally]) -> None:
    by_codec: dict[str, Tally] = {}
    for (codec, kind), tally in tallies.items():
        for name in (codec, kind, "all"):
            by_codec.setdefault(name, Tally()).add(tally)
    rows = [
        (name, t.count, t.refused, t.harmless, t.slipped, f"{t.slipped / t.count:.1%}")
        for name, t in sorted(by_codec.items(), key=lambda item: (item[0] == "all", item[0] in KINDS, item[0]))
    ]
    findings.lines += ["## Decoded one by one", ""]
    findings.table(("", "mutants", "refused", "harmless", "slipped through", ""), rows)
    findings.lines.append(
        f"Harmless: every picture differs from the whole file's by at most {ALIKE:g} step of 255 in the mean. What "
        "slips through is mostly one flipped bit in the entropy-coded part of a picture, which leads to another valid "
        "stream."
    )


def through_prepare(
    findings: Findings, good: Sequence[Path], sources: Sequence[Path], count: int, seed: int, work: Path,
    batch: int = 100,
) -> None:  # fmt: skip
    """Mutants in folders of `batch`, with good files beside them, through the command."""
    made = list(mutants(sources, count, seed))
    rows: list[tuple[object, ...]] = []
    for begin in range(0, len(made), batch):
        clips = work / f"clips{begin}"
        for number, mutant in enumerate(made[begin : begin + batch]):
            path = clips / mutant.kind.replace(" ", "_") / f"{begin + number:05d}{mutant.source.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(mutant.content)
        kept = [clips / "good" / f"{number}{path.suffix}" for number, path in enumerate(good[:3])]
        kept[0].parent.mkdir(exist_ok=True)
        for path, source in zip(kept, good, strict=False):
            path.write_bytes(source.read_bytes())
        store = work / f"store{begin}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        began = time.monotonic()
        command = [sys.executable, "-m", "autoreel", "prepare", str(clips), "-o", str(store)]
        where = f"prepare of mutants {begin} to {begin + batch - 1}"
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=60.0 * batch, check=False
            )
        except subprocess.TimeoutExpired:
            findings.problems.append(f"{where}: it hangs")
            continue
        if done.returncode != 0 or "Traceback" in done.stderr:
            findings.problems.append(f"{where}: exit {done.returncode}, {done.stderr[-300:]!r}")
            continue
        used = {shot.source for shot in FootageStore.open(store).shots}
        rejects = [json.loads(line) for line in (store / "rejects.jsonl").read_text().splitlines()]
        lost = [path.name for path in kept if f"good/{path.name}" not in used]
        findings.problems += [f"{where}: the good file {name} was lost" for name in lost]
        said = {row["file"] for row in rejects if row.get("reason")}
        silent = [p for p in clips.rglob("*.*") if (n := p.relative_to(clips).as_posix()) not in used and n not in said]
        findings.problems += [f"{where}: {path.name} is neither used nor refused with a reason" for path in silent]
        num_used = len([name for name in used if not name.startswith("good/")])
        rows.append((f"{begin} to {begin + batch - 1}", num_used, len(said), f"{time.monotonic() - began:.0f} s"))
        shutil.rmtree(clips)
        shutil.rmtree(store)
    findings.lines += ["", "## Through prepare, with three good files beside each hundred"]
    findings.table(("mutants", "used", "files in rejects.jsonl", "time"), rows)


def look(
    sources: Sequence[Path], count: int, seed: int, folder: Path, keep: Path | None = None
) -> dict[tuple[str, str], Tally]:
    """Decode mutants one by one.

    Args:
        sources: whole files; those that are refused themselves are left out.
        count, seed: of the mutants.
        folder: for the mutant that is looked at.
        keep: a folder for those that slip through.

    Returns:
        Tallies by (codec, kind).
    """
    wholes: dict[Path, NDArray[np.uint8]] = {}
    codecs: dict[Path, str] = {}
    for source in sources:
        try:
            wholes[source] = pictures(source)
            codecs[source] = probe(source).codec or "none"
        except MediaError:
            continue
    tallies: dict[tuple[str, str], Tally] = {}
    for number, mutant in enumerate(mutants(list(wholes), count, seed)):
        tally = tallies.setdefault((codecs[mutant.source], mutant.kind), Tally())
        path = folder / f"mutant{mutant.source.suffix}"
        path.write_bytes(mutant.content)
        try:
            shown = pictures(path)
        except MediaError:
            tally.refused += 1
            continue
        if is_alike(wholes[mutant.source], shown):
            tally.harmless += 1
            continue
        tally.slipped += 1
        if keep is not None:
            name = f"{number:05d}-{codecs[mutant.source]}-{mutant.kind.replace(' ', '_')}-{mutant.source.name}"
            (keep / name).write_bytes(mutant.content)
    return tallies
