"""The jail holds. Every attack has a control that shows it would succeed outside."""

import os
import platform
import re
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from autoreel.errors import JailError, MediaError
from autoreel.media import jail, reader, sandbox
from autoreel.media.decode import FrameChunk, Limits, decode, first_frame, read_clip, read_sound
from autoreel.media.limits import PassingError
from autoreel.media.probe import _checked, probe

SOURCE = str(Path(jail.__file__).resolve().parents[2])

# What a taken-over decoder would try, as Python.
ATTACKS = {
    "open a file": "open('/etc/hostname', 'rb')",
    "make a file": "open('/tmp/autoreel-escape', 'wb')",
    "see a file": "os.stat('/etc/hostname')",
    "list a folder": "os.listdir('/')",
    "own descriptor's path": "open('/proc/self/fd/0', 'rb')",
    "TCP": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "UNIX socket": "socket.socket(socket.AF_UNIX)",
    "fork": "os.fork() or os._exit(0)",
    "replace itself": "os.execv('/bin/sh', ['sh', '-c', 'printf succeeded'])",
    "run a program": "os.posix_spawn('/bin/true', ['true'], {})",
    "kill": "os.kill(os.getppid(), 0)",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    "pipe": "os.pipe()",
    "memory file": "os.memfd_create('x')",
    "executable memory": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "become another": "os.setuid(os.getuid())",
}
ATTEMPT = """
import mmap, os, resource, socket, sys
sys.path.insert(0, {source!r})
from autoreel.media import sandbox
if {locked}:
    assert sandbox.forbid_new_privileges()
    sandbox.limit_resources(3 << 30, 60)
    {layer}
try:
    {attack}
except (OSError, ValueError) as error:  # resource answers with a ValueError
    os.write(1, f"refused {{getattr(error, 'errno', '')}}".encode())
else:
    os.write(1, b"succeeded")
os._exit(0)
"""


def attempt(attack: str, locked: bool, layer: str = "sandbox.landlock(); assert sandbox.seccomp()") -> str:
    code = ATTEMPT.format(source=SOURCE, locked=locked, attack=attack, layer=layer)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout or done.stderr


@pytest.fixture(scope="module")
def layers() -> dict[str, bool | str]:
    report = jail.jail_report()
    if not report.get("seccomp"):
        pytest.skip("this machine offers no seccomp, which the attacks are to be stopped by")
    return report


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_attacks_are_refused(layers: dict[str, bool | str], attack: str) -> None:
    assert attempt(attack, locked=False) == "succeeded"
    assert attempt(attack, locked=True).startswith("refused")


def test_landlock_alone_hides_files(layers: dict[str, bool | str]) -> None:
    if not layers["landlock"]:
        pytest.skip("this machine offers no Landlock")
    for attack in ("open a file", "make a file", "list a folder"):
        assert attempt(ATTACKS[attack], locked=True, layer="assert sandbox.landlock()") == "refused 13"


def test_threads_are_allowed(layers: dict[str, bool | str]) -> None:
    attack = "import threading; t = threading.Thread(target=print); t.start(); t.join()"
    assert "succeeded" in attempt(attack, locked=True)


def test_the_report_says_which_layers_took(layers: dict[str, bool | str]) -> None:
    assert set(layers) == {
        "rlimits", "no_new_privileges", "user_namespace", "network_namespace", "landlock", "seccomp", "closed",
    }  # fmt: skip
    assert layers["closed"] is True


@pytest.fixture
def secret(make_video: Callable[..., Path]) -> Path:
    """A neighbouring film that the attacks try to reach."""
    return make_video("secret.ts", [np.full((32, 32, 3), 200, np.uint8)] * 25, codec="mpeg2video", options={})


def playlists(secret: Path) -> dict[str, str]:
    return {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile {secret.name}\n",
    }


@pytest.mark.parametrize("name", ["list.m3u8", "concat.mp4"])
def test_files_that_name_other_files(tmp_path: Path, secret: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(playlists(secret)[name])
    with av.open(str(path)) as container:  # the control: outside it decodes the neighbour
        assert next(container.decode(video=0)).width == 32
    with pytest.raises(MediaError, match="cannot be opened"):
        first_frame(path)


@pytest.mark.parametrize(
    "name", ["http:evil.mp4", "subfile,,start,0,end,9,,:x.mp4", "concat:a|b.mp4", "data:,x.mp4", "-i"]
)
def test_names_that_look_like_addresses_are_names(
    tmp_path: Path, make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_video("film.mp4", [np.full((32, 32, 3), 200, np.uint8)] * 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert first_frame(name).mean() == pytest.approx(200, abs=5)


def test_without_layers_files_are_refused(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jail._is_closed({"seccomp": True})
    assert not jail._is_closed({"landlock": "version 7", "network_namespace": True})  # sockets that are files stay open
    bare: dict[str, bool | str] = {"rlimits": True, "landlock": False, "seccomp": False}
    monkeypatch.setattr(jail._zygote(), "layers", bare)
    monkeypatch.delenv(jail.UNSAFE_VARIABLE, raising=False)
    assert jail.jail_report()["closed"] is False
    with pytest.raises(JailError, match="--unsafe-no-jail"):
        probe(hostile / "video_180.mov")
    monkeypatch.setenv(jail.UNSAFE_VARIABLE, "1")
    assert probe(hostile / "video_180.mov").width == 568
    monkeypatch.delenv(jail.UNSAFE_VARIABLE)
    jail.unsafe_no_jail()
    try:
        assert probe(hostile / "video_180.mov").width == 568
    finally:
        jail.unsafe_no_jail(False)


def test_other_systems_decode_only_when_trusted(
    hostile: Path, make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video("film.mp4", [np.full((32, 32, 3), 200, np.uint8)] * 5)
    inside = read_clip(path)
    monkeypatch.setattr(jail, "_IS_LINUX", False)
    monkeypatch.delenv(jail.UNSAFE_VARIABLE, raising=False)
    with pytest.raises(JailError, match="needs Linux"):
        probe(path)
    monkeypatch.setenv(jail.UNSAFE_VARIABLE, "1")
    outside = read_clip(path)
    assert np.array_equal(inside.frames, outside.frames) and inside.rate == outside.rate
    assert read_sound(hostile / "sample_audio_only.mp4", 16000, 1).duration_s == pytest.approx(1.0, abs=0.1)
    with pytest.raises(MediaError, match="cannot be opened"):
        probe(hostile / "zero_bytes.webm")


def test_a_dead_zygote_is_replaced(hostile: Path) -> None:
    probe(hostile / "video_180.mov")
    process = jail._zygote()._process
    process.kill()
    process.wait()
    assert probe(hostile / "video_180.mov").width == 568


def test_a_killed_child_is_an_error_of_its_file(hostile: Path) -> None:
    stream = decode(hostile / "silent-black-25s.mp4", size=(64, 64))
    next(stream)
    children = children_of(jail._zygote()._process.pid)
    assert len(children) == 1
    os.kill(children[0], 11)
    with pytest.raises(MediaError, match="crashes its decoder"):
        for _ in stream:
            pass


def end_of(stream: Iterator[FrameChunk]) -> MediaError:
    """What ends a stream that was begun."""
    with pytest.raises(MediaError) as caught:
        for _ in stream:
            pass
    return caught.value


def test_a_child_that_is_killed_from_outside_is_not_its_files_fault(hostile: Path) -> None:
    for number, words in ((9, "as when memory runs out"), (15, "signal 15"), (24, "killed from outside")):
        stream = decode(hostile / "silent-black-25s.mp4", size=(64, 64))
        next(stream)
        os.kill(children_of(jail._zygote()._process.pid)[0], number)
        error = end_of(stream)
        assert isinstance(error, PassingError) and words in str(error) and "\n" not in str(error)
    stream = decode(hostile / "silent-black-25s.mp4", size=(64, 64))
    next(stream)
    jail._zygote()._process.kill()
    error = end_of(stream)
    assert isinstance(error, PassingError) and "without a word" in str(error)


def test_closing_ends_the_child(hostile: Path) -> None:
    stream = decode(hostile / "silent-black-25s.mp4", size=(64, 64))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while children_of(jail._zygote()._process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert children_of(jail._zygote()._process.pid) == []


def children_of(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_many_files_at_once(hostile: Path) -> None:
    results: list[int] = []

    def work() -> None:
        for _ in range(3):
            chunks = decode(hostile / "pigs_in_a_polka.gif", size=(32, 32), rate=Fraction(10))
            results.append(sum(len(c.frames) for c in chunks))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [30] * 12


def test_descriptors_do_not_leak(hostile: Path) -> None:
    probe(hostile / "video_180.mov")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("video_180.mov", "corrupted.mp4", "zero_bytes.webm") * 3:
        try:
            list(decode(hostile / name, size=(16, 16)))
        except MediaError:
            continue
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "header",
    [
        {"shape": [10**9, 32, 32, 3], "slot": 0, "times": []},
        {"shape": [1, 32, 32, 3], "slot": 7, "times": [0.0]},
        {"shape": [1, 32, 32, 3], "slot": -1, "times": [0.0]},
        {"shape": [1, 32, 32, 3], "slot": 0, "times": [float("nan")]},
        {"shape": [1, 32, 32, 4], "slot": 0, "times": [0.0]},
        {"shape": [-1, -32, 32, 3], "slot": 0, "times": [0.0]},
        {"shape": [True, 32, 32, 3], "slot": 0, "times": [0.0]},
        {"shape": "x", "slot": 0},
        {"shape": [4, 2], "slot": 0, "times": 7},
        {},
    ],
)
def test_a_taken_over_child_cannot_lie_about_sizes(header: dict[str, Any]) -> None:
    import mmap

    job = jail._Job(jail._zygote(), 0, "pictures", {}, Limits(), 3 * 32 * 32)
    with mmap.mmap(-1, 2 * 3 * 32 * 32) as view, pytest.raises(MediaError, match="taken over"):
        job._copied(header, view)


def read_through(data: bytes) -> dict[str, Any]:
    """What the parent makes of a child that says these bytes."""
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    job = jail._Job(jail._zygote(), 0, "probe", {}, Limits(), 0)
    with ours, theirs:
        theirs.send(data)
        return job._receive(ours, ours)


@pytest.mark.parametrize("data", [b"[" * 60_000, b"[1]", b"\xff\xfe", b'{"a":' * 9000, b"9" * 60_000, b"null"])
def test_a_taken_over_child_cannot_break_its_parent(data: bytes) -> None:
    with pytest.raises(MediaError, match="taken over"):
        read_through(data)


INFO = {
    "container": "mov", "codec": "h264", "width": 2, "height": 2, "rate": [25, 1], "duration_s": 1.0,
    "rotation_deg": 0, "has_sound": False, "sound_rate_hz": None, "channels": None, "texts": {},
}  # fmt: skip


@pytest.mark.parametrize(
    "lie",
    [
        {"width": float("inf")}, {"width": -1}, {"height": "2"}, {"rate": [1, 0]}, {"rate": []}, {"rate": 5},
        {"duration_s": float("nan")}, {"duration_s": 10**400}, {"rotation_deg": float("inf")}, {"width": None},
        {"texts": 5},
    ],
)  # fmt: skip
def test_a_taken_over_child_cannot_lie_about_what_a_file_is(lie: dict[str, Any]) -> None:
    assert _checked(INFO, "x").width == 2
    with pytest.raises(MediaError, match="taken over"):
        _checked(INFO | lie, "x")


def test_what_a_child_says_is_one_line_without_escapes() -> None:
    assert jail._one_line("a\nb\x1b[2Jc\r") == "a b [2Jc "
    assert len(jail._one_line("x" * 10_000)) == 500


def decide(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What a classic BPF program answers to a system call; only the instructions that ours is made of."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    code = list(struct.iter_unpack("=HBBI", program))
    place, value = 0, 0
    while True:
        kind, if_true, if_false, constant = code[place]
        place += 1
        if kind == 0x20:
            value = struct.unpack_from("<I", data, constant)[0]
        elif kind == 0x06:
            return int(constant)
        else:
            holds = {0x15: value == constant, 0x35: value >= constant, 0x45: bool(value & constant)}[kind]
            place += if_true if holds else if_false


ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
# read, openat, socket, execve, connect, kill, ptrace, clone, clone3, mmap, mprotect, prctl, prlimit64, io_uring_setup
NUMBERS = {
    "x86_64": (0, 257, 41, 59, 42, 62, 101, 56, 435, 9, 10, 157, 302, 425),
    "aarch64": (63, 56, 198, 221, 203, 129, 117, 220, 435, 222, 226, 167, 261, 425),
}


@pytest.mark.parametrize("machine", NUMBERS)
def test_the_filter_decides_alike_on_every_architecture(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", "linux")
    program, audit = sandbox._filter_program(), sandbox._ARCHITECTURES[machine][0]

    def answer(number: int, *arguments: int) -> int:
        return decide(program, audit, number, *arguments)

    numbers = NUMBERS[machine]
    read, openat, sock, execve, connect, kill, ptrace, clone, clone3, mapping, protect, prctl, limit, ring = numbers
    assert answer(read) == ALLOW
    assert {answer(n) for n in (openat, sock, execve, connect, kill, ptrace, ring, 9999)} == {EPERM}
    assert answer(clone, 0x00010000) == ALLOW and answer(clone, 17) == EPERM and answer(clone3) == ENOSYS
    assert answer(mapping, 0, 4096, 3) == ALLOW and answer(mapping, 0, 4096, 7) == EPERM
    assert answer(protect, 0, 4096, 1) == ALLOW and answer(protect, 0, 4096, 5) == EPERM
    assert answer(prctl, 15) == ALLOW and answer(prctl, 4, 1) == EPERM
    assert answer(limit, 0, 7, 0) == ALLOW
    assert answer(limit, 0, 7, 4096) == EPERM and answer(limit, 0, 7, 1 << 32) == EPERM
    assert decide(program, 0x40000003, read) == KILL  # another architecture's numbers, as 32-bit calls have
    assert answer(0x40000000 + read) == KILL
    others = {m for m in NUMBERS if m != machine}
    assert all(decide(program, sandbox._ARCHITECTURES[m][0], read) == KILL for m in others)


@pytest.mark.parametrize(
    ("machine", "header", "prefix"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "__NR_"),
        ("aarch64", "/usr/include/asm-generic/unistd.h", "__NR(?:3264)?_"),
    ],
)
def test_the_numbers_are_the_kernels(machine: str, header: str, prefix: str) -> None:
    if not Path(header).exists():
        pytest.skip("the kernel's headers are not installed here")
    found = dict(re.findall(rf"#define\s+{prefix}(\w+)\s+(\d+)", Path(header).read_text()))
    calls = sandbox._ARCHITECTURES[machine][1]
    assert {name: int(found.get(name, -1)) for name in calls} == calls


def test_torch_is_never_in_the_child(hostile: Path) -> None:
    probe(hostile / "video_180.mov")
    maps = Path(f"/proc/{jail._zygote()._process.pid}/maps").read_text()
    assert "libavcodec" in maps and "torch" not in maps


def test_chunks_are_copies(make_video: Callable[..., Path], corners: NDArray[np.uint8]) -> None:
    path = make_video("many.mp4", [corners] * 130)
    first, *rest = decode(path, size=(8, 8))
    kept = first.frames.copy()
    assert len(rest) == 2
    assert np.array_equal(first.frames, kept) and first.frames.flags.writeable


def test_a_disk_that_fails_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)  # reading a folder fails as a broken disk does
    try:
        with pytest.raises(PassingError, match="cannot be read: Is a directory"):
            reader.inspect(descriptor, Limits())
    finally:
        os.close(descriptor)
    with pytest.raises(PassingError, match="no such file"):
        probe(tmp_path / "gone.mp4")
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(MediaError) as caught:
        probe(tmp_path / "text.mp4")
    assert not isinstance(caught.value, PassingError)
