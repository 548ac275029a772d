"""A small warm process that forks one jailed child per file: `python -m autoreel.media.zygote DESCRIPTOR`.

    autoreel --socket--> zygote --fork--> child: one file, one channel, one piece of shared memory, and nothing else
                                             ends by itself, by a limit, or when its lifeline is cut

Everything a decoder needs is loaded and used once before the locks fall; afterwards no file can be opened. The zygote
itself never reads a byte of an untrusted file.

    DESCRIPTOR      a sequenced-packet socket; each message is a job in JSON with four descriptors:
                    the file, the child's channel, the lifeline, the shared memory
    channel         child to parent: JSON headers of what lies in the shared memory; back: one byte per chunk taken
    lifeline        closed by the parent to end the child; the zygote writes the child's exit status into it
"""

from __future__ import annotations

import fcntl
import io
import json
import mmap
import os
import select
import signal
import socket
import sys
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from autoreel.errors import MediaError
from autoreel.media import pictures, reader, sandbox, waves
from autoreel.media.limits import Limits

NUM_SLOTS = 2  # the child fills one while the parent empties the other
MAX_MESSAGE_BYTES = 1 << 16
MAX_CHUNK_FRAMES = 64
_FILE, _CHANNEL, _MEMORY = 3, 4, 5  # the child's descriptors


def main(argv: list[str]) -> None:
    """Warm up, lock in, then fork for every job until the parent closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer; it cuts the lifelines
    server = socket.socket(fileno=int(argv[1]))
    try:
        _warm_up()
        layers = _lock_zygote()
    except Exception as error:  # whatever it is, the parent is told
        server.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        return
    server.send(json.dumps({"layers": layers}).encode())
    _serve(server)


def _warm_up() -> None:
    """Go once through all that a child does, so that every library and table is loaded."""
    memory = io.BytesIO()
    with av.open(memory, mode="w", format="matroska") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        for _ in range(3):
            container.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    descriptor = os.memfd_create("warm-up", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, memory.getvalue())
        limits = Limits()
        reader.inspect(descriptor, limits)
        for size in (None, (16, 24)):
            request = pictures.PictureRequest(size=size, rate=Fraction(10), fit="letterbox")
            for _ in pictures.read_pictures(descriptor, request, limits):
                pass
        for _ in waves.read_waves(descriptor, waves.SoundRequest(), limits):
            pass
        os.ftruncate(descriptor, 10)
        try:
            reader.inspect(descriptor, limits)
        except MediaError:
            pass
        else:
            raise AssertionError("ten bytes are no film")
    finally:
        os.close(descriptor)


def _lock_zygote() -> dict[str, bool | str]:
    layers: dict[str, bool | str] = {"rlimits": True, "no_new_privileges": sandbox.forbid_new_privileges()}
    if not sandbox.supported():
        return layers | {"user_namespace": False, "network_namespace": False, "landlock": False, "seccomp": False}
    layers |= sandbox.leave_namespaces()
    version = sandbox.landlock()
    layers["landlock"] = f"version {version}" if version else False
    layers["seccomp"] = _seccomp_works()
    return layers


def _seccomp_works() -> bool:
    """Tried in a child, because the zygote itself has to fork."""
    child = os.fork()
    if child == 0:
        took = sandbox.seccomp()
        try:
            os.getuid()  # not on the list
            socket.socket()
        except PermissionError:
            os._exit(0 if took else 1)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _serve(server: socket.socket) -> None:
    lifelines: dict[int, socket.socket] = {}  # by the child's process id
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([server, wake_read, *lifelines.values()], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
        _reap(lifelines)
        for child, lifeline in list(lifelines.items()):
            if lifeline in ready:  # the parent never writes into it: it has been closed
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                lifelines.pop(child).close()
        if server in ready:
            message, descriptors, _, _ = socket.recv_fds(server, MAX_MESSAGE_BYTES, 4)
            if not message:
                for child in lifelines:
                    os.kill(child, signal.SIGKILL)
                return
            file, channel, line, memory = descriptors
            child = os.fork()
            if child == 0:
                _be_child(json.loads(message), file, channel, memory)
            for descriptor in (file, channel, memory):
                os.close(descriptor)
            lifelines[child] = socket.socket(fileno=line)


def _reap(lifelines: dict[int, socket.socket]) -> None:
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if child == 0:
            return
        lifeline = lifelines.pop(child, None)
        if lifeline is not None:
            try:
                lifeline.send(json.dumps({"status": status}).encode())
            except OSError:
                pass  # the parent has gone; nobody wants to know
            lifeline.close()


def _be_child(job: dict[str, Any], file: int, channel: int, memory: int) -> None:
    """The jailed child. Never returns."""
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
        sandbox.limit_resources(limits.memory_bytes, limits.cpu_s)
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
        elif job["kind"] == "pictures":
            for time_s, frame in pictures.read_pictures(_FILE, picture_request(job["request"]), limits):
                ring.put_frame(frame, float(time_s))
        else:
            for block in waves.read_waves(_FILE, waves.SoundRequest(**job["request"]), limits):
                ring.put_sound(block)
    except MediaError as error:
        ring.flush()
        ring.send({"error": str(error)})
    except reader.DAMAGE as error:  # a file has found a way through; it still is that file's fault alone
        ring.flush()
        ring.send({"error": f"cannot be decoded: {reader.reason_of(error)}"})
    else:
        ring.flush()
        ring.send({"end": True})


def picture_request(plain: dict[str, Any]) -> pictures.PictureRequest:
    """From the plain values in which a request travels."""
    rate, size = plain["rate"], plain["size"]
    return pictures.PictureRequest(
        **plain | {"rate": None if rate is None else Fraction(*rate), "size": None if size is None else tuple(size)}
    )


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


if __name__ == "__main__":
    main(sys.argv)
