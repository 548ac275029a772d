"""Untrusted files are opened here and decoded there: in a child process that can reach nothing else.

    parent: opens the file, holds the clock, checks every number it is told, copies pictures out of shared memory
    child:  has the open file, a channel and the shared memory; no path, no network, no program, bounded in everything

The child is forked from a warm process (`zygote.py`), which locks itself in (`sandbox.py`) and says which layers took.
Where files or the network would stay in reach, files are refused unless the person said `--unsafe-no-jail`.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import math
import mmap
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoreel.errors import JailError, MediaError
from autoreel.media.limits import Limits, PassingError

UNSAFE_VARIABLE = "AUTOREEL_UNSAFE_NO_JAIL"
_START_S = 60.0  # a cold disk can be slow
_NUM_SLOTS = 2  # as in child.py, which is not imported: it loads every decoder
_MAX_MESSAGE_BYTES = 1 << 16
_AT_THE_LIMIT = (signal.SIGXCPU, signal.SIGKILL)
_FROM_OUTSIDE = (*_AT_THE_LIMIT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)  # no fault gives these
_NEARLY = 0.9  # the kernel counts towards the limit in ticks, and tells what was used by another clock
_IS_LINUX = sys.platform == "linux"
_unsafe = False


def unsafe_no_jail(allow: bool = True) -> None:
    """Decode even where the machine cannot close the jail (`--unsafe-no-jail`)."""
    global _unsafe
    _unsafe = allow


def is_unsafe_allowed() -> bool:
    """True when the person has given up the jail, by option or by AUTOREEL_UNSAFE_NO_JAIL."""
    return _unsafe or os.environ.get(UNSAFE_VARIABLE, "") not in ("", "0")


def jail_report() -> dict[str, bool | str]:
    """Which layers hold on this machine, for `autoreel doctor`.

    Returns:
        Layer to True, False or a version; `closed` says whether untrusted files are decoded without the unsafe switch.
    """
    try:
        layers = dict(_zygote().layers)
    except JailError as error:
        return {"closed": False, "reason": str(error)}
    return layers | {"closed": _is_closed(layers)}


def _is_closed(layers: dict[str, bool | str]) -> bool:
    """Whether files, sockets and processes are out of reach; nothing but seccomp takes away all of them.

    Landlock leaves the sockets that have a path, and with an empty network the programs that listen there stay.
    """
    return bool(layers.get("seccomp"))


def insist_on_jail() -> bool:
    """Whether the jail of this machine is closed.

    Returns:
        False where it is not, and the person said that files are to be trusted.

    Raises:
        JailError: it is not, and the person did not say so.
    """
    if not _IS_LINUX and is_unsafe_allowed():
        return False
    closed = _is_closed(_zygote().layers)
    if not closed and not is_unsafe_allowed():
        raise JailError(
            "this machine offers no seccomp, so media files cannot be opened safely; use Linux 5.13 or newer on x86-64 "
            "or aarch64, or say --unsafe-no-jail when you trust every file"
        )
    return closed


@dataclass(frozen=True)
class Chunk:
    """What a child handed over.

    Args:
        array: uint8 (n, H, W, 3 or 1) pictures or float32 (n, channels) samples; a copy that nobody else can change.
        times_s: of each picture.
    """

    array: NDArray[Any]
    times_s: NDArray[np.float64]


def open_untrusted(path: str | os.PathLike[str]) -> int:
    """Open a file for the child.

    Returns:
        A descriptor for reading; the caller closes it.

    Raises:
        MediaError: absent, unreadable, or not a plain file (opening a pipe or device could wait for ever).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            raise PassingError(f"{show(path)}: {(error.strerror or str(error)).lower()}") from error
        raise MediaError(f"{show(path)}: its name cannot be a name") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise MediaError(f"{show(path)}: {'it is a folder' if stat.S_ISDIR(mode) else 'it is not a plain file'}")
    return descriptor


def show(path: str | os.PathLike[str]) -> str:
    """A path for a message of one line."""
    name = str(Path(path))
    return name if name.isprintable() else ascii(name)


def run(
    path: str | os.PathLike[str], kind: str, request: dict[str, Any], limits: Limits, slot_bytes: int = 0
) -> Iterator[dict[str, Any] | Chunk]:
    """Have a child work on one file; closing the iterator ends the child.

    Args:
        path: the untrusted file.
        kind: `probe`, `pictures`, `sound`, or `letters`.
        request: plain values, as that kind of work takes them.
        limits: what it may cost.
        slot_bytes: size of one of the two pieces of shared memory.

    Returns:
        An info dictionary for `probe`, chunks in order; for `letters` both.

    Raises:
        MediaError: the child's reason, or which limit ended it.
        JailError: the machine offers no jail, and the unsafe switch is not set.
    """
    insist_on_jail()
    if not _IS_LINUX:
        yield from _without_jail(path, kind, request, limits)
        return
    zygote = _zygote()
    descriptor = open_untrusted(path)
    try:
        yield from _Job(zygote, descriptor, kind, request, limits, slot_bytes).results()
    except MediaError as error:
        raise type(error)(f"{show(path)}: {error}") from error.__cause__
    finally:
        os.close(descriptor)


def _without_jail(
    path: str | os.PathLike[str], kind: str, request: dict[str, Any], limits: Limits
) -> Iterator[dict[str, Any] | Chunk]:
    """The same work in this process, for systems without a jail whose owner trusts the files."""
    from autoreel.media import child, reader

    descriptor = open_untrusted(path)
    try:
        if kind == "probe":
            yield reader.inspect(descriptor, limits)
        elif kind == "letters":
            from autoreel.media import lettering

            for found in lettering.letter(descriptor, request):
                yield found if isinstance(found, dict) else Chunk(found[None], np.zeros(1))
        elif kind == "sound":
            for block in child.sound(descriptor, request, limits):
                yield Chunk(block, np.zeros(0))
        else:
            for time_s, frame in child.pictures(descriptor, request, limits):
                yield Chunk(frame[None].copy(), np.array([float(time_s)]))
    except MediaError as error:
        raise type(error)(f"{show(path)}: {error}") from error.__cause__
    finally:
        os.close(descriptor)


class _Job:
    """One file in one child."""

    def __init__(
        self, zygote: _Zygote, descriptor: int, kind: str, request: dict[str, Any], limits: Limits, slot_bytes: int
    ) -> None:
        self._zygote, self._descriptor, self._limits, self._slot_bytes = zygote, descriptor, limits, slot_bytes
        self._waited_s = 0.0
        self._message = json.dumps({
            "kind": kind, "request": request, "limits": limits.as_dict(), "slot_bytes": slot_bytes,
            "needs_seccomp": bool(zygote.layers.get("seccomp")),
        }).encode()  # fmt: skip

    def results(self) -> Iterator[dict[str, Any] | Chunk]:
        channel, child_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lifeline, zygote_lifeline = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = _shared_memory(self._slot_bytes * _NUM_SLOTS)
        try:
            with child_channel, zygote_lifeline:
                self._zygote.send(
                    self._message, [self._descriptor, child_channel.fileno(), zygote_lifeline.fileno(), memory]
                )
            view = mmap.mmap(memory, self._slot_bytes * _NUM_SLOTS) if self._slot_bytes else None
            while True:
                header = self._receive(channel, lifeline)
                if "error" in header:
                    kind = PassingError if header.get("passing") is True else MediaError
                    raise kind(_one_line(header["error"]))
                if "end" in header:
                    return
                if "info" in header:
                    yield header["info"]
                    continue
                yield self._copied(header, view)
                with contextlib.suppress(OSError):  # the child may have ended after its last chunk, which is read next
                    channel.send(b"1")
        finally:
            channel.close()
            lifeline.close()
            os.close(memory)

    def _receive(self, channel: socket.socket, lifeline: socket.socket) -> dict[str, Any]:
        """The next message. Only the time spent here counts: a slow reader is not the file's fault."""
        begin = time.monotonic()
        poll = select.poll()  # select itself fails where a server has more than a thousand open files
        poll.register(channel, select.POLLIN)
        ready = poll.poll(max(0.0, self._limits.wall_s - self._waited_s) * 1000)
        self._waited_s += time.monotonic() - begin
        if not ready:
            raise PassingError(f"decoding it takes longer than {self._limits.wall_s:g} s")
        try:
            message = channel.recv(_MAX_MESSAGE_BYTES)
        except ConnectionResetError:
            # A child that ends without reading our last answer resets the channel; what it had sent still lies in it.
            message = channel.recv(_MAX_MESSAGE_BYTES)
        if not message:
            raise self._death(lifeline)
        try:
            header = json.loads(message)
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict):
            raise MediaError("its decoder was taken over or broke down")
        return header

    def _death(self, lifeline: socket.socket) -> MediaError:
        """Why there is no more word from the child; a passing fault where something else than the file ended it."""
        lifeline.settimeout(10)
        try:
            end = json.loads(lifeline.recv(_MAX_MESSAGE_BYTES))
            status, cpu_s = end["status"], end["cpu_s"]
        except (OSError, ValueError):
            return PassingError("its decoder ended without a word, together with the process that it was forked from")
        if not os.WIFSIGNALED(status):
            return MediaError(f"its decoder ended with code {os.WEXITSTATUS(status)}")
        number = os.WTERMSIG(status)
        # The kernel ends a process at its limit with the signal that it also ends one with when memory runs out.
        if number in _AT_THE_LIMIT and cpu_s >= _NEARLY * self._limits.cpu_s:
            return MediaError(f"decoding it takes more than {self._limits.cpu_s} s of processor time")
        if number in _FROM_OUTSIDE:
            why = " as when memory runs out," if number == signal.SIGKILL else ""
            return PassingError(f"its decoder was killed from outside,{why} after {cpu_s:.1f} s (signal {number})")
        return MediaError(f"it crashes its decoder (signal {number})")

    def _copied(self, header: dict[str, Any], view: mmap.mmap | None) -> Chunk:
        """The announced slot. The child is not trusted: every number is checked before it is used."""
        shape, slot = header.get("shape"), header.get("slot")
        times = header.get("times", [])
        pictures = isinstance(shape, list) and len(shape) == 4
        if (
            view is None
            or not isinstance(shape, list)
            or len(shape) not in (2, 4)
            or not all(type(n) is int and n > 0 for n in shape)
            or not isinstance(times, list)
            or type(slot) is not int
            or not 0 <= slot < _NUM_SLOTS
            or math.prod(shape) * (1 if pictures else 4) > self._slot_bytes
            or (pictures and (shape[3] not in (1, 3) or len(times) != shape[0]))
            or not all(type(t) is float and math.isfinite(t) for t in times)
        ):
            raise MediaError("its decoder was taken over or broke down")
        array = np.frombuffer(
            view, np.uint8 if pictures else np.float32, math.prod(shape), slot * self._slot_bytes
        ).reshape(shape)
        return Chunk(array.copy(), np.array(times, np.float64))


def _one_line(text: object) -> str:
    """What a child says, without anything that would write elsewhere in a terminal or a list of rejects."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:500])


def _shared_memory(size_bytes: int) -> int:
    """Memory that the child can write but neither shrink nor grow."""
    descriptor = os.memfd_create("autoreel", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


class _Zygote:
    """The warm process, as the parent sees it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = str(Path(__file__).resolve().parents[2])
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")}
        environment |= {
            "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        with theirs:
            # -P: a file av.py in the person's folder is not the library.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "autoreel.media.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], env=environment, cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        self._socket = ours
        ours.settimeout(_START_S)
        try:
            said = json.loads(ours.recv(_MAX_MESSAGE_BYTES) or b"{}")
        except (OSError, ValueError):
            said = {}
        ours.settimeout(None)
        if "layers" not in said:
            self.close()
            raise JailError(f"the process that decodes media did not start ({said.get('failed', 'it ended at once')})")
        self.layers: dict[str, bool | str] = said["layers"]

    def send(self, message: bytes, descriptors: list[int]) -> None:
        """Hand over a job."""
        try:
            with self._lock:
                socket.send_fds(self._socket, [message], descriptors)
        except OSError as error:
            raise JailError("the process that decodes media has ended; run the same command again") from error

    def is_alive(self) -> bool:
        """True while it can be asked."""
        return self.owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        """End it and every child of it."""
        self._socket.close()
        if self.owner == os.getpid():
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


_current: _Zygote | None = None
_starting = threading.Lock()


def _zygote() -> _Zygote:
    """The warm process; started at first use, again after a fork of this process or when it has died."""
    global _current
    if not _IS_LINUX:
        raise JailError(
            "the jail for media files needs Linux; use Linux, or say --unsafe-no-jail when you trust every file"
        )
    with _starting:
        if _current is None or not _current.is_alive():
            if _current is not None and _current.owner == os.getpid():
                _current.close()
            _current = _Zygote()
        return _current


@atexit.register
def _end_zygote() -> None:
    if _current is not None and _current.owner == os.getpid():
        _current.close()
