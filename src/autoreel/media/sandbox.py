"""The layers that lock a process in, by system calls through ctypes: nothing to install, nothing that needs root.

    layer           what it takes away
    rlimits         memory, processor time, written bytes, open files, processes, core dumps
    no_new_privs    gaining rights by running a program
    namespaces      the network, other users' rights, other processes' shared memory
    landlock        every path of the file system, TCP, signals to others
    seccomp         every system call but those that decoding needs; the others answer "not permitted"

Linux on x86-64 and aarch64; elsewhere only rlimits. What took is reported, never assumed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_SET_NAME = 1, 4, 22, 38, 15
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC, _CLONE_NEWUTS = 0x10000000, 0x40000000, 0x08000000, 0x04000000
_CLONE_THREAD = 0x00010000
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446  # the same number on every architecture

# Audit architecture (linux/audit.h) and system call numbers (asm/unistd.h).
_ARCHITECTURES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
            "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17,
            "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid":
            39, "clone": 56, "exit": 60, "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "times": 100,
            "sigaltstack": 131, "prctl": 157, "gettid": 186, "futex": 202, "sched_getaffinity": 204,
            "set_tid_address": 218, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
            "clock_nanosleep": 230, "exit_group": 231, "ppoll": 271, "set_robust_list": 273, "prlimit64": 302,
            "getrandom": 318, "membarrier": 324, "rseq": 334, "clone3": 435,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "read": 63, "write": 64, "close": 57, "fstat": 80, "lseek": 62, "mmap": 222, "mprotect": 226, "munmap":
            215, "brk": 214, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "pread64": 67,
            "readv": 65, "writev": 66, "sched_yield": 124, "mremap": 216, "madvise": 233, "nanosleep": 101,
            "getpid": 172, "clone": 220, "exit": 93, "gettimeofday": 169, "getrusage": 165, "sysinfo": 179, "times":
            153, "sigaltstack": 132, "prctl": 167, "gettid": 178, "futex": 98, "sched_getaffinity": 123,
            "set_tid_address": 96, "restart_syscall": 128, "clock_gettime": 113, "clock_getres": 114,
            "clock_nanosleep": 115, "exit_group": 94, "ppoll": 73, "set_robust_list": 99, "prlimit64": 261,
            "getrandom": 278, "membarrier": 283, "rseq": 293, "clone3": 435,
        },
    ),
}  # fmt: skip


def supported() -> bool:
    """True where the layers beyond rlimits can exist."""
    return sys.platform == "linux" and platform.machine() in _ARCHITECTURES


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} refused")


def forbid_new_privileges() -> bool:
    """No program run from here on gains rights; landlock and seccomp need it. True when it took."""
    try:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    except OSError:
        return False
    return True


def die_with_parent(parent_pid: int) -> None:
    """Be killed when the parent ends; end at once when it already has."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_DUMPABLE, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def leave_namespaces() -> dict[str, bool]:
    """Move into an empty network of its own, and where that is offered into a user namespace without rights.

    Containers often refuse; then False stands beside the name.
    """
    libc = _libc()
    everything = _CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    if libc.unshare(everything) == 0:
        return {"user_namespace": True, "network_namespace": True}
    network = libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS) == 0
    return {"user_namespace": False, "network_namespace": network}


def landlock() -> int:
    """Forbid every path, TCP connection, abstract socket and outward signal.

    Returns:
        The version of the kernel's interface that was used, 0 when there is none.
    """
    libc = _libc()
    version = int(libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
    if version <= 0:
        return 0
    # How many kinds of access each version knows; asking for one it does not know is an error.
    file_system = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = struct.pack("=QQQ", file_system, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = int(libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0)))
    if ruleset < 0:
        return 0
    try:
        took = libc.syscall(_LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0
    finally:
        os.close(ruleset)
    return version if took else 0


def limit_resources(memory_bytes: int, cpu_s: int, threads: int = 1) -> None:
    """Bound this process; raising the bounds again is refused by seccomp.

    The bound on processes counts threads too, and those of the same person elsewhere: with decoder threads there is
    none.
    """
    if threads == 1:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    for kind, bound in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (value, value))


def seccomp() -> bool:
    """Leave only the system calls that decoding needs; the others answer EPERM. True when it took."""
    program = _filter_program()
    if not program:
        return False
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(header, len(header))
    nothing = ctypes.c_ulong(0)
    return bool(_libc().prctl(_PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(holder), nothing, nothing) == 0)


# Classic BPF (linux/filter.h): load a word of seccomp_data, compare, answer.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _ARGUMENT = 0, 4, 16  # offsets; each argument is 8 bytes, low half first
_PROT_EXEC = 4


def _filter_program() -> bytes:
    machine = platform.machine()
    if not supported():
        return b""
    audit, calls = _ARCHITECTURES[machine]
    special = ("clone", "clone3", "mmap", "mprotect", "prlimit64", "prctl")
    code = [
        (_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL),  # the x32 interface has other numbers
    ]  # fmt: skip

    def block(name: str, body: list[tuple[int, int, int, int]]) -> None:
        code.append((_EQUAL, 0, len(body), calls[name]))
        code.extend(body)

    refuse, allow = (_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    # Threads, but no processes. clone3 hides its flags behind a pointer; ENOSYS makes the C library use clone.
    block("clone", [(_LOAD, 0, 0, _ARGUMENT), (_ANY_BIT, 0, 1, _CLONE_THREAD), allow, refuse])
    block("clone3", [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)])
    for name in ("mmap", "mprotect"):
        block(name, [(_LOAD, 0, 0, _ARGUMENT + 16), (_ANY_BIT, 0, 1, _PROT_EXEC), refuse, allow])
    new_limit = _ARGUMENT + 16  # a null pointer only reads the limit
    block("prlimit64", [
        (_LOAD, 0, 0, new_limit), (_EQUAL, 0, 3, 0), (_LOAD, 0, 0, new_limit + 4), (_EQUAL, 0, 1, 0), allow, refuse,
    ])  # fmt: skip
    block("prctl", [(_LOAD, 0, 0, _ARGUMENT), (_EQUAL, 0, 1, _PR_SET_NAME), allow, refuse])
    for name, number in calls.items():
        if name not in special:
            code += [(_EQUAL, 0, 1, number), allow]
    code.append(refuse)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
