"""Weights as safetensors files.

safetensors: 8 bytes length | JSON header | the tensors' bytes, one after the other. The file is read and written here
in one pass so that the hash belongs to exactly the bytes that were loaded, a full disk is an OSError and not a
library's own, and everything the header says is checked before a single tensor is made.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import struct
from collections.abc import Container, Mapping
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoreel.errors import DivergedError, RunError, translate_read_error

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 10_000
TENSORS_HASH = "tensors_sha256"
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip

Layout = Mapping[str, tuple[tuple[int, ...], "torch.dtype"]]


def layout_of(tensors: Mapping[str, Tensor]) -> Layout:
    """Name, shape and number format of each tensor: what `read_weights` is to expect."""
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write a safetensors file in place (use it inside `atomic_path`).

    Args:
        path: the file.
        tensors: by name; at most MAX_TENSORS. Every value must be finite.
        metadata: strings for the header.

    Returns:
        The file's SHA-256, in hexadecimal.

    Raises:
        DivergedError: a tensor holds NaN or infinity; such weights are never saved.
    """
    import torch

    codes = {getattr(torch, name): code for code, name in _DTYPES.items()}
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))  # keeps every start aligned
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DivergedError(f"{name} is not finite; it is not saved to {path.name}")
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": codes[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end],
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES or len(tensors) > MAX_TENSORS:
        raise ValueError(f"{len(tensors)} tensors with a header of {len(text)} bytes are more than a reader accepts")
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for block in (struct.pack("<Q", len(text)), text):
            digest.update(block)
            file.write(block)
        for _, tensor in ordered:
            plain = _bytes_of(tensor.detach().cpu().contiguous())
            digest.update(plain)
            file.write(plain)
    return digest.hexdigest()


def read_weights(path: Path, expected: Layout, *, sha256: Container[str] | None = None) -> dict[str, Tensor]:
    """Read a safetensors file whose content is known beforehand.

    Args:
        path: the file.
        expected: exactly the names, shapes and number formats it must hold.
        sha256: the hashes it may have, in hexadecimal; None when none is known.

    Returns:
        The tensors, on the CPU.

    Raises:
        RunError: absent, damaged, or not what is expected.
        UnreadableError: the system cannot read it now; it may be sound.
    """
    import torch

    try:
        with _opened(path) as file:
            digest = hashlib.sha256()
            header = _read_header(path, file, digest)
            offsets = _check_header(path, header, expected)
            # Before anything is made from it: a small file must not ask for gigabytes.
            ends = file.tell() + sum(math.prod(shape) * dtype.itemsize for shape, dtype in expected.values())
            if os.fstat(file.fileno()).st_size != ends:
                raise RunError(f"{path} is damaged: it is not as long as its header says ({ends} bytes)")
            tensors: dict[str, Tensor] = {}
            for name in sorted(offsets, key=lambda name: offsets[name]):
                shape, dtype = expected[name]
                tensors[name] = torch.empty(shape, dtype=dtype)
                view = _bytes_of(tensors[name])
                if file.readinto(view) != len(view):
                    raise RunError(f"{path} is damaged: it ends inside {name}")
                digest.update(view)
                if dtype.is_floating_point and not bool(torch.isfinite(tensors[name]).all()):
                    raise RunError(f"{path} is damaged: {name} holds numbers that are not finite")
            if file.read(1):
                raise RunError(f"{path} is damaged: bytes follow the last tensor")
    except OSError as error:
        raise translate_read_error(error, path) from error
    if sha256 is not None and digest.hexdigest() not in sha256:
        raise RunError(f"{path} is damaged: its content is not what was written")
    return tensors


def write_kept(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file that no manifest has the hash of: it stands in the file's own header. See `write_weights`."""
    write_weights(path, tensors, {**metadata, TENSORS_HASH: _hash_of(tensors)})


def read_kept(path: Path, expected: Layout) -> dict[str, Tensor]:
    """Read what `write_kept` wrote; see `read_weights`. What older versions wrote has no hash and is taken as it is."""
    tensors = read_weights(path, expected)
    said = read_metadata(path).get(TENSORS_HASH)
    if said is not None and said != _hash_of(tensors):
        raise RunError(f"{path} is damaged: its content is not what was written")
    return tensors


def _hash_of(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} ".encode())
        digest.update(_bytes_of(tensors[name].detach().cpu().contiguous()))
    return digest.hexdigest()


def read_metadata(path: Path) -> dict[str, str]:
    """The strings in the header of a safetensors file.

    Raises:
        RunError: absent or damaged.
    """
    try:
        with _opened(path) as file:
            found = _read_header(path, file, hashlib.sha256()).get("__metadata__", {})
    except OSError as error:
        raise translate_read_error(error, path) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise RunError(f"{path} is damaged: its metadata is not a table of strings")
    return found


def read_shape(path: Path, name: str) -> tuple[int, ...] | None:
    """The shape that a safetensors file says of a tensor; None where it says none.

    Raises:
        RunError: absent or damaged.
    """
    try:
        with _opened(path) as file:
            entry = _read_header(path, file, hashlib.sha256()).get(name)
    except OSError as error:
        raise translate_read_error(error, path) from error
    shape = entry.get("shape") if isinstance(entry, dict) else None
    return tuple(shape) if isinstance(shape, list) and all(type(n) is int for n in shape) else None


def _opened(path: Path) -> BufferedReader:
    """Open for reading; a pipe or a device could wait for ever.

    Raises:
        RunError: it is not a plain file.
        OSError: it cannot be opened.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise RunError(f"{path} is not a plain file; copy the run again, or train it again")
    return file


def _bytes_of(tensor: Tensor) -> memoryview:
    import torch

    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]  # numpy's own gap


def _read_header(path: Path, file: BufferedReader, digest: hashlib._Hash) -> dict[str, Any]:
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise RunError(f"{path} is not a safetensors file: its header is said to be {length} bytes")
    text = file.read(length)
    digest.update(start + text)
    try:
        header = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: its header is not valid ({error})") from None
    if not isinstance(header, dict) or len(header) > MAX_TENSORS + 1:
        raise RunError(f"{path} is damaged: its header is not a table of at most {MAX_TENSORS} tensors")
    return header


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _check_header(path: Path, header: dict[str, Any], expected: Layout) -> dict[str, tuple[int, int]]:
    """The place of each tensor, after comparing everything that is said with everything that is expected."""
    names = set(header) - {"__metadata__"}
    if names != set(expected):
        missing, extra = sorted(set(expected) - names), sorted(names - set(expected))
        shown = f"missing {missing[:3]}" if missing else f"unexpected {extra[:3]}"
        raise RunError(f"{path} holds other weights than its config describes: {shown}")
    offsets: dict[str, tuple[int, int]] = {}
    for name, (shape, dtype) in expected.items():
        entry = header[name]
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise RunError(f"{path} is damaged: the entry of {name} is not understood")
        said = entry["shape"]
        if not isinstance(said, list) or [type(n) for n in said] != [int] * len(said):
            raise RunError(f"{path} is damaged: the shape of {name} is not understood")
        if said != list(shape) or f"torch.{_DTYPES.get(str(entry['dtype']))}" != str(dtype):
            found = f"{entry['dtype']} {said}"[:100]
            raise RunError(f"{path} does not fit its config: {name} is {found}, not {dtype} {list(shape)}")
        place = entry["data_offsets"]
        if not isinstance(place, list) or [type(number) for number in place] != [int, int]:
            raise RunError(f"{path} is damaged: the place of {name} is not understood")
        offsets[name] = (place[0], place[1])
    end = 0
    for name in sorted(offsets, key=lambda name: offsets[name]):
        shape, dtype = expected[name]
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        if offsets[name] != (begin, end):
            raise RunError(f"{path} is damaged: {name} does not lie where its size puts it")
    return offsets
