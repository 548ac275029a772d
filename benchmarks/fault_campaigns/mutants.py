"""Damaged copies of media files, and whether their damage is noticed.

A mutant is refused, or harmless (its pictures are those of the whole file), or it slips through: it is accepted with
other pictures. A flipped bit that leads to another valid stream cannot be told from one that was meant.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
