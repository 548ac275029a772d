"""What a decoder that was taken over would try: each attempt succeeds in a free child and fails in a locked one.

Both are forked from this process. The locked one closes the jail's layers on itself, as the real child does, and tries.
"""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing.shared_memory
import os
import resource
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from autoreel.media import sandbox

_LIBC = ctypes.CDLL(None, use_errno=True)
PATIENCE_S = 10.0


def _called(*arguments: int | bytes | None) -> None:
    """A system call by number; raises OSError where it is refused."""
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    if _LIBC.syscall(*plain) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _number(x86_64: int, aarch64: int) -> int:
    return x86_64 if os.uname().machine == "x86_64" else aarch64


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _descriptors() -> None:
    """More open files than a child has use for."""
    made = [os.dup(0) for _ in range(64)]
    for descriptor in made:
        os.close(descriptor)


def _connect(kind: socket.SocketKind) -> Callable[[], None]:
    def attempt() -> None:
        with socket.socket(socket.AF_INET, kind) as made:
            made.settimeout(1)
            made.connect(("127.0.0.1", _PORT[0]))

    return attempt


def _pair() -> None:
    for one in socket.socketpair():
        one.close()


def _pipe() -> None:
    for descriptor in os.pipe():
        os.close(descriptor)


def _who() -> None:
    _called(_number(102, 174))


def _ring() -> None:
    parameters = ctypes.create_string_buffer(120)
    ring = int(_LIBC.syscall(425, 4, parameters))
    if ring < 0:
        error = ctypes.get_errno()
        # A kernel may have it switched off for all: then there is nothing to close.
        raise OSError(error, os.strerror(error))
    os.close(ring)


_PORT = [9]
_PLACE = [Path("/nowhere")]


def _written(name: str) -> None:
    (_PLACE[0] / name).write_bytes(b"x")


def _shared() -> None:
    made = multiprocessing.shared_memory.SharedMemory(create=True, size=4096)
    made.close()
    made.unlink()


def _signal_parent() -> None:
    os.kill(os.getppid(), 0)


def _executable_later() -> None:
    memory = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _LIBC.mprotect(ctypes.c_void_p(address), 4096, 7) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")


ATTEMPTS: dict[str, Callable[[], object]] = {
    "read a file": lambda: Path("/etc/hostname").read_bytes(),
    "read the person's environment": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "read its own memory map": lambda: Path("/proc/self/maps").read_bytes(),
    "write its own memory": lambda: open("/proc/self/mem", "r+b").close(),
    "write a file": lambda: _written("new"),
    "write over a file": lambda: _written("old"),
    "write in the shared memory of the machine": lambda: open(f"/dev/shm/autoreel-{os.getpid()}", "wb").close(),
    "write to the terminal": lambda: open("/dev/null", "wb").close(),
    "list a folder": lambda: os.listdir("/"),
    "list descriptors": lambda: os.listdir("/proc/self/fd"),
    "look at a file": lambda: os.stat("/etc/hostname"),
    "follow a link": lambda: os.readlink("/proc/self/exe"),
    "make a folder": lambda: os.mkdir(_PLACE[0] / "folder"),
    "make a link": lambda: os.symlink("/etc/hostname", _PLACE[0] / "link"),
    "make a second name": lambda: os.link(_PLACE[0] / "old", _PLACE[0] / "second"),
    "rename a file": lambda: os.rename(_PLACE[0] / "old", _PLACE[0] / "renamed"),
    "remove a file": lambda: os.unlink(_PLACE[0] / "old"),
    "change rights": lambda: os.chmod(_PLACE[0] / "old", 0o777),
    "cut a file": lambda: os.truncate(_PLACE[0] / "old", 0),
    "make a pipe with a name": lambda: os.mkfifo(_PLACE[0] / "pipe"),
    "change the folder": lambda: os.chdir("/"),
    "change the root": lambda: os.chroot(_PLACE[0]),
    "open TCP": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
    "connect by TCP": _connect(socket.SOCK_STREAM),
    "send by UDP": _connect(socket.SOCK_DGRAM),
    "open TCP over IPv6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close(),
    "open a socket of this machine": lambda: socket.socket(socket.AF_UNIX).close(),
    "make a pair of sockets": _pair,
    "talk to the kernel": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "wait on descriptors": lambda: select.epoll().close(),
    "fork": _fork,
    "become a shell": lambda: os.execv("/bin/sh", ["sh", "-c", "exit 0"]),
    "start a program": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    "signal its parent": _signal_parent,
    "trace its parent": lambda: _called(_number(101, 117), 16896, os.getppid(), 0, 0),  # PTRACE_SEIZE
    "trace itself": lambda: _called(_number(101, 117), 0, 0, 0, 0),
    "read another's memory": lambda: _called(_number(310, 270), os.getpid(), 0, 0, 0, 0, 0),
    "make a pipe": _pipe,
    "make a file in memory": lambda: os.close(os.memfd_create("x")),
    "share memory by name": _shared,
    "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close(),
    "executable memory later": _executable_later,
    "become another": lambda: os.setuid(os.getuid()),
    "raise a bound": lambda: resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)),
    "priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, 10),
    "leave its namespaces": lambda: _called(_number(272, 97), 0),
    "new rules": lambda: _called(444, None, 0, 1),  # which version of Landlock
    "an asynchronous ring": _ring,
    "a timer": lambda: signal.setitimer(signal.ITIMER_REAL, 100),
    "who it is": _who,
    "the name of the machine": lambda: os.uname(),
    "many descriptors": _descriptors,
    "much memory": lambda: mmap.mmap(-1, 6 << 30).close(),
}


def lock() -> None:
    """Close all layers on this process, as zygote and child do together."""
    sandbox.forbid_new_privileges()
    sandbox.leave_namespaces()
    sandbox.landlock()
    sandbox.limit_resources(3 << 30, 60)
    if not sandbox.seccomp():
        raise OSError("no seccomp")


def outcome(attempt: Callable[[], object], locked: bool) -> str:
    """`succeeded`, `refused` or `hung`, in a child of its own."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            if locked:
                lock()
            try:
                attempt()
                code = 0
            except (OSError, ValueError, MemoryError, ctypes.ArgumentError):
                code = 1
        finally:
            os._exit(code)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return {0: "succeeded", 1: "refused"}.get(code, f"refused ({code})" if code < 0 else f"failed ({code})")
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def attempts() -> dict[str, tuple[str, str]]:
    """What became of every attempt: (outside, locked in)."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        _PLACE[0] = Path(folder)
        _PORT[0] = server.getsockname()[1]
        for name, attempt in ATTEMPTS.items():
            results = []
            for locked in (True, False):  # the free one changes the files that the locked one is to find
                (_PLACE[0] / "old").write_bytes(b"old")
                results.append(outcome(attempt, locked))
            found[name] = (results[1], results[0])
    return found
