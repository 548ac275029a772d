"""The footage store: frames as bytes in memory-mapped shards, and an index that says what they are.

    store/
      index.json            version, config, size, rate, labels, shots, shards with their hashes; written last
      rejects.jsonl         what is not learned from, one JSON object a line: file, reason, start_s, end_s
      shards/HASH.u8        uint8 (N, H, W, 3), the kept frames of one source, named by the hash of its content
      shards/HASH.json      what was found in that source; with it a stopped preparation goes on

Reading a window is one copy out of the page cache; no decoder runs while a model trains.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np

from autoreel.bounded import read_bounded
from autoreel.clip import Frames
from autoreel.config import DataConfig
from autoreel.data.split import SIDES, Side
from autoreel.errors import FootageError
from autoreel.runs import atomic_write_text

FORMAT = "autoreel-footage"
MAX_INDEX_BYTES = 256 << 20
VERSION = 1  # of the layout and of the way footage is cut; a store of another version is made anew
INDEX_NAME = "index.json"
REJECTS_NAME = "rejects.jsonl"
SHARDS_NAME = "shards"
MAX_OPEN_SHARDS = 4096  # a mapping takes no descriptor, but an operating system's count of mappings has an end
REMAKE = "delete that folder and prepare the footage again, or choose another"


@dataclass(frozen=True)
class Shot:
    """One uninterrupted piece of footage.

    Args:
        id: unique in its store, and the same in every store of the same footage and settings.
        source: the name of the file it was cut from.
        source_hash: SHA-256 of that file's content.
        label: or None.
        split: "train", "validation" or "test".
        num_frames: its length.
        group: person or scene, or None.
        start_s: where it begins in its file, in seconds.
        offset: its first frame in the shard.
    """

    id: str
    source: str
    source_hash: str
    label: str | None
    split: Side
    num_frames: int
    group: str | None
    start_s: float
    offset: int


class FootageStore:
    """Prepared footage; made by `prepare`, opened by `FootageStore.open`.

    Args:
        path: its folder.
        index: the content of index.json.
    """

    def __init__(self, path: Path, index: Mapping[str, Any]) -> None:
        self.path = path
        self.size: tuple[int, int] = (index["size"][0], index["size"][1])
        self.rate = Fraction(index["rate"])
        self.labels: tuple[str, ...] = tuple(index["labels"])
        self.shots = tuple(Shot(**shot) for shot in index["shots"])
        self.config = DataConfig(**index["config"])
        self.hash: str = index["hash"]
        self.key: str = index["key"]
        self.how_split: str = index["how_split"]
        self.num_rejects: int = index["num_rejects"]
        self._shard_frames: dict[str, int] = {name: shard["num_frames"] for name, shard in index["shards"].items()}
        self._shard_hashes: dict[str, str] = {name: shard["sha256"] for name, shard in index["shards"].items()}
        self._open: OrderedDict[str, Frames] = OrderedDict()

    @classmethod
    def open(cls, path: Path) -> FootageStore:
        """Open a store.

        Raises:
            FootageError: there is none, it is damaged, or another version made it.
        """
        path = Path(path)
        index = read_index(path)
        if index is None:
            unfinished = " (its preparation was not finished)" if (path / SHARDS_NAME).is_dir() else ""
            raise FootageError(f"{path}: no prepared footage there{unfinished}; run autoreel prepare first")
        store = cls(path, index)
        frame_bytes = store.size[0] * store.size[1] * 3
        for name, num_frames in store._shard_frames.items():
            shard = path / SHARDS_NAME / f"{name}.u8"
            if not shard.is_file() or shard.stat().st_size != num_frames * frame_bytes:
                raise FootageError(f"{path}: {shard.name} is missing or cut short; {REMAKE}")
        return store

    def split(self, name: str) -> tuple[Shot, ...]:
        """The shots of one side: "train", "validation" or "test"; may be empty."""
        if name not in SIDES:
            raise ValueError(f"split must be one of {', '.join(SIDES)}, not {name!r}")
        return tuple(shot for shot in self.shots if shot.split == name)

    def frames(self, shot: Shot, start: int = 0, count: int | None = None) -> Frames:
        """Frames of a shot, as a read-only view of the file.

        Args:
            shot: one of `shots`.
            start: first frame, counted in the shot.
            count: how many; None for all that follow.

        Returns:
            uint8 (T, H, W, 3).
        """
        count = shot.num_frames - start if count is None else count
        if start < 0 or count < 1 or start + count > shot.num_frames:
            raise ValueError(f"shot {shot.id} has {shot.num_frames} frames; asked for {count} from {start} on")
        shard = self._shard(shot.source_hash)
        return shard[shot.offset + start : shot.offset + start + count]

    def _shard(self, name: str) -> Frames:
        shard = self._open.get(name)
        if shard is None:
            shape = (self._shard_frames[name], *self.size, 3)
            mapped = np.memmap(self.path / SHARDS_NAME / f"{name}.u8", np.uint8, mode="r", shape=shape)
            shard = self._open[name] = cast(Frames, mapped.view(np.ndarray))
            if len(self._open) > MAX_OPEN_SHARDS:
                self._open.popitem(last=False)
        return shard

    def verify(self) -> None:
        """Read every shard and compare its hash.

        Raises:
            FootageError: a shard is not what was written.
        """
        for name, expected in self._shard_hashes.items():
            with (self.path / SHARDS_NAME / f"{name}.u8").open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    raise FootageError(f"{self.path}: {name}.u8 is damaged; {REMAKE}")


# --- the index --------------------------------------------------------------------------------------------------------


def read_index(path: Path) -> dict[str, Any] | None:
    """The content of a store's index, or None where there is none yet.

    Raises:
        FootageError: it is damaged, or another version made it.
    """
    file = path / INDEX_NAME
    try:
        index = json.loads(read_bounded(file, MAX_INDEX_BYTES))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise FootageError(f"{path}: a store of footage is a folder, and this is a file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FootageError(f"{file}: cannot be read ({error}); {REMAKE}") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise FootageError(f"{file}: is not an index of prepared footage; choose another folder")
    if index.get("version") != VERSION:
        raise FootageError(f"{path}: made by version {index.get('version')} of the store, this is {VERSION}; {REMAKE}")
    if index.get("checksum") != _checksum(index):
        raise FootageError(f"{file}: is damaged; {REMAKE}")
    return index


def write_index(
    path: Path,
    *,
    key: str,
    config: DataConfig,
    rate: Fraction,
    shots: Sequence[Shot],
    shards: Mapping[str, Mapping[str, Any]],
    how_split: str,
    num_rejects: int,
) -> None:
    """Write the index, whole or not at all; with it the store exists.

    Args:
        path: the store's folder.
        key: stands for the input: `store_key`.
        config: the settings.
        rate: frames per second.
        shots: in their order.
        shards: name to {"num_frames", "sha256"}.
        how_split: the line that says how the footage was divided.
        num_rejects: lines in rejects.jsonl.

    Raises:
        OutputError: it cannot be written.
    """
    index: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "key": key,
        "config": config.model_dump(mode="json"),
        "size": [config.height, config.width],
        "rate": str(rate),
        # What was not learned cannot be asked for.
        "labels": sorted({shot.label for shot in shots if shot.label is not None and shot.split == "train"}),
        "how_split": how_split,
        "num_rejects": num_rejects,
        "shards": {name: dict(shard) for name, shard in sorted(shards.items())},
        "shots": [asdict(shot) for shot in shots],
    }
    # What a model learns from: not the names of files, but frames, rate, labels and sides.
    learned = [[s.id, s.label, s.split, s.num_frames, s.offset] for s in shots]
    content = [VERSION, index["size"], index["rate"], learned, sorted((n, s["sha256"]) for n, s in shards.items())]
    index["hash"] = _digest(content)
    index["checksum"] = _checksum(index)
    atomic_write_text(path / INDEX_NAME, json.dumps(index, ensure_ascii=False, indent=1))


def store_key(config: DataConfig, inputs: Sequence[tuple[str, str | None, str | None]]) -> str:
    """What a store is made from, as one hash: the settings, and (content hash, label, group) of every source."""
    ordered = sorted([sha256, label or "", group or ""] for sha256, label, group in inputs)
    return _digest([FORMAT, VERSION, config.model_dump(mode="json"), ordered])


def _checksum(index: Mapping[str, Any]) -> str:
    return _digest({name: value for name, value in index.items() if name != "checksum"})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
