"""What can be told about where a film comes from: from its metadata, its record, its mark and its manifest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from autoreel.errors import ConfigError, MediaError, UsageError
from autoreel.film import provenance
from autoreel.film.document import beside, read_record
from autoreel.media import watermark, watermark_search
from autoreel.media.decode import FrameChunk, decode, decode_images
from autoreel.media.limits import FILM
from autoreel.media.manifest import INSTALL, UNTRUSTED, Manifest, is_installed, read_manifest, seems_to_hold_one
from autoreel.media.probe import MediaInfo, probe
from autoreel.media.watermark import GRID
from autoreel.media.written import written_texts

FOUND, NOTHING, DISAGREES = 0, 20, 21
Answer = Literal["found", "nothing found", "does not agree"]
ANSWERS: dict[int, Answer] = {FOUND: "found", NOTHING: "nothing found", DISAGREES: "does not agree"}
MAX_PICTURES = 3000  # of a folder; each is decoded in a process of its own


@dataclass(frozen=True)
class Record:
    """What the record beside a film says of it.

    Args:
        path: of the record.
        is_of_this_file: its SHA-256 is that of the film; None where it names none.
        notice: what the film shows.
        run_hash: of the run it was made with.
        is_marked: its frames of a model carry the mark.
        has_made_material: some of its material was made by a model, and may carry a mark of its own.
        timeline: (from, to, kinds) of all its seconds.
        versions: of the programs it was made with.
    """

    path: str
    is_of_this_file: bool | None
    notice: str
    run_hash: str | None
    is_marked: bool
    has_made_material: bool
    timeline: tuple[tuple[float, float, tuple[str, ...]], ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Verification:
    """All that was found.

    Args:
        file: that was looked at.
        info: what it is; None for a folder of pictures.
        texts: its metadata.
        notice: the sentence by which autoreel says in them what a film is; None where there is none.
        record: None where there is none.
        mark: None where none was found.
        mark_was_sought: whether it was looked for.
        manifest: the C2PA manifest; None where there is none, or it cannot be read here.
        notes: what the person should know besides.
        disagreements: what contradicts what.
    """

    file: str
    info: MediaInfo | None
    texts: Mapping[str, str]
    notice: str | None
    record: Record | None
    mark: watermark_search.Found | None
    mark_was_sought: bool
    manifest: Manifest | None = None
    notes: tuple[str, ...] = ()
    disagreements: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """FOUND, NOTHING or DISAGREES."""
        if self.disagreements:
            return DISAGREES
        said = (self.notice, self.record, self.mark, self.manifest)
        return FOUND if any(one is not None for one in said) else NOTHING

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values: dict[str, Any] = {"answer": ANSWERS[self.exit_code], "exit_code": self.exit_code} | asdict(self)
        if self.info is not None:
            values["info"]["rate"] = None if self.info.rate is None else str(self.info.rate)
            del values["info"]["texts"]
        if self.mark is not None:
            values["mark"]["version"] = watermark.VERSION
        return values


@dataclass
class _Evidence:
    notes: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)


def verify(path: Path, record: Path | None = None) -> Verification:
    """Read back what a film, a clip or a folder of pictures says of where it comes from.

    Args:
        path: any file, trusted or not; it is decoded in the jail. Or a folder of PNG files.
        record: its record; None looks for the one beside it.

    Raises:
        UsageError: no pictures in that folder.
        ConfigError: the record that was named cannot be read.
        MediaError: the file cannot be opened, or is damaged.
        JailError: this machine has no jail.
    """
    found = _Evidence()
    pictures = _pictures(path) if path.is_dir() else []
    first = pictures[0] if pictures else path
    info = None if pictures else probe(path)
    texts = {**(info.texts if info is not None else {}), **written_texts(first)}
    notice = provenance.told_by(texts)
    if info is not None and not info.has_video:
        raise MediaError(f"{path}: it has no pictures")
    told = _record(path, record, found)
    mark, was_sought = None, True
    if pictures and told is None:
        was_sought = False
        found.notes.append("the mark was not looked for: pictures have no times; name their record with --record")
    else:
        mark = watermark_search.find(_chunks(path, pictures, told))
    if told is not None:
        _compare(told, mark, found)
    manifest = _manifest(first, found)
    return Verification(
        str(path), info, texts, notice[0] if notice is not None else None, told, mark, was_sought, manifest,
        tuple(found.notes), tuple(found.disagreements),
    )  # fmt: skip


def _pictures(folder: Path) -> list[Path]:
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
    if not pictures:
        raise UsageError(f"{folder}: a folder without PNG files; give a film, a clip, or a folder of pictures")
    return pictures[:MAX_PICTURES]


def _chunks(path: Path, pictures: list[Path], record: Record | None) -> Iterator[FrameChunk]:
    size = (GRID, GRID)
    if not pictures:
        return decode(path, size=size, fit="stretch", limits=FILM)
    assert record is not None  # or the mark would not be looked for
    length_s = record.timeline[-1][1]
    return decode_images(pictures, rate=Fraction(len(pictures)) / Fraction(length_s), size=size, fit="stretch")


def _record(path: Path, named: Path | None, found: _Evidence) -> Record | None:
    place = named if named is not None else beside(path, ".json")
    if named is None and not place.is_file():
        return None
    try:
        record = _as_record(place, path)
    except ConfigError as error:
        if named is not None:
            raise
        found.notes.append(f"{place.name} beside it is no record of a film: {'; '.join(error.problems)}")
        return None
    if record.is_of_this_file is None and named is None and read_record(place).get("film") != path.name:
        found.notes.append(f"{place.name} beside it is the record of another film")
        return None
    return record


def _as_record(place: Path, film: Path) -> Record:
    """A record with every field looked at: it may have been written by anybody.

    Raises:
        ConfigError: it is not what a record looks like.
    """
    values = read_record(place)
    try:
        sha256 = values.get("sha256")
        timeline = tuple(
            (_time(span["start_s"]), _time(span["end_s"]), tuple(str(kind)[:20] for kind in span["kinds"]))
            for span in values.get("timeline", [])
        ) or ((0.0, _time(values["duration_s"]), ("unknown",)),)
        run_hash = values.get("run_hash")
        return Record(
            path=str(place),
            is_of_this_file=None if sha256 is None or film.is_dir() else sha256 == provenance.digest(film),
            notice=str(values["notice"])[:600],
            run_hash=None if run_hash is None else str(run_hash),
            is_marked=values.get("watermark") is not None,
            has_made_material=any(provenance.shows_model(frozenset(one["shows"])) for one in values.get("inputs", [])),
            timeline=timeline,
            versions={str(key)[:40]: str(value)[:40] for key, value in (values.get("versions") or {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ConfigError([f"not the record of a film ({type(error).__name__}: {error})"], str(place)) from None


def _time(value: Any) -> float:
    seconds = float(value)
    if not math.isfinite(seconds) or not 0 <= seconds <= 1e6:
        raise ValueError(f"{value} is no time")
    return seconds


def _manifest(path: Path, found: _Evidence) -> Manifest | None:
    if not is_installed():
        if seems_to_hold_one(path):
            found.notes.append(f"it seems to hold a C2PA manifest, which was not read: {INSTALL}")
        return None
    manifest = read_manifest(path)
    if manifest is not None and manifest.state == "Invalid":
        what = ", ".join(problem for problem in manifest.problems if problem != UNTRUSTED)
        found.disagreements.append(f"its C2PA manifest does not hold: {what or 'it cannot be read'}")
    return manifest


def _compare(record: Record, mark: watermark_search.Found | None, found: _Evidence) -> None:
    expected = watermark.run_id(record.run_hash)
    own = mark is not None and mark.identity == expected and expected != 0
    if record.is_of_this_file is False:
        same = "; its mark carries the record's run, so it may be a copy that was packed again or cut" if own else ""
        found.disagreements.append(f"this is not the file that {Path(record.path).name} was written for{same}")
    if mark is None and record.is_marked and record.is_of_this_file:
        found.notes.append("the record says that it is marked; too short, dark or smooth a film shows no mark")
    if mark is None or (record.is_marked and mark.identity in (expected, None)):
        return
    if record.has_made_material:
        found.notes.append("the mark may be that of its material, some of which a model made")
        return
    if mark.identity is not None and mark.identity != expected:
        found.disagreements.append(
            f"the mark names the run {mark.identity:06x}, the record the run {expected:06x}"
        )
    if record.is_of_this_file and not record.is_marked:
        found.disagreements.append("it carries a mark, and the record says that it was not marked")


def lines(verification: Verification) -> list[str]:
    """The answer as a person reads it."""
    info, record, mark = verification.info, verification.record, verification.mark
    said = [f"{verification.file}: {_what(info)}"]
    said.append(f"metadata   {verification.notice or 'does not say that a model made it'}")
    if record is None:
        said.append("record     none beside it")
    else:
        own = {True: ", of this very file (SHA-256)", False: ", of another file", None: ""}[record.is_of_this_file]
        said.append(f"record     {record.path}{own}: {record.notice}")
        said += [f"           {clock(a)} to {clock(b)}  {' and '.join(kinds)}" for a, b, kinds in record.timeline]
    said.append(_mark_line(verification))
    if mark is not None:
        said += [f"           {clock(a)} to {clock(b)}  marked" for a, b in mark.seconds]
    said.append(_manifest_line(verification.manifest))
    said += [f"note       {note}" for note in verification.notes]
    said += [f"DISAGREES  {line}" for line in verification.disagreements]
    if verification.exit_code == NOTHING:
        said.append("nothing found: that does not say that no model made it")
    return said


def _what(info: MediaInfo | None) -> str:
    if info is None:
        return "pictures"
    length = "" if info.duration_s is None else f", {info.duration_s:.2f} s"
    return f"{info.codec} in {info.container.split(',')[0]}, {info.width}x{info.height}{length}"


def _mark_line(verification: Verification) -> str:
    mark = verification.mark
    if mark is None:
        return f"mark       {'none found' if verification.mark_was_sought else 'not looked for'}"
    run = {None: "the run cannot be read", 0: "of no run"}.get(mark.identity, f"run {mark.identity or 0:06x}")
    chance = f"1e{max(-99, math.ceil(math.log10(max(mark.false_find, 1e-99))))}"
    begins = "" if mark.start_s == 0 else f", cut out of a longer film at {clock(max(0.0, mark.start_s))}"
    if mark.start_s < 0:
        begins = f", {clock(-mark.start_s)} put before it"
    return f"mark       version {watermark.VERSION}, {run}{begins} (by chance: less than {chance})"


def _manifest_line(manifest: Manifest | None) -> str:
    if manifest is None:
        return "C2PA       no manifest"
    kinds = ", ".join(manifest.source_types) or "without a source type"
    trust = "; the signer is on no list of trusted ones here" if UNTRUSTED in manifest.problems else ""
    return f"C2PA       {manifest.state.lower()}: {kinds}, by {manifest.generator}, signed by {manifest.issuer}{trust}"


def clock(seconds: float) -> str:
    """12.5 to `0:12.5`."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"
