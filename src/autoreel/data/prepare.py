"""From folders of footage to a store that models learn from: good files go in, bad ones are listed with the reason.

    scan -> for each source: decode in the jail -> shots -> shard    -> duplicates -> split -> index
                             |                                            |
                             `-- damaged: left out, and why --------------`--> rejects.jsonl

Every finished source has its shard and its record on the disk, so that a stopped preparation goes on where it was. The
index is written last and whole: a store is there completely or not at all.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from autoreel.config import DataConfig
from autoreel.data.scan import Reject, Scan, Source, scan, shown
from autoreel.data.shard import KeptShot, Record, load_record, read_source, save_record, settings_key
from autoreel.data.shots import duplicates
from autoreel.data.split import Footage, split
from autoreel.data.store import (
    INDEX_NAME,
    REJECTS_NAME,
    SHARDS_NAME,
    FootageStore,
    Shot,
    read_index,
    store_key,
    write_index,
)
from autoreel.errors import AutoreelError, FootageError, MediaError, OutputError, RunLockedError, translate_os_error
from autoreel.media.probe import probe
from autoreel.runs import atomic_write_text, make_folder

HIGHEST_RATE = Fraction(30)  # unless the config asks for more: motion is seen well, and fewer frames are to be made
USUAL_RATE = Fraction(25)  # of pictures, which have none
Report = Callable[[str], None]


@dataclass(frozen=True)
class PrepareResult:
    """What was prepared.

    Args:
        store: the store, open.
        num_shots: how many shots it holds.
        num_rejects: how many files and spans were left out; they stand in rejects.jsonl.
        made: False when the store was there already and nothing had to be done.
    """

    store: FootageStore
    num_shots: int
    num_rejects: int
    made: bool


def prepare(
    sources: Sequence[Path], store: Path, config: DataConfig, *, retry: bool = True, report: Report | None = None
) -> PrepareResult:
    """Prepare footage for training.

    The same footage and settings give the same store; when it is there, nothing is done. When files were added or taken
    away, only the new ones are decoded. One bad file never stops the others.

    A file that the disk did not give, that took too long or whose decoder was killed is tried again by the next call.

    Args:
        sources: files and folders with footage; see `scan` for labels and groups.
        store: folder of the store; made when it is absent.
        config: size, fit, rate, shares of the split.
        retry: False where something learned from this store already: then it stays as it is, less such files.
        report: is told each step in a line.

    Returns:
        The open store and what was left out.

    Raises:
        FootageError: a folder is absent, holds no video, or nothing in it can be used; or the store holds footage
            prepared with other settings or by another version.
        OutputError: the store cannot be written.
        JailError: this machine cannot open untrusted files safely.
    """
    say = report or (lambda line: None)
    store = Path(store)
    found = scan(sources)
    given = ", ".join(shown(source) for source in sources)
    for note in found.notes:
        say(f"note: {note}")
    if not found.sources:
        raise FootageError(f"{given}: no video found there{_why(found.rejects)}")
    key = store_key(config, [(source.sha256, source.label, source.group) for source in found.sources])
    _check_place(store)
    with _locked(store), _written_to(store):
        index = read_index(store)
        if index is not None:
            _check_settings(store, index, config)
            if index["key"] == key and not (retry and _unsettled(store, found)):
                opened = FootageStore.open(store)
                say(f"{store}: already prepared, {_size_line(opened)}")
                return PrepareResult(opened, len(opened.shots), opened.num_rejects, made=False)
        _remove_leftovers(store)
        if config.fps is None:
            say(f"looking at {len(found.sources)} files for their frame rate")
        rate = _rate(found, config)
        records = _read_all(found, store, config, rate, say)
        opened = _finish(found, records, store, config, rate, key, given)
    say(f"{store}: {_size_line(opened)}; {opened.how_split}")
    if opened.num_rejects:
        say(f"{store / REJECTS_NAME}: {opened.num_rejects} left out, with their reasons")
    if unsettled := _unsettled(store, found):
        say(f"note: {len(unsettled)} of them may go well another time, the first: {unsettled[0].name}")
    return PrepareResult(opened, len(opened.shots), opened.num_rejects, made=True)


def _read_all(found: Scan, store: Path, config: DataConfig, rate: Fraction, say: Report) -> list[Record]:
    """Every source in its shard; what an earlier preparation with the same settings read is not read again."""
    settings = settings_key(config, rate)
    records = []
    for number, source in enumerate(found.sources, start=1):
        head = f"[{number}/{len(found.sources)}] {source.name}: "
        shard = store / SHARDS_NAME / f"{source.sha256}.u8"
        record = load_record(shard, settings, source, config)
        if record is None:
            if shard.exists():
                (store / INDEX_NAME).unlink(missing_ok=True)  # it speaks of the shard that goes now
            record = read_source(source, shard, config, rate, partial(_say_after, say, head))
            if record.settled:
                save_record(shard, settings, record)
            else:  # nothing is remembered of what may go well the next time
                shard.with_suffix(".json").unlink(missing_ok=True)
        records.append(record)
        seconds = float(sum(shot.count for shot in record.shots) / rate)
        good = f"{len(record.shots)} shot{'s' * (len(record.shots) != 1)}, {seconds:.1f} s"
        say(head + (good if record.shots else record.rejects[0].reason))
    return records


def _unsettled(store: Path, found: Scan) -> list[Source]:
    """What the last preparation could not settle: every other source has its record."""
    return [source for source in found.sources if not (store / SHARDS_NAME / f"{source.sha256}.json").exists()]


def _say_after(say: Report, head: str, line: str) -> None:
    say(head + line)


def _rate(found: Scan, config: DataConfig) -> Fraction:
    """The rate that is asked for, or the median of what the files say.

    A higher one than 30 frames per second is divided by a whole number: evenly left-out frames keep motion even.
    """
    if config.fps is not None:
        return Fraction(config.fps).limit_denominator(1001)
    rates = []
    for source in found.sources:
        if not source.is_pictures:
            try:
                rate = probe(source.paths[0]).rate
            except (MediaError, OSError):
                continue  # decoding it will say why
            if rate is not None and rate > 0:
                rates.append(rate)
    median = sorted(rates)[(len(rates) - 1) // 2] if rates else USUAL_RATE
    median = max(median.limit_denominator(1001), Fraction(1))
    return median / math.ceil(median / HIGHEST_RATE)


def _finish(
    found: Scan, records: Sequence[Record], store: Path, config: DataConfig, rate: Fraction, key: str, given: str
) -> FootageStore:
    rejects = [*found.rejects, *(reject for record in records for reject in record.rejects)]
    kept = _without_duplicates(found.sources, records, rate, rejects)
    lines = [json.dumps(_as_row(reject), ensure_ascii=False) + "\n" for reject in rejects]
    atomic_write_text(store / REJECTS_NAME, "".join(lines))
    used = [one for one in zip(found.sources, records, kept, strict=True) if one[2]]
    if not used:
        raise FootageError(f"{given}: nothing there can be used{_why(rejects)}; see {store / REJECTS_NAME}")
    pieces, how = split(
        [
            Footage(source.sha256, source.group, source.label, tuple((shot.start, shot.count) for shot in shots))
            for source, _, shots in used
        ],
        validation_share=config.validation_share,
        test_share=config.test_share,
        rate=rate,
        has_groups=found.has_groups,
    )
    by_key = {source.sha256: (source, record) for source, record, _ in used}
    table = []
    for piece in pieces:
        source, record = by_key[piece.key]
        shot = next(shot for shot in record.shots if shot.start <= piece.start < shot.start + shot.count)
        table.append(
            Shot(
                id=f"{source.sha256[:12]}-{piece.start}",
                source=source.name,
                source_hash=source.sha256,
                label=source.label,
                split=piece.side,
                num_frames=piece.count,
                group=source.group,
                start_s=round(record.start_s + float(piece.start / rate), 6),
                offset=shot.offset + piece.start - shot.start,
            )
        )
    shards = {s.sha256: {"num_frames": record.num_frames, "sha256": record.sha256} for s, record, _ in used}
    write_index(
        store, key=key, config=config, rate=rate, shots=table, shards=shards, how_split=how, num_rejects=len(rejects)
    )
    wanted = {source.sha256 for source in found.sources}
    for path in (store / SHARDS_NAME).iterdir():
        if path.stem not in wanted:
            path.unlink()
    return FootageStore.open(store)


def _without_duplicates(
    sources: Sequence[Source], records: Sequence[Record], rate: Fraction, rejects: list[Reject]
) -> list[list[KeptShot]]:
    """The shots of each source that no earlier shot shows already; the others are added to the rejects."""
    flat = [(i, shot) for i, record in enumerate(records) for shot in record.shots]
    repeats = duplicates([shot.signature for _, shot in flat], [shot.count for _, shot in flat])
    kept: list[list[KeptShot]] = [[] for _ in sources]
    for place, (i, shot) in enumerate(flat):
        first = repeats.get(place)
        if first is None:
            kept[i].append(shot)
            continue
        j, shown = flat[first]
        at = records[j].start_s + float(shown.start / rate)
        start_s = records[i].start_s + float(shot.start / rate)
        reason = f"shows the same as {sources[j].name} at {at:.2f} s, which is used"
        rejects.append(Reject(sources[i].name, reason, start_s, start_s + float(shot.count / rate)))
    return kept


def _as_row(reject: Reject) -> dict[str, Any]:
    def rounded(seconds: float | None) -> float | None:
        return None if seconds is None else round(seconds, 3)

    start_s, end_s = rounded(reject.start_s), rounded(reject.end_s)
    return {"file": reject.file, "reason": reject.reason, "start_s": start_s, "end_s": end_s}


def _why(rejects: Sequence[Reject]) -> str:
    if not rejects:
        return ""
    return f" ({len(rejects)} left out, the first: {rejects[0].file}: {rejects[0].reason})"


def _size_line(store: FootageStore) -> str:
    seconds = float(sum(shot.num_frames for shot in store.shots) / store.rate)
    height, width = store.size
    labels = f", {len(store.labels)} labels" if store.labels else ""
    return f"{len(store.shots)} shots, {seconds:.1f} s of {width}×{height} at {float(store.rate):g} fps{labels}"


# --- the folder -------------------------------------------------------------------------------------------------------


def _check_place(store: Path) -> None:
    """Make the folder; other people's files are never mixed with ours."""
    if store.exists() and not store.is_dir():
        raise OutputError(f"cannot write {store}: it is a file, and a store is a folder; choose another name")
    try:
        make_folder(store)
        names = {path.name for path in store.iterdir()}
        if names and INDEX_NAME not in names and SHARDS_NAME not in names:
            raise OutputError(f"cannot write {store}: it is a folder with other files in it; choose a new one")
        make_folder(store / SHARDS_NAME)
    except OSError as error:
        raise translate_os_error(error, store) from error


def _check_settings(store: Path, index: dict[str, Any], config: DataConfig) -> None:
    before, now = index["config"], config.model_dump(mode="json")
    changed = [f"{name} {before.get(name)}, now {value}" for name, value in now.items() if before.get(name) != value]
    if changed:
        raise FootageError(
            f"{store}: holds footage prepared with other settings ({'; '.join(changed)}); "
            "choose another folder for the store, or delete that one"
        )


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    """One preparation at a time; the lock ends with the process."""
    try:
        descriptor = os.open(store / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:  # what it leads to would be made, outside the store
            raise OutputError(f"cannot write {store / '.lock'}: it is a link; delete it") from error
        raise translate_os_error(error, store) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunLockedError(f"{store}: another process prepares footage there; wait for its end") from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _written_to(store: Path) -> Iterator[None]:
    """Whatever the operating system refuses is said in a line about the store."""
    try:
        yield
    except OSError as error:
        if isinstance(error, AutoreelError):
            raise
        raise translate_os_error(error, store) from error


def _remove_leftovers(store: Path) -> None:
    """What a killed preparation left half written."""
    for folder in (store, store / SHARDS_NAME):
        for path in folder.glob(".*.part*"):
            path.unlink(missing_ok=True)
