"""One source into one shard: decoded, cut into shots, only their frames kept; and a record of what was found."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from io import BufferedRandom
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoreel.bounded import read_bounded
from autoreel.config import DataConfig
from autoreel.data.scan import Reject, Source, shown
from autoreel.data.shots import THUMB, ShotFinder, Span
from autoreel.data.store import VERSION
from autoreel.errors import MediaError
from autoreel.media.decode import FrameChunk, decode, decode_images
from autoreel.media.jail import show
from autoreel.media.limits import Limits, PassingError
from autoreel.runs import atomic_path, atomic_write_text

MAX_RECORD_BYTES = 512 << 20  # 60,000 shots
COPY_FRAMES = 256  # moved at once when spans are left out
REPORT_EVERY_S = 10.0


@dataclass(frozen=True)
class KeptShot:
    """A shot in a shard.

    Args:
        start: its first frame, counted in the source.
        count: number of frames.
        offset: its first frame in the shard.
        signature: what it looks like; see `ShotFinder.signature`.
    """

    start: int
    count: int
    offset: int
    signature: NDArray[np.uint8]


@dataclass(frozen=True)
class Record:
    """What was found in one source.

    Args:
        num_frames: frames in its shard; 0 when nothing was kept and there is no shard.
        sha256: of the shard.
        start_s: time of the source's first frame.
        shots: what was kept, in order.
        rejects: spans that were left out, or the whole file with its reason.
        settled: False where another try may find something else: the disk failed, or the time was up.
    """

    num_frames: int = 0
    sha256: str = ""
    start_s: float = 0.0
    shots: tuple[KeptShot, ...] = ()
    rejects: tuple[Reject, ...] = ()
    settled: bool = True


def read_source(
    source: Source, shard: Path, config: DataConfig, rate: Fraction, report: Callable[[str], None]
) -> Record:
    """Decode a source into its shard.

    Args:
        source: what to decode.
        shard: where its frames go; absent afterwards when nothing can be used.
        config: size, fit, shortest shot, longest file.
        rate: frames per second of the shard.
        report: is told of the progress of a long file.

    Returns:
        What was found. A file that cannot be read, or is damaged anywhere, gives a record without shots.

    Raises:
        OutputError: the shard cannot be written.
        JailError: this machine cannot open untrusted files safely.
    """
    try:
        with atomic_path(shard) as part, part.open("w+b") as file:
            return _decode_into(file, source, config, rate, report)
    except MediaError as error:
        reject = Reject(source.name, _reason(error, source))
        return Record(rejects=(reject,), settled=not isinstance(error, PassingError))


def _reason(error: MediaError, source: Source) -> str:
    """The message without the file's path, which stands in its own field; of several pictures the name is kept."""
    for path in source.paths:
        reason = str(error).removeprefix(f"{show(path)}: ")
        if reason != str(error):
            return reason if len(source.paths) == 1 else f"{shown(path.name)}: {reason}"
    return shown(str(error))


def _decode_into(
    file: BufferedRandom, source: Source, config: DataConfig, rate: Fraction, report: Callable[[str], None]
) -> Record:
    pictures = source.is_pictures
    finder = ShotFinder(float(rate), 0.0 if pictures else config.min_shot_s, may_be_stills=pictures)
    most = max(1, int(config.max_file_s * rate))
    num_frames, start_s, more = 0, 0.0, False
    said = time.monotonic()
    with closing(_chunks(source, config, rate)) as chunks:  # leaving early ends the decoder
        for chunk in chunks:
            if num_frames == 0 and len(chunk.pts_s):
                start_s = float(chunk.pts_s[0])
            frames = chunk.frames[: most - num_frames]
            finder.add(frames)
            file.write(np.ascontiguousarray(frames).data)
            num_frames += len(frames)
            more = len(frames) < len(chunk.frames)
            if more:
                break
            if time.monotonic() > said + REPORT_EVERY_S:
                said = time.monotonic()
                report(f"{float(num_frames / rate):.0f} s read")

    def seconds(frame: int) -> float:
        return start_s + float(frame / rate)

    shots, left_out = finder.finish()
    rejects = [Reject(source.name, span.reason, seconds(span.start), seconds(span.end)) for span in left_out]
    if more:
        rejects.append(Reject(source.name, f"only its first {config.max_file_s:g} s are used", seconds(most)))
    if not shots:
        reasons = ", ".join(sorted({span.reason for span in left_out})) or "no picture"
        raise MediaError(f"nothing to learn from in it: {reasons}")
    offsets = _compact(file, shots, config.height * config.width * 3)
    file.flush()
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    kept = tuple(
        KeptShot(span.start, span.count, offset, finder.signature(span))
        for span, offset in zip(shots, offsets, strict=True)
    )
    return Record(sum(span.count for span in shots), sha256, start_s, kept, tuple(rejects))


def _chunks(source: Source, config: DataConfig, rate: Fraction) -> Generator[FrameChunk, None, None]:
    size = (config.height, config.width)
    # A little more than is used, to know whether there is more.
    limits = Limits(max_duration_s=config.max_file_s + 60, twice=True)
    end_s = config.max_file_s + 2 / float(rate)
    try:
        if source.is_pictures:
            yield from decode_images(source.paths, size=size, fit=config.fit, rate=rate)
        else:
            yield from decode(source.paths[0], size=size, fit=config.fit, rate=rate, end_s=end_s, limits=limits)
    except OSError as error:  # about reading, and not to be taken for a shard that cannot be written
        raise PassingError(f"cannot be read: {error.strerror or error}") from error


def _compact(file: BufferedRandom, shots: Sequence[Span], frame_bytes: int) -> list[int]:
    """Move the frames of the shots to the front of the shard; returns where each shot begins."""
    offsets, offset = [], 0
    for span in shots:
        offsets.append(offset)
        for done in range(0, span.count, COPY_FRAMES) if span.start != offset else ():
            count = min(COPY_FRAMES, span.count - done)
            file.seek((span.start + done) * frame_bytes)
            frames = file.read(count * frame_bytes)
            file.seek((offset + done) * frame_bytes)
            file.write(frames)
        offset += span.count
    file.truncate(offset * frame_bytes)
    return offsets


# --- records ----------------------------------------------------------------------------------------------------------


def settings_key(config: DataConfig, rate: Fraction) -> str:
    """Stands for everything but the source that a shard depends on."""
    return hashlib.sha256(json.dumps([VERSION, str(rate), config.model_dump(mode="json")]).encode()).hexdigest()


def save_record(shard: Path, settings: str, record: Record) -> None:
    """Write a source's record beside its shard."""
    content = {
        "settings": settings,
        "num_frames": record.num_frames,
        "sha256": record.sha256,
        "start_s": record.start_s,
        "shots": [[s.start, s.count, s.offset, base64.b64encode(s.signature.tobytes()).decode()] for s in record.shots],
        "rejects": [[reject.reason, reject.start_s, reject.end_s] for reject in record.rejects],
    }
    atomic_write_text(shard.with_suffix(".json"), json.dumps(content, ensure_ascii=False))


def load_record(shard: Path, settings: str, source: Source, config: DataConfig) -> Record | None:
    """What an earlier preparation found with the same settings, or None where it is to be found again."""
    try:
        read = json.loads(read_bounded(shard.with_suffix(".json"), MAX_RECORD_BYTES))
        if read["settings"] != settings:
            return None
        shots = tuple(KeptShot(start, count, offset, _decoded(code)) for start, count, offset, code in read["shots"])
        rejects = tuple(Reject(source.name, reason, start_s, end_s) for reason, start_s, end_s in read["rejects"])
        record = Record(read["num_frames"], read["sha256"], read["start_s"], shots, rejects)
        if shots and shard.stat().st_size != record.num_frames * config.height * config.width * 3:
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # absent, or torn by a power cut: read again
    return record


def _decoded(code: str) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(code), np.uint8).reshape(-1, THUMB, THUMB, 3)
