"""Divide footage into training, validation and test so that nothing that is tested was trained on.

    given                                 test                     validation
    groups.csv with 5 groups and more     whole groups             whole groups
    groups.csv with 2 to 4 groups         the smallest group       none
    no groups.csv, 5 files and more       whole files              whole files
    no groups.csv, 2 to 4 files           the smallest file        the ends of the other files
    1 file, or none that can be spared    the end of each          before that

The last file or group of a label always stays in training: a label that was not learned cannot be asked for. Where no
whole one can be spared, the ends of files are held back; with a groups.csv nothing is, since a group is never cut.

Where a file is cut in time, frames between the sides are left out:  train ......gap val ...gap test
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")
GAP_S = 1.0  # left out where a file is cut in time: what moves there is the same on both sides
MIN_HELD_FRAMES = 17  # a shorter piece measures nothing
MANY_GROUPS = 5


@dataclass(frozen=True)
class Footage:
    """What the split needs to know of one source.

    Args:
        key: content hash.
        group: person or scene, or None where no groups.csv names it.
        label: or None.
        spans: (start, count) of its shots, in frames, in order.
    """

    key: str
    group: str | None
    label: str | None
    spans: tuple[tuple[int, int], ...]

    @property
    def num_frames(self) -> int:
        """Frames of all its shots."""
        return sum(count for _, count in self.spans)


@dataclass(frozen=True)
class Piece:
    """A shot, or the part of one that lies on one side.

    Args:
        key: content hash of its source.
        start: first frame, counted in the source's frames.
        count: number of frames.
        side: where it belongs.
    """

    key: str
    start: int
    count: int
    side: Side


def split(
    footage: Sequence[Footage], *, validation_share: float, test_share: float, rate: Fraction, has_groups: bool
) -> tuple[list[Piece], str]:
    """Give every shot a side. The same footage is always divided in the same way, whatever its files are called.

    Args:
        footage: every source that is used.
        validation_share: of the frames, in [0, 1).
        test_share: of the frames, in [0, 1).
        rate: frames per second.
        has_groups: whether a groups.csv was given. A source it does not name is a group of its own.

    Returns:
        The pieces in the order of the footage, and a line that says how it was divided.
    """
    gap = max(1, round(GAP_S * float(rate)))
    shares = (validation_share, test_share)
    groups = _grouped(footage, by_file=False)
    word = "groups" if has_groups else "files"
    if has_groups and len(groups) == 1 < len(footage):
        # One person everywhere: nobody can be kept apart, so the files are.
        has_groups, word, groups = False, "files of the one group", _grouped(footage, by_file=True)
    if len(groups) == 1:
        return _ends(footage, {}, shares, gap, "by time, since there is one file only")
    sides = dict.fromkeys(groups, SIDES[0])
    if len(groups) >= MANY_GROUPS:
        sides = _many(groups, validation_share, test_share)
    elif test_share > 0 and (spare := _spare(groups, sides)):
        sides[min(spare, key=lambda name: (_size(groups[name]), _order(name)))] = "test"
    how = f"by {word}: {_counts(sides, word)}"
    wanted = (("test", test_share), ("validation", validation_share))
    lacking = [side for side, share in wanted if share > 0 and side not in sides.values()]
    if not lacking:
        return _whole(footage, groups, sides), how
    if has_groups:
        why = "no other can be spared: the last of a label, or too short"
        if len(groups) < MANY_GROUPS and lacking == ["validation"]:
            why = f"{MANY_GROUPS} groups would give some for validation"
        return _whole(footage, groups, sides), f"{how} ({why})"
    if "test" in lacking:  # then nothing was held back at all
        return _ends(footage, {}, shares, gap, f"by time, since none of the {word} can be spared")
    of_file = {one.key: sides[name] for name, members in groups.items() for one in members}
    return _ends(footage, of_file, (validation_share, 0.0), gap, f"{how} but the ends of the training {word}")


def _grouped(footage: Sequence[Footage], *, by_file: bool) -> dict[str, list[Footage]]:
    groups: dict[str, list[Footage]] = {}
    for one in footage:
        name = f"file {one.key}" if by_file or one.group is None else f"group {one.group}"
        groups.setdefault(name, []).append(one)
    return groups


# --- whole groups -----------------------------------------------------------------------------------------------------


def _many(groups: Mapping[str, Sequence[Footage]], validation_share: float, test_share: float) -> dict[str, Side]:
    """Take groups in an order that only their names and contents decide, until each side has its share."""
    sides: dict[str, Side] = dict.fromkeys(groups, SIDES[0])
    total = sum(_size(members) for members in groups.values())
    wanted: tuple[tuple[Side, float], ...] = (("test", test_share), ("validation", validation_share))
    for number, (side, share) in enumerate(wanted, start=1):
        # One group at the least stays for training, and one for each side that comes after this.
        keep = 1 + sum(1 for _, later in wanted[number:] if later > 0)
        # Many small groups beside one long film: their number counts as well as their frames, or variety would be lost.
        most = max(1, round(2 * share * len(groups)))
        taken = number_taken = 0
        while taken < share * total and number_taken < most:
            spare = _spare(groups, sides)
            if not spare or sum(one == "train" for one in sides.values()) <= keep:
                break
            room = share * total - taken

            def badness(name: str, room: float = room) -> tuple[bool, str]:
                # One long film among many short clips would make a side of its own.
                return _size(groups[name]) > 2 * max(room, total / len(groups)), _order(name)

            best = min(spare, key=badness)
            if taken and (badness(best)[0] or _short(groups[best]) or _size(groups[best]) > 1.5 * room):
                break
            sides[best] = side
            taken += _size(groups[best])
            number_taken += 1
    return sides


def _spare(groups: Mapping[str, Sequence[Footage]], sides: Mapping[str, Side]) -> list[str]:
    """The training groups that hold no label's last footage; too short ones only where there are no others."""
    labels = {name: {one.label for one in groups[name]} - {None} for name, side in sides.items() if side == "train"}
    left = Counter(label for found in labels.values() for label in found)
    free = [name for name, found in labels.items() if all(left[label] > 1 for label in found)]
    long = [name for name in free if not _short(groups[name])]
    return long or (free if all(_short(members) for members in groups.values()) else [])


def _whole(
    footage: Sequence[Footage], groups: Mapping[str, Sequence[Footage]], sides: Mapping[str, Side]
) -> list[Piece]:
    of_file = {one.key: sides[name] for name, members in groups.items() for one in members}
    return [Piece(one.key, start, count, of_file[one.key]) for one in footage for start, count in one.spans]


def _size(members: Sequence[Footage]) -> int:
    return sum(one.num_frames for one in members)


def _short(members: Sequence[Footage]) -> bool:
    return _size(members) < MIN_HELD_FRAMES


def _order(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _counts(sides: Mapping[str, Side], word: str) -> str:
    counts = Counter(sides.values())
    held = ", ".join(f"{counts[side] or 'none'} for {side}" for side in ("test", "validation"))
    return f"{counts['train']} of {len(sides)} {word} for training, {held}"


# --- in time ----------------------------------------------------------------------------------------------------------


def _ends(
    footage: Sequence[Footage], of_file: Mapping[str, Side], shares: tuple[float, float], gap: int, how: str
) -> tuple[list[Piece], str]:
    """Hold back the end of every training file that is long enough."""
    pieces: list[Piece] = []
    for one in footage:
        side = of_file.get(one.key, "train")
        pieces += _cut(one, _cuts(one.num_frames, shares, gap) if side == "train" else [(0, one.num_frames, side)])
    present = {piece.side for piece in pieces}
    missing = [side for side, share in zip(SIDES[1:], shares, strict=True) if share > 0 and side not in present]
    if missing:
        how += f"; too short to hold some back for {' and '.join(missing)}, so all of it is for training"
    return pieces, how


def _cuts(total: int, shares: tuple[float, float], gap: int) -> list[tuple[int, int, Side]]:
    """First frame, end and side of each part of a row of frames; the frames between the parts are the gaps.

    Everything is for training where a side would be too short to measure on.
    """
    held = [(side, round(share * total)) for side, share in zip(SIDES[1:], shares, strict=True) if share > 0]
    train = total - sum(count for _, count in held) - gap * len(held)
    if not held or min(count for _, count in held) < MIN_HELD_FRAMES or train < MIN_HELD_FRAMES:
        return [(0, total, "train")]
    cuts: list[tuple[int, int, Side]] = [(0, train, "train")]
    for side, count in held:
        start = cuts[-1][1] + gap
        cuts.append((start, start + count, side))
    return cuts


def _cut(one: Footage, cuts: Sequence[tuple[int, int, Side]]) -> list[Piece]:
    """The parts of one source's shots that lie in each part of its row of frames."""
    pieces = []
    place = 0
    for start, count in one.spans:
        for first, end, side in cuts:
            low, high = max(first, place), min(end, place + count)
            if low < high:
                pieces.append(Piece(one.key, start + low - place, high - low, side))
        place += count
    return pieces
