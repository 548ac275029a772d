"""The run folder and the files in it: atomic saves, hashes, manifest, lock."""

from autoreel.runs.atomic import (
    atomic_path,
    atomic_write_bytes,
    atomic_write_text,
    make_folder,
    scratch_path,
    sync,
)
from autoreel.runs.folder import Manifest, RunFolder, StageState
from autoreel.runs.weights import Layout, layout_of, read_kept, read_metadata, read_weights, write_kept, write_weights

__all__ = [
    "Layout", "Manifest", "RunFolder", "StageState", "atomic_path", "atomic_write_bytes", "atomic_write_text",
    "layout_of", "make_folder", "read_kept", "read_metadata", "read_weights", "scratch_path", "sync", "write_kept",
    "write_weights",
]  # fmt: skip
