"""What the jailed child does: close every door, decode one file, hand the result over through shared memory."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import signal
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from autoreel.errors import MediaError
from autoreel.media import reader, sandbox
from autoreel.media.limits import Limits, PassingError
from autoreel.media.pictures import PictureRequest, read_pictures
from autoreel.media.waves import SoundRequest, read_waves

NUM_SLOTS = 2  # the child fills one while the parent empties the other
MAX_CHUNK_FRAMES = 64
_FILE, _CHANNEL, _MEMORY = 3, 4, 5  # the child's descriptors


def run(job: dict[str, Any], file: int, channel: int, memory: int) -> NoReturn:
    """Be the child of one job, right after the fork.

    Args:
        job: kind, request, limits, slot_bytes, needs_seccomp.
        file, channel, memory: descriptors.
    """
    code = 1
    try:
        parent = os.getppid()
        high = [fcntl.fcntl(d, fcntl.F_DUPFD, 10) for d in (file, channel, memory)]  # out of the way of 3, 4 and 5
        for target, descriptor in zip((_FILE, _CHANNEL, _MEMORY), high, strict=True):
            os.dup2(descriptor, target)
        os.closerange(6, 1 << 16)
        signal.set_wakeup_fd(-1)
        sandbox.die_with_parent(parent)
        limits = Limits(**job["limits"])
        ring = _Ring(job["slot_bytes"])
        sandbox.limit_resources(limits.memory_bytes, limits.cpu_s, limits.threads)
        if not sandbox.seccomp() and job["needs_seccomp"]:
            ring.send({"error": "the jail could not be closed"})
            os._exit(1)
        _perform(job, limits, ring)
        code = 0
    except BaseException as error:
        os.write(_CHANNEL, json.dumps({"error": f"its decoder broke down ({type(error).__name__}: {error})"}).encode())
    finally:
        os._exit(code)


def _perform(job: dict[str, Any], limits: Limits, ring: _Ring) -> None:
    try:
        if job["kind"] == "probe":
            ring.send({"info": reader.inspect(_FILE, limits)})
        elif job["kind"] == "letters":
            letters(_FILE, job["request"], ring)
        elif job["kind"] == "pictures":
            for time_s, frame in pictures(_FILE, job["request"], limits):
                ring.put_frame(frame, float(time_s))
        else:
            for block in sound(_FILE, job["request"], limits):
                ring.put_sound(block)
    except MediaError as error:
        ring.flush()
        ring.send({"error": str(error), "passing": isinstance(error, PassingError)})
    except reader.DAMAGE as error:  # a file has found a way through; it still is that file's fault alone
        ring.flush()
        ring.send({"error": f"cannot be decoded: {reader.reason_of(error)}"})
    else:
        ring.flush()
        ring.send({"end": True})


def letters(descriptor: int, request: dict[str, Any], ring: _Ring) -> None:
    """A text in a font; its request came as plain values."""
    from autoreel.media.lettering import letter

    for found in letter(descriptor, request):
        if isinstance(found, dict):
            ring.send({"info": found})
        else:
            ring.put_frame(found, 0.0)
            ring.flush()


def pictures(descriptor: int, request: dict[str, Any], limits: Limits) -> Iterator[tuple[Fraction, NDArray[np.uint8]]]:
    """`read_pictures`, with the request as the plain values in which it travels."""
    rate, size = request["rate"], request["size"]
    plain = {"rate": None if rate is None else Fraction(*rate), "size": None if size is None else tuple(size)}
    return read_pictures(descriptor, PictureRequest(**request | plain), limits)


def sound(descriptor: int, request: dict[str, Any], limits: Limits) -> Iterator[NDArray[np.float32]]:
    """`read_waves`, with the request as the plain values in which it travels."""
    return read_waves(descriptor, SoundRequest(**request), limits)


class _Ring:
    """Shared memory in slots; a slot is filled, announced, and free again when the parent has answered."""

    def __init__(self, slot_bytes: int) -> None:
        self._slot_bytes = slot_bytes
        self._memory = np.frombuffer(mmap.mmap(_MEMORY, slot_bytes * NUM_SLOTS), np.uint8) if slot_bytes else None
        self._slot = 0
        self._unanswered = 0
        self._shape: tuple[int, ...] = ()
        self._times: list[float] = []
        self._samples: list[NDArray[np.float32]] = []
        self._num_samples = 0

    def send(self, header: dict[str, Any]) -> None:
        """One message to the parent; without a parent the child has no reason to go on."""
        try:
            os.write(_CHANNEL, json.dumps(header).encode())
        except OSError:
            os._exit(1)

    def put_frame(self, frame: NDArray[np.uint8], time_s: float) -> None:
        """Add one picture to the chunk; full chunks are announced."""
        if frame.shape != self._shape:
            self.flush()
            self._shape = frame.shape
        if not self._times:
            self._wait_for_slot()
        begin = self._slot * self._slot_bytes + len(self._times) * frame.size
        assert self._memory is not None
        self._memory[begin : begin + frame.size].reshape(frame.shape)[...] = frame
        self._times.append(time_s)
        room = self._slot_bytes // frame.size
        if len(self._times) >= min(room, MAX_CHUNK_FRAMES):
            self.flush()

    def put_sound(self, block: NDArray[np.float32]) -> None:
        """Add samples to the chunk."""
        room = self._slot_bytes // 4 // block.shape[1]
        for begin in range(0, len(block), room):
            part = block[begin : begin + room]
            if self._num_samples + len(part) > room:
                self.flush()
            self._samples.append(part)
            self._num_samples += len(part)

    def flush(self) -> None:
        """Announce what is there."""
        if self._times:
            self._announce({"shape": [len(self._times), *self._shape], "times": self._times})
            self._times = []
        if self._samples:
            self._wait_for_slot()
            samples = np.concatenate(self._samples)
            begin = self._slot * self._slot_bytes
            assert self._memory is not None
            self._memory[begin : begin + samples.nbytes].view(np.float32)[...] = samples.ravel()
            self._announce({"shape": list(samples.shape)})
            self._samples, self._num_samples = [], 0

    def _announce(self, header: dict[str, Any]) -> None:
        self.send(header | {"slot": self._slot})
        self._slot = (self._slot + 1) % NUM_SLOTS
        self._unanswered += 1

    def _wait_for_slot(self) -> None:
        while self._unanswered >= NUM_SLOTS:
            if not os.read(_CHANNEL, 1):
                os._exit(1)
            self._unanswered -= 1
