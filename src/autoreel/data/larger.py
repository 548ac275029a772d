"""A store of the footage that a run learned from, at twice or four times its size: what enlarging is learned from.

What was held back from the run must be held back here too, else the run would be measured on what it learned:

    the run's   train.............. gap  test....
    larger      train.............. gap  test....    the same file, the same seconds, the same side
"""

from __future__ import annotations

from collections import defaultdict

from autoreel.data.store import FootageStore, Shot
from autoreel.errors import FootageError

TIMES = (2, 4)  # sizes that are of use


def times_larger(store: FootageStore, larger: FootageStore) -> int:
    """How many times as large the second store's frames are; it is the same footage, divided in the same way.

    Args:
        store: what a run learned from.
        larger: the same footage, prepared at another size.

    Raises:
        FootageError: it is not.
    """
    height, width = store.size
    times = larger.size[0] // height
    if times not in TIMES or larger.size != (times * height, times * width):
        sizes = " or ".join(f"{n * width}x{n * height}" for n in TIMES)
        raise FootageError(
            f"{larger.path}: its frames are {larger.size[1]}x{larger.size[0]}, the run's {width}x{height}; prepare the "
            f"footage with --size {sizes}"
        )
    if larger.rate != store.rate or larger.config.fit != store.config.fit:
        raise FootageError(
            f"{larger.path}: prepared with --fit {larger.config.fit} at {float(larger.rate):g} frames per second, the "
            f"run's footage with --fit {store.config.fit} at {float(store.rate):g}; prepare it again the same way"
        )
    known: dict[str, list[Shot]] = defaultdict(list)
    for shot in store.shots:
        known[shot.source_hash].append(shot)
    for shot in larger.shots:
        for other in known.get(shot.source_hash, ()):
            if shot.split != other.split and _overlap_s(shot, other, float(store.rate)) > 0:
                raise FootageError(
                    f"{larger.path}: {shot.source} is for {shot.split} here and for {other.split} in the run's "
                    "footage; prepare the same files with the same settings, so that what was held back stays held back"
                )
        if shot.source_hash not in known:
            raise FootageError(
                f"{larger.path}: {shot.source} is not in the run's footage; prepare the same files, and no others"
            )
    return times


def _overlap_s(one: Shot, other: Shot, rate: float) -> float:
    """Seconds that two shots of a file share, a frame less for rounding; zero or less when none."""
    first = max(one.start_s, other.start_s)
    last = min(one.start_s + one.num_frames / rate, other.start_s + other.num_frames / rate)
    return last - first - 1.0 / rate
