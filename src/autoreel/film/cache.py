"""Frames that were made before: one plain file a shot, named by the hash of what made it.

An edit of the storyboard then only makes the shots it changed. The frames are kept as the model made them, before
scaling and effects, which are quick and change often.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autoreel.clip import Frames
from autoreel.errors import OutputError, RunError, translate_os_error
from autoreel.runs import atomic_path

FORMAT = 4  # since 3 a still is held before it moves, since 4 what moves away leaves no shadow
CHUNK_BYTES = 4 << 20


class ShotCache:
    """The frames of the shots of one film.

    Args:
        folder: where they are kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._used: set[Path] = set()
        self.num_made = 0
        self.num_kept = 0

    def holds(self, what: Mapping[str, Any] | None, count: int) -> bool:
        """Whether these frames are there from before."""
        path = self._path(what, count)
        return path is not None and _opened(path, count) is not None

    def frames(
        self, what: Mapping[str, Any] | None, count: int, make: Callable[[], Iterator[Frames]]
    ) -> Iterator[Frames]:
        """Frames from before, or made now and kept.

        Args:
            what: everything that decides the frames, as plain values; None when that is not known.
            count: how many frames there must be.
            make: makes them, in chunks.

        Raises:
            RunError: `make` ended early.
            OutputError: they cannot be written.
        """
        path = self._path(what, count)
        if path is None:
            self.num_made += 1
            yield from _counted(make(), count)
            return
        self._used.add(path)
        kept = _opened(path, count)
        if kept is not None:
            self.num_kept += 1
            step = max(1, CHUNK_BYTES // max(1, kept[0].nbytes))
            for start in range(0, count, step):
                yield np.array(kept[start : start + step])
            return
        self.num_made += 1
        yield from _recorded(_counted(make(), count), count, path)

    def _path(self, what: Mapping[str, Any] | None, count: int) -> Path | None:
        if self._folder is None or what is None:
            return None
        text = json.dumps({"format": FORMAT, "count": count, **what}, sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"

    def remove_unused(self) -> None:
        """Forget every shot that this rendering had no use for."""
        if self._folder is None or not self._folder.is_dir():
            return
        for path in self._folder.glob("*.npy"):
            if path not in self._used:
                path.unlink(missing_ok=True)


def _counted(chunks: Iterator[Frames], count: int) -> Iterator[Frames]:
    """Exactly `count` frames of the chunks."""
    left = count
    for chunk in chunks:
        if left and len(chunk):
            yield chunk[:left]
            left -= min(left, len(chunk))
        if not left:
            return
    raise RunError(f"the model made {count - left} frames of {count}; its run folder may be damaged")


def _recorded(chunks: Iterator[Frames], count: int, path: Path) -> Iterator[Frames]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translate_os_error(error, path) from error
    num_written = 0
    with atomic_path(path) as part, part.open("wb") as file:
        for chunk in chunks:
            try:
                if not num_written:
                    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *chunk.shape[1:])}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(chunk).data)
            except OSError as error:
                raise translate_os_error(error, path) from error
            num_written += len(chunk)
            if num_written == count:
                break
            yield chunk
    # Last of all: whoever has all the frames asks for no more, and the file must be whole by then.
    yield chunk


def _opened(path: Path, count: int) -> Frames | None:
    """The frames in a file, mapped; None when there are none or they are not whole."""
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}; remove its folder and render again") from error
    whole = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3 and len(frames) == count
    return frames if whole else None
