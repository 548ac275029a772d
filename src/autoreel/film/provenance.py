"""What a film says of itself: in its metadata that it is generated, and in `film.json` how to make it again."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autoreel.errors import RunError
from autoreel.film.layout import Layout, Placed
from autoreel.film.storyboard import GENERATED_VERBS, LATENT_TRANSITIONS, REPAINTED_VERBS, Storyboard, plain_values
from autoreel.generation.clips import NOTICES
from autoreel.media import watermark
from autoreel.runs import RunFolder, atomic_write_text

RECORD_VERSION = 1
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


def kind_of_film(storyboard: Storyboard) -> str:
    """`generated`, `rebuilt`, `mixed` or `original`."""
    kinds = {KIND_OF_VERB[shot.verb] for shot in storyboard.shots} - {"plain"}
    ways = {shot.transition.kind for shot in storyboard.shots if shot.transition is not None}
    kinds |= {KIND_OF_VERB[way] for way in ways.intersection(LATENT_TRANSITIONS)}
    if kinds <= {"original"}:
        return "original"
    return kinds.pop() if len(kinds) == 1 else "mixed"


def metadata(storyboard: Storyboard) -> dict[str, str]:
    """The tags that go into the film's file."""
    tags = {"comment": NOTICE[kind_of_film(storyboard)]}
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


def kinds_seen(layout: Layout) -> list[frozenset[str]]:
    """What each frame of a film shows: `generated`, `rebuilt`, `original`, `plain`; several where shots meet.

    A transition that the model paints counts as what the model made of it, beside both shots.
    """
    seen: list[set[str]] = [set() for _ in range(layout.num_frames)]
    for placed in layout.placed:
        spans = [(KIND_OF_VERB[placed.shot.verb], placed.start, placed.num_frames)]
        if placed.into is not None and placed.into.kind in LATENT_TRANSITIONS:
            begin = placed.first - placed.into_frames // 2
            spans.append((KIND_OF_VERB[placed.into.kind], begin, placed.into_frames))
        for kind, begin, length in spans:
            for frame in range(max(0, begin), min(layout.num_frames, begin + length)):
                seen[frame].add(kind)
    return [frozenset(kinds) for kinds in seen]


def shows_model(layout: Layout) -> list[bool]:
    """Whether something that a model made is seen, for each frame of a film; these carry the mark."""
    return [not kinds.isdisjoint(MADE_BY_MODEL) for kinds in kinds_seen(layout)]


def timeline(layout: Layout) -> list[dict[str, Any]]:
    """`kinds_seen` as spans without gaps or overlaps."""
    spans: list[dict[str, Any]] = []
    for frame, kinds in enumerate(kinds_seen(layout)):
        if not spans or spans[-1]["kinds"] != sorted(kinds):
            spans.append({"start_s": _seconds(frame, layout), "end_s": 0.0, "kinds": sorted(kinds)})
        spans[-1]["end_s"] = _seconds(frame + 1, layout)
    return spans


def statement(storyboard: Storyboard, layout: Layout, run_hash: str | None) -> dict[str, Any]:
    """What a signed manifest says besides the kind of film: short, and with nothing of the person's own."""
    seeds = [shot.seed for shot in storyboard.shots if shot.seed is not None]
    return {"run_hash": run_hash, "timeline": timeline(layout), "seeds": seeds, "versions": versions()}


def digest(film: Path) -> str | None:
    """The SHA-256 of a film's file; None for a folder of pictures.

    Raises:
        OSError: it cannot be read.
    """
    if not film.is_file():
        return None
    with film.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_marked(record: Path) -> bool:
    """Whether the film that a record tells of carries the mark; none that was made before there was one does."""
    return json.loads(record.read_text(encoding="utf-8")).get("watermark") is not None


def record(
    storyboard: Storyboard, layout: Layout, *, film: Path, path: Path, run_hash: str | None, wall_s: float,
    is_marked: bool,
) -> dict[str, Any]:  # fmt: skip
    """All that is needed to make a film again, and which of its seconds are generated.

    Args:
        storyboard: what was rendered.
        layout: its timeline.
        film: the film's file.
        path: where the record will stand; paths in it are relative to that place.
        run_hash: as `hash_of_run` gives it.
        wall_s: how long the rendering took.
        is_marked: the frames of a model carry the mark.
    """
    return {
        "record": RECORD_VERSION,
        "film": film.name,
        "sha256": digest(film),
        "ai_generated": kind_of_film(storyboard) != "original",
        "notice": NOTICE[kind_of_film(storyboard)],
        "num_frames": layout.num_frames,
        "duration_s": float(layout.num_frames / layout.rate),
        "rendered_in_s": round(wall_s, 2),
        "run_hash": run_hash,
        "upscaler": upscaler_hash(storyboard),
        "watermark": {"version": watermark.VERSION, "run_id": watermark.run_id(run_hash)} if is_marked else None,
        "versions": versions(),
        "timeline": timeline(layout),
        "spans": [_span(placed, layout) for placed in layout.placed],
        "storyboard": plain_values(storyboard, path.absolute().parent),
    }


def write_record(values: dict[str, Any], path: Path) -> None:
    """Write the record as JSON.

    Raises:
        OutputError: it cannot be written.
    """
    atomic_write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def differences(path: Path, run_hash: str | None, upscaler: str | None = None) -> list[str]:
    """Why a film made again from its record may not be the same, one line each; nothing when it will be.

    Args:
        path: the record, already read once as a storyboard.
        run_hash: as `hash_of_run` gives it now.
        upscaler: as `upscaler_hash` gives it now.
    """
    before = json.loads(path.read_text(encoding="utf-8"))
    lines = []
    if before.get("run_hash") not in (None, run_hash):
        lines.append("the run was trained on since this film was made, or its config changed: its pictures will differ")
    if before.get("upscaler") not in (None, upscaler):
        lines.append("what enlarges its shots was trained on since this film was made: its pictures will differ")
    now, then = versions(), before.get("versions") or {}
    changed = [f"{name} {then[name]} is now {now[name]}" for name in now if then.get(name, now[name]) != now[name]]
    if changed:
        lines.append(f"made with other versions, pictures may differ a little: {', '.join(changed)}")
    return lines


def versions() -> dict[str, str]:
    """Of everything that decides how a frame looks."""
    found = {"python": platform.python_version()}
    for package in ("autoreel", "torch", "numpy", "pillow", "av"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a source tree that was never installed
            found[package] = "unknown"
    return found


def _span(placed: Placed, layout: Layout) -> dict[str, Any]:
    """When a shot is seen, its transitions included: in a crossfade two spans overlap."""
    return {
        "shot": placed.number,
        "kind": KIND_OF_VERB[placed.shot.verb],
        "verb": placed.shot.verb,
        "start_s": _seconds(placed.start, layout),
        "end_s": _seconds(placed.start + placed.num_frames, layout),
    }


def _seconds(frame: int, layout: Layout) -> float:
    return round(float(frame / layout.rate), 6)
