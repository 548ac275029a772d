"""What a film says of itself: in its metadata that it is generated, and in `film.json` how to make it again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any, NamedTuple

from autoreel.errors import MediaError, RunError
from autoreel.film.effects import InsetEffect, SplitEffect
from autoreel.film.layout import Layout, Placed
from autoreel.film.storyboard import (
    GENERATED_VERBS,
    LATENT_TRANSITIONS,
    REPAINTED_VERBS,
    Shot,
    Storyboard,
    absolute,
    plain_values,
    relative,
)
from autoreel.generation.clips import NOTICES
from autoreel.media import watermark
from autoreel.runs import RunFolder, sync

Kinds = frozenset[str]  # of `generated`, `rebuilt`, `original`, `plain`

RECORD_VERSION = 1
MUCH_BYTES = 1 << 30  # of material, which take seconds to read
KIND_OF_VERB = {
    **dict.fromkeys(GENERATED_VERBS, "generated"), **dict.fromkeys(REPAINTED_VERBS, "rebuilt"),
    "material": "original", "still": "original", "card": "plain",
}  # fmt: skip
UPSCALER = "upscale.safetensors"  # changes how large pictures look, and nothing that is kept or marked
MADE_BY_MODEL = ("generated", "rebuilt")
NOTICE = {
    "generated": NOTICES["generate"],
    "rebuilt": NOTICES["rebuild"],
    "mixed": "Partly AI-generated with autoreel: the record beside this file tells the generated seconds from others.",
    "original": "Edited with autoreel; no picture in it was made by a model.",
}
KINDS_OF_NOTICE: dict[str, Kinds] = {
    **{notice: frozenset({KIND_OF_VERB[verb]}) for verb, notice in NOTICES.items()},
    NOTICE["mixed"]: frozenset({"generated", "original"}),  # which seconds, only its record tells
    NOTICE["original"]: frozenset({"original"}),
}


class Stretch(NamedTuple):
    """Frames of a film, from `first` to before `last`, that show the same kinds."""

    first: int
    last: int
    kinds: Kinds


def told_by(texts: Mapping[str, str]) -> tuple[str, Kinds] | None:
    """What the metadata of a file say of its pictures, where autoreel wrote them: the text, and the kinds it means."""
    for text in texts.values():
        for notice, kinds in KINDS_OF_NOTICE.items():
            if text.startswith(notice):
                return text, kinds
    return None


def kind_of_film(seen: Iterable[Stretch]) -> str:
    """`generated`, `rebuilt`, `mixed` or `original`, by what the frames of a film, or of a part of it, show."""
    kinds = set[str]().union(*(stretch.kinds for stretch in seen)) - {"plain"}
    if kinds <= {"original"}:
        return "original"
    return kinds.pop() if len(kinds) == 1 else "mixed"


def metadata(storyboard: Storyboard, kind: str) -> dict[str, str]:
    """The tags that go into the file of a film of that kind."""
    tags = {"comment": NOTICE[kind]}
    if storyboard.titles:
        tags["title"] = " ".join(storyboard.titles[0].text.split())
    return tags


def hash_of_run(storyboard: Storyboard) -> str | None:
    """The hash of the weights a film is made with, and of how its run samples with them.

    Returns:
        None when the storyboard's run is not a run folder on this disk, or has no weights.
    """
    return None if storyboard.run is None else hash_of_folder(Path(storyboard.run))


def hash_of_folder(path: Path) -> str | None:
    """`hash_of_run` for a run folder."""
    try:
        folder = RunFolder.open(path)
        weights, config = folder.manifest.weights, folder.config
    except RunError:
        return None
    if not weights:
        return None
    # A person may edit these in the run's config.toml; all else there has gone into the weights.
    sampling = [config.prior.steps, config.prior.guidance, config.prior.context_noise, config.prior.window]
    settings = hashlib.sha256(json.dumps([*sampling, config.data.fit]).encode()).hexdigest()
    return "+".join([*(weights[name].sha256 or "" for name in sorted(weights) if name != UPSCALER), settings[:16]])


def upscaler_hash(storyboard: Storyboard) -> str | None:
    """The hash of what a film's shots are enlarged with; None where that is Lanczos."""
    if storyboard.canvas.upscale != "learned" or storyboard.run is None:
        return None
    try:
        found = RunFolder.open(Path(storyboard.run)).manifest.weights.get(UPSCALER)
    except RunError:
        return None
    return found.sha256 if found is not None else None


def kinds_seen(layout: Layout, part: range, files: Mapping[str, Kinds]) -> list[Stretch]:
    """What the frames of a film show: `generated`, `rebuilt`, `original`, `plain`; several where shots meet.

    A transition that the model paints counts as what the model made of it, beside both shots.

    Args:
        layout: the timeline of the whole film.
        part: the frames that are asked for.
        files: what each file of material shows; `original` for others.

    Returns:
        Stretches without gaps, from the first frame of the part to its last, each of other kinds than the one before.
    """
    changes: dict[int, Counter[str]] = defaultdict(Counter)
    for placed in layout.placed:
        spans = [(kinds_of_shot(placed.shot, files), placed.start, placed.num_frames)]
        if placed.into is not None and placed.into.kind in LATENT_TRANSITIONS:
            begin = placed.first - placed.into_frames // 2
            spans.append((frozenset({KIND_OF_VERB[placed.into.kind]}), begin, placed.into_frames))
        for kinds, begin, length in spans:
            for kind in kinds:
                changes[min(part.stop, max(part.start, begin))][kind] += 1
                changes[max(part.start, min(part.stop, begin + length))][kind] -= 1
    seen: list[Stretch] = []
    now: Counter[str] = Counter()
    for first, last in pairwise(sorted({*changes, part.stop})):
        now.update(changes[first])
        kinds = frozenset(kind for kind, count in now.items() if count)
        if seen and seen[-1].kinds == kinds:
            seen[-1] = seen[-1]._replace(last=last)
        else:
            seen.append(Stretch(first, last, kinds))
    return seen


def kinds_of_shot(shot: Shot, files: Mapping[str, Kinds]) -> Kinds:
    """What a shot shows, with the clips that its effects put beside it."""

    def of_files(*names: str | None) -> Kinds:
        return frozenset().union(*(files.get(name, {"original"}) for name in names if name is not None))

    kinds = frozenset({KIND_OF_VERB[shot.verb]})
    if shot.verb in ("material", "still"):
        kinds = of_files(shot.source)
    elif shot.verb in REPAINTED_VERBS:  # painted again, something made up stays made up
        kinds |= of_files(shot.source, shot.to) & {"generated"}
    return kinds | of_files(*(effect.file for effect in shot.effects if isinstance(effect, InsetEffect | SplitEffect)))


def of_each_frame(seen: Iterable[Stretch]) -> Iterator[Kinds]:
    """The kinds of one frame after the other."""
    for stretch in seen:
        yield from repeat(stretch.kinds, stretch.last - stretch.first)


def shows_model(kinds: Kinds) -> bool:
    """Whether something that a model made is seen in a frame; then it carries the mark."""
    return not kinds.isdisjoint(MADE_BY_MODEL)


def timeline(seen: Sequence[Stretch], rate: Fraction) -> list[dict[str, Any]]:
    """What the frames of a film show, as spans without gaps or overlaps; times from its first frame on."""
    start = seen[0].first
    return [
        {"start_s": _seconds(first - start, rate), "end_s": _seconds(last - start, rate), "kinds": sorted(kinds)}
        for first, last, kinds in seen
    ]


def statement(layout: Layout, part: range, seen: Sequence[Stretch], run_hash: str | None) -> dict[str, Any]:
    """What a signed manifest says besides the kind of film: short, and with nothing of the person's own.

    Args:
        layout: the timeline of the whole film.
        part: its frames that the file has.
        seen: what these show.
        run_hash: as `hash_of_run` gives it.
    """
    seeds = [placed.shot.seed for placed in layout.placed if placed.shot.seed is not None and _within(placed, part)]
    return {"run_hash": run_hash, "timeline": timeline(seen, layout.rate), "seeds": seeds, "versions": versions()}


def digest(film: Path) -> str | None:
    """The SHA-256 of a film's file; None for a folder of pictures.

    Raises:
        OSError: it cannot be read.
    """
    if not film.is_file():
        return None
    with film.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(paths: Iterable[Path], report: Callable[[str], None] | None = None) -> dict[str, str]:
    """The SHA-256 of each file that a film is made of, by its path; one that stays as it is, is read once.

    Args:
        paths: of the files.
        report: told in one line when there is so much of them that it takes a while.

    Raises:
        MediaError: one cannot be read.
    """
    found: dict[Path, os.stat_result] = {}
    for path in paths:
        try:
            found[path] = path.stat()
        except OSError as error:
            raise MediaError(f"{path}: cannot be read: {error.strerror}") from None
    size_bytes = sum(status.st_size for status in found.values())
    if size_bytes > MUCH_BYTES and report is not None:
        report(f"film: {size_bytes / 1e9:.1f} GB of material are read once for the film's record")
    return {str(path): _digest_of(path, status) for path, status in found.items()}


def _digest_of(path: Path, status: os.stat_result) -> str:
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    try:
        return _digest_in_state(path.absolute(), state)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read: {error.strerror}") from None


@lru_cache(maxsize=1 << 14)  # an edit renders many parts of a film from the same files
def _digest_in_state(path: Path, state: tuple[int, ...]) -> str:
    """The SHA-256 of a file while it is in a state; empty for what is no file."""
    return digest(path) or ""


def is_marked(record: Path) -> bool:
    """Whether the film that a record tells of carries the mark; none that was made before there was one does."""
    return json.loads(record.read_text(encoding="utf-8")).get("watermark") is not None


def record(
    storyboard: Storyboard, layout: Layout, *, part: range, seen: Sequence[Stretch], files: Mapping[str, Kinds],
    inputs: Mapping[str, str], film: str, sha256: str | None, path: Path, run_hash: str | None,
    computed_on: str | None, wall_s: float, is_marked: bool, delivery: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """All that is needed to make a film again, and which of its seconds are generated.

    Args:
        storyboard: what was rendered.
        layout: the timeline of the whole film.
        part: its frames that the file has.
        seen: what these show, as `kinds_seen` tells.
        files: what each file of material shows.
        inputs: as `digests` gives them.
        film: the name of the film's file.
        sha256: its digest.
        path: where the record will stand; paths in it are relative to that place.
        run_hash: as `hash_of_run` gives it.
        computed_on: the device and the number format of the run; None where there is none.
        wall_s: how long the rendering took.
        is_marked: the frames of a model carry the mark.
        delivery: how the file was written, as `Delivery.as_record` tells it.
    """
    kind, rate, folder = kind_of_film(seen), layout.rate, path.absolute().parent
    values = {
        "record": RECORD_VERSION,
        "film": film,
        "sha256": sha256,
        "ai_generated": kind != "original",
        "notice": NOTICE[kind],
        "num_frames": len(part),
        "duration_s": float(len(part) / rate),
        "rendered_in_s": round(wall_s, 2),
        "run_hash": run_hash,
        "upscaler": upscaler_hash(storyboard),
        "computed_on": computed_on,
        "watermark": {"version": watermark.VERSION, "run_id": watermark.run_id(run_hash)} if is_marked else None,
        "versions": versions(),
        "delivery": dict(delivery),
        "timeline": timeline(seen, rate),
        "spans": [_span(placed, part, rate, files) for placed in layout.placed if _within(placed, part)],
        "inputs": [
            {"file": relative(name, folder), "sha256": sha256, "shows": sorted(files.get(name, ()))}
            for name, sha256 in inputs.items()
        ],
        "storyboard": plain_values(storyboard, folder),
    }
    if len(part) < layout.num_frames:
        values["part_s"] = [_seconds(part.start, rate), _seconds(part.stop, rate)]  # of the film
    return values


def write_record(values: dict[str, Any], path: Path) -> None:
    """Write the record as JSON, on the disk when this returns.

    Raises:
        OSError: it cannot be written.
    """
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sync(path)


def differences(
    path: Path, *, run_hash: str | None, upscaler: str | None, inputs: Mapping[str, str], computed_on: str | None
) -> list[str]:  # fmt: skip
    """Why a film made again from its record may not be the same, one line each; nothing when it will be.

    Args:
        path: the record, already read once as a storyboard.
        run_hash: as `hash_of_run` gives it now.
        upscaler: as `upscaler_hash` gives it now.
        inputs: as `digests` gives them now.
        computed_on: the device and the number format of the run; None where there is none.
    """
    before = json.loads(path.read_text(encoding="utf-8"))
    lines = []
    if before.get("run_hash") not in (None, run_hash):
        lines.append("the run was trained on since this film was made, or its config changed: its pictures will differ")
    if before.get("upscaler") not in (None, upscaler):
        lines.append("what enlarges its shots was trained on since this film was made: its pictures will differ")
    lines += [f"{name} is not the file that this film was made of: what is seen or heard of it will differ"
              for name, sha256 in _recorded_inputs(before, path.absolute().parent) if inputs.get(name) != sha256]
    then_on = before.get("computed_on")
    if None not in (then_on, computed_on) and then_on != computed_on:
        lines.append(f"made on {then_on}, and this is {computed_on}: its pictures may differ a little")
    now, then = versions(), before.get("versions")
    then = then if isinstance(then, Mapping) else {}
    changed = [f"{name} {then[name]} is now {now[name]}" for name in now if then.get(name, now[name]) != now[name]]
    if changed:
        lines.append(f"made with other versions, pictures may differ a little: {', '.join(changed)}")
    return lines


def _recorded_inputs(record: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    """The files that a film was made of, and their digests; the record may have been written by anybody."""
    entries = record.get("inputs")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("file"), str) and isinstance(entry.get("sha256"), str):
            yield absolute(entry["file"], folder), entry["sha256"]


def versions() -> dict[str, str]:
    """Of everything that decides how a frame looks."""
    found = {"python": platform.python_version()}
    for package in ("autoreel", "torch", "numpy", "pillow", "av"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a source tree that was never installed
            found[package] = "unknown"
    return found


def _within(placed: Placed, part: range) -> bool:
    """Whether a shot is seen in some frames of a film."""
    return placed.start < part.stop and placed.start + placed.num_frames > part.start


def _span(placed: Placed, part: range, rate: Fraction, files: Mapping[str, Kinds]) -> dict[str, Any]:
    """When a shot is seen, its transitions included: in a crossfade two spans overlap."""
    begin, end = max(placed.start, part.start), min(placed.start + placed.num_frames, part.stop)
    kinds = sorted(kinds_of_shot(placed.shot, files))
    return {
        "shot": placed.number,
        "kind": kinds[0] if len(kinds) == 1 else "mixed",
        "verb": placed.shot.verb,
        "start_s": _seconds(begin - part.start, rate),
        "end_s": _seconds(end - part.start, rate),
    }


def _seconds(frame: int, rate: Fraction) -> float:
    return round(float(frame / rate), 6)
