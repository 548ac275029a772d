"""Reads the C2PA manifest of a file, locked in: `python -m autoreel.media.manifest_reader FORMAT JAIL < FILE`.

    FORMAT                                 the word that c2pa has for the file
    JAIL                                   `closed`: nothing is read unless the jail could be closed; or `trusted`
    {"state": "Valid", "store": {...}}     on standard output; "store" is null where there is no manifest
    {"failed": "..."}                      what went wrong
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

import c2pa

from autoreel.errors import JailError
from autoreel.media import sandbox

_MEMORY_BYTES, _CPU_S = 4 << 30, 60


def main(argv: list[str]) -> None:
    """Warm up, lock in, read, answer."""
    try:
        # Nothing is fetched: neither a manifest from elsewhere, nor whether a certificate still holds.
        offline = c2pa.Settings.from_dict({"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}})
        context = c2pa.Context(offline)
        _read(io.BytesIO(b"\x00" * 64), "video/mp4", context)  # loads what is loaded late
        file = os.fdopen(0, "rb")
        _lock(must_close=argv[2] == "closed")
        answer: dict[str, Any] = _read(file, argv[1], context)
    except Exception as error:  # whatever it is, the parent is told
        answer = {"failed": f"{type(error).__name__}: {error}"[:300]}
    sys.stdout.write(json.dumps(answer))


def _lock(must_close: bool) -> None:
    """The same walls as around a decoder (`zygote.py` and `child.py`)."""
    if sys.platform == "linux":
        sandbox.die_with_parent(os.getppid())
        sandbox.forbid_new_privileges()
        if sandbox.supported():
            sandbox.leave_namespaces()
            sandbox.landlock()
        sandbox.limit_resources(_MEMORY_BYTES, _CPU_S)
    if not sandbox.seccomp() and must_close:
        raise JailError("the jail could not be closed")


def _read(file: Any, kind: str, context: Any) -> dict[str, Any]:
    try:
        with c2pa.Reader(kind, file, context=context) as reader:
            return {"state": reader.get_validation_state(), "store": json.loads(reader.json())}
    except c2pa.C2paError as error:
        if "ManifestNotFound" in type(error).__name__ or "ManifestNotFound" in str(error):
            return {"state": None, "store": None}
        return {"state": "Invalid", "store": {"validation_status": [{"code": str(error)[:200]}]}}


if __name__ == "__main__":
    main(sys.argv)
