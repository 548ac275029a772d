"""A small warm process that forks one jailed child per file: `python -m autoreel.media.zygote DESCRIPTOR`.

    autoreel --socket--> zygote --fork--> child: one file, one channel, one piece of shared memory, and nothing else
                                             ends by itself, by a limit, or when its lifeline is cut

Everything a decoder needs is loaded and used once before the locks fall; afterwards no file can be opened. The zygote
itself never reads a byte of an untrusted file.

    DESCRIPTOR      a sequenced-packet socket; each message is a job in JSON with four descriptors:
                    the file, the child's channel, the lifeline, the shared memory
    channel         child to parent: JSON headers of what lies in the shared memory; back: one byte per chunk taken
    lifeline        closed by the parent to end the child; the zygote writes the child's exit status and
                    its processor time into it
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import sys
from fractions import Fraction
from typing import Any

import av
import numpy as np

from autoreel.errors import MediaError
from autoreel.media import child, lettering, pictures, reader, sandbox, waves
from autoreel.media.limits import Limits

_MAX_MESSAGE_BYTES = 1 << 16


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
    """Load every part of PyAV, and go once through all that a child does: later nothing can be loaded any more."""
    lettering.warm_up()
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in ("av.__main__", "av.datasets"):
            importlib.import_module(module.name)
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
    forked = os.fork()
    if forked == 0:
        took = sandbox.seccomp()
        try:
            os.getuid()  # not on the list
            socket.socket()
        except PermissionError:
            os._exit(0 if took else 1)
        os._exit(1)
    return os.waitpid(forked, 0)[1] == 0


def _serve(server: socket.socket) -> None:
    lifelines: dict[int, socket.socket] = {}  # by the child's process id
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        sources: list[Any] = [server, wake_read, *lifelines.values()]
        ready = select.select(sources, [], [])[0]
        if wake_read in ready:
            os.read(wake_read, 4096)
        _reap(lifelines)
        for forked, lifeline in list(lifelines.items()):
            if lifeline in ready:  # the parent never writes into it: it has been closed
                os.kill(forked, signal.SIGKILL)
                os.waitpid(forked, 0)
                lifelines.pop(forked).close()
        if server in ready:
            message, descriptors, _, _ = socket.recv_fds(server, _MAX_MESSAGE_BYTES, 4)
            if not message:
                for forked in lifelines:
                    os.kill(forked, signal.SIGKILL)
                return
            file, channel, line, memory = descriptors
            forked = os.fork()
            if forked == 0:
                child.run(json.loads(message), file, channel, memory)
            for descriptor in (file, channel, memory):
                os.close(descriptor)
            lifelines[forked] = socket.socket(fileno=line)


def _reap(lifelines: dict[int, socket.socket]) -> None:
    while True:
        try:
            forked, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if forked == 0:
            return
        lifeline = lifelines.pop(forked, None)
        if lifeline is not None:
            with contextlib.suppress(OSError):  # the parent has gone; nobody wants to know
                lifeline.send(json.dumps({"status": status, "cpu_s": used.ru_utime + used.ru_stime}).encode())
            lifeline.close()


if __name__ == "__main__":
    main(sys.argv)
