"""Damaged copies of media files, and whether their damage is noticed.

A mutant is refused, or harmless (its pictures are those of the whole file), or shorter (some are missing, and those
that are there are right), or it slips through: it is accepted with other pictures. A flipped bit that leads to another
valid stream cannot be told from one that was meant.
"""

from __future__ import annotations

import hashlib
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
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from benchmarks.fault_campaigns.report import ROOT, Findings
from numpy.typing import NDArray

from autoreel.data.store import FootageStore
from autoreel.errors import MediaError
from autoreel.media.decode import Limits, decode
from autoreel.media.probe import probe

KINDS = ("bit flips", "truncation", "header edit", "splice")
LIMITS = Limits(max_decoded_frames=400, wall_s=120.0, cpu_s=60, memory_bytes=2 << 30, twice=True)
SIZE = (48, 64)
PREPARED, FPS = (64, 64), 25  # what prepare makes of the footage
DEAR_PIXELS, ENDLESS_PIXELS = 3e7, 1e9  # of a whole file; see `in_turn`
DEAR_TURNS = 8
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
    """Mutants of the sources in turn; the same for the same arguments. An empty file cannot be damaged."""
    rng = random.Random(seed)
    contents = {source: source.read_bytes() for source in sources}
    sources = [source for source in sources if contents[source]]
    made = 0
    while made < count:
        source, kind = sources[made % len(sources)], rng.choice(kinds)
        content = mutate(contents[source], kind, rng, contents[rng.choice(sources)])
        if content != contents[source] and content:
            yield Mutant(source, kind, content)
            made += 1


def in_turn(sources: Sequence[Path]) -> list[Path]:
    """The sources of a large campaign: a file that takes seconds comes once where the others come DEAR_TURNS times."""
    turns: dict[int, list[Path]] = {}
    for source in sources:
        times = 1 if is_endless(source) else DEAR_TURNS if _pixels(source) > DEAR_PIXELS else DEAR_TURNS**2
        turns.setdefault(times, []).append(source)
    return [source for times, some in turns.items() for source in some * times]


def is_endless(source: Path) -> bool:
    """Whether decoding it takes minutes."""
    return _pixels(source) > ENDLESS_PIXELS


@cache
def _pixels(source: Path) -> float:
    """How many a whole file has, about."""
    try:
        info = probe(source)
    except MediaError:
        return 0.0
    return info.width * info.height * float(info.rate or 25) * (info.duration_s or 1.0)


def pictures(path: Path) -> NDArray[np.uint8]:
    """What a file shows, small.

    Raises:
        MediaError: it is refused.
    """
    return np.concatenate([chunk.frames for chunk in decode(path, size=SIZE, fit="letterbox", limits=LIMITS)])


def are_alike(whole: NDArray[np.uint8], given: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pictures are the same; both have equally many."""
    differences = np.abs(whole.astype(np.int16) - given).mean(axis=(1, 2, 3))
    return np.asarray(differences <= ALIKE)


def compared(whole: NDArray[np.uint8], given: NDArray[np.uint8]) -> Tally:
    """What a mutant's pictures are beside those of the whole file."""
    if len(whole) == len(given):
        return Tally(harmless=1) if are_alike(whole, given).all() else Tally(slipped=1)
    if len(given) > len(whole):
        return Tally(slipped=1)
    place = 0
    for picture in given:  # each must be found among those that follow
        found = are_alike(whole[place:], np.broadcast_to(picture, whole[place:].shape))
        if not found.any():
            return Tally(slipped=1)
        place += int(found.argmax()) + 1
    return Tally(shorter=1)


@dataclass
class Tally:
    """What became of the mutants of one codec and kind."""

    refused: int = 0
    harmless: int = 0
    shorter: int = 0
    slipped: int = 0

    @property
    def count(self) -> int:
        """Of all mutants."""
        return self.refused + self.harmless + self.shorter + self.slipped

    def add(self, other: Tally) -> None:
        """Count another's too."""
        self.refused += other.refused
        self.harmless += other.harmless
        self.shorter += other.shorter
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
    findings = Findings("-".join(["mutants", *only]))
    good = good_files(footage)
    sources = good + [p for p in sorted(hostile.rglob("*")) if p.is_file() and p.suffix != ".json"]
    empty = [path.name for path in sources if not path.stat().st_size]
    findings.lines.append(f"Mutants of {len(sources) - len(empty)} files.")
    if empty:
        findings.lines.append(f"Empty, so that nothing in it can be changed: {', '.join(empty)}.")
    findings.lines.append("")
    with tempfile.TemporaryDirectory() as folder:
        if not only or "decode" in only:
            small = [path for path in sources if 0 < path.stat().st_size < 1 << 20 and "long" not in path.name]
            _report(findings, "Decoded one by one", look(in_turn(small), count, seed, Path(folder)))
        if not only or "prepare" in only:
            through_prepare(findings, good, in_turn(sources), count, seed + 1, Path(folder))
    return findings


def _report(findings: Findings, title: str, tallies: dict[tuple[str, str], Tally]) -> None:
    by_codec: dict[str, Tally] = {}
    for (codec, kind), tally in tallies.items():
        for name in (codec, kind, "all"):
            by_codec.setdefault(name, Tally()).add(tally)
    rows = [
        (name, t.count, t.refused, t.harmless, t.shorter, t.slipped, f"{t.slipped / t.count:.1%}")
        for name, t in sorted(by_codec.items(), key=lambda item: (item[0] == "all", item[0] in KINDS, item[0]))
    ]
    findings.lines += ["", f"## {title}", ""]
    findings.table(("", "mutants", "refused", "harmless", "shorter", "slipped through", ""), rows)
    findings.lines.append(
        f"Harmless: every picture differs from the whole file's by at most {ALIKE:g} step of 255 in the mean. Shorter: "
        "some are missing, every other is right. What slips through is mostly one flipped bit in the entropy-coded "
        "part of a picture, which leads to another valid stream."
    )


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
                path = clips / mutant.kind.replace(" ", "_") / f"{begin * batch + number:05d}{mutant.source.suffix}"
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
            lost = [path.name for path in kept if f"good/{path.name}" not in used]
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
        _report(findings, "What prepare took of them", tallies)
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
    for source in dict.fromkeys(sources):
        try:
            wholes[source] = pictures(source)
            codecs[source] = probe(source).codec or "none"
        except MediaError:
            continue
    tallies: dict[tuple[str, str], Tally] = {}
    for number, mutant in enumerate(mutants([s for s in sources if s in wholes], count, seed)):
        tally = tallies.setdefault((codecs[mutant.source], mutant.kind), Tally())
        path = folder / f"mutant{mutant.source.suffix}"
        path.write_bytes(mutant.content)
        try:
            shown = pictures(path)
        except MediaError:
            tally.refused += 1
            continue
        found = compared(wholes[mutant.source], shown)
        tally.add(found)
        if not found.slipped:
            continue
        if keep is not None:
            name = f"{number:05d}-{codecs[mutant.source]}-{mutant.kind.replace(' ', '_')}-{mutant.source.name}"
            (keep / name).write_bytes(mutant.content)
    return tallies
