"""Damaged copies of media files, and whether their damage is noticed.

A mutant is refused, or harmless (its pictures are those of the whole file), or shorter (some are missing, and those
that are there are right), or it slips through: it is accepted with other pictures. A flipped bit that leads to another
valid stream cannot be told from one that was meant.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from benchmarks.fault_campaigns.report import Findings
from numpy.typing import NDArray

from autoreel.errors import MediaError
from autoreel.media.decode import Limits, decode
from autoreel.media.probe import probe

KINDS = ("bit flips", "truncation", "header edit", "splice")
LIMITS = Limits(max_decoded_frames=400, wall_s=120.0, cpu_s=60, memory_bytes=2 << 30, twice=True)
SIZE = (48, 64)
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
            report_tallies(findings, "Decoded one by one", look(in_turn(small), count, seed, Path(folder)))
        if not only or "prepare" in only:
            from benchmarks.fault_campaigns.prepared import through_prepare

            through_prepare(findings, good, in_turn(sources), count, seed + 1, Path(folder))
    return findings


def report_tallies(findings: Findings, title: str, tallies: dict[tuple[str, str], Tally]) -> None:
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
