"""Small files that ask for much: each must be ended within a second and 256 MB.

Their control is FFmpeg without any bound, in a child that is stopped when it has taken far more than that.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av

from autoreel.errors import MediaError
from autoreel.media import jail
from autoreel.media.decode import Limits, decode, read_sound

MOST_S, MOST_BYTES = 1.0, 256 << 20
CONTROL_S, CONTROL_BYTES = 4.0, 4 << 30
LIMITS = Limits(max_duration_s=600.0)  # what prepare gives


@dataclass(frozen=True)
class Bomb:
    """One file.

    Args:
        name: what it is.
        suffix: of its name.
        content: its bytes.
    """

    name: str
    suffix: str
    content: bytes


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, colour: int = 2, frames: int = 1, extra: bytes = b"") -> bytes:
    """A picture of nothing; with several frames an animation that shows it again and again."""
    row = 1 + width * {0: 1, 2: 3, 6: 4}[colour] * depth // 8
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(bytes(row)) for _ in range(min(height, 100))) + packer.flush()
    out = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + extra
    if frames > 1:
        out += _chunk(b"acTL", struct.pack(">II", frames, 0))
        out += _chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 25, 0, 0))
    out += _chunk(b"IDAT", data)
    for number in range(1, min(frames, 200)):
        out += _chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * number - 1, width, height, 0, 0, 1, 25, 0, 0))
        out += _chunk(b"fdAT", struct.pack(">I", 2 * number) + data)
    return out + _chunk(b"IEND", b"")


def packed_text(megabytes: int) -> Bomb:
    """A small picture with a long text."""
    text = zlib.compress(bytes(megabytes << 20), 1)
    return Bomb(f"PNG with {megabytes} MB of packed text", ".png", png(16, 16, extra=_chunk(b"zTXt", b"k\0\0" + text)))


def packed_colours(megabytes: int) -> Bomb:
    """A small picture with a large colour profile."""
    text = zlib.compress(bytes(megabytes << 20), 1)
    return Bomb(
        f"PNG with {megabytes} MB of packed colours", ".png", png(16, 16, extra=_chunk(b"iCCP", b"k\0\0" + text))
    )


def gif(width: int, height: int, frames: int, part: tuple[int, int] | None = None) -> bytes:
    """An animation whose pictures hold next to nothing."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    inner = part or (1, 1)
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, *inner, 0) + b"\x02\x02\x44\x01\x00"
    return head + (b"\x21\xf9\x04\x00\x01\x00\x00\x00" + image) * frames + b"\x3b"


def bmp(width: int, height: int) -> bytes:
    """A header that promises a picture, run-length coded, and its end at once."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 2, 0) + b"\0\0\0\0\xff\xff\xff\0"
    data = b"\0\1"
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(data), 0, 0, 14 + len(header)) + header + data


def wav(num_samples: int, rate: int, channels: int = 1) -> bytes:
    """Sound that is said to be long and is not there."""
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels & 0xFFFFFFFF, 2 * channels & 0xFFFF, 16)
    size = min(num_samples * 2 * channels, 0xFFFFFF00)
    head = b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", size) + bytes(400)


def y4m(width: int, height: int) -> bytes:
    """Raw pictures that would be gigantic."""
    return f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420\nFRAME\n".encode() + bytes(4096)


def ivf(width: int, height: int, codec: bytes, data: bytes) -> bytes:
    """A stream whose pictures say their size themselves."""
    head = b"DKIF" + struct.pack("<HH4sHHIIII", 0, 32, codec, width & 0xFFFF, height & 0xFFFF, 25, 1, 1, 0)
    return head + struct.pack("<IQ", len(data), 0) + data


def vp8(width: int, height: int) -> bytes:
    """A key picture of VP8 with a size, and nothing in it."""
    first = 0 | (1 << 4) | (2000 << 5)
    return struct.pack("<I", first)[:3] + b"\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(3000)


def film(folder: Path, name: str, times: list[int], size: tuple[int, int] = (64, 64)) -> bytes:
    """A real film whose pictures stand at any times, in thousandths of a second."""
    from fractions import Fraction

    path = folder / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp in times:
            frame = av.VideoFrame(size[0], size[1], "yuvj420p")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def bombs(folder: Path) -> Iterator[Bomb]:
    """Twenty and more."""
    yield Bomb("GIF of 16000 x 16000, 1000 pictures", ".gif", gif(16000, 16000, 1000))
    yield Bomb("GIF of 65535 x 65535", ".gif", gif(65535, 65535, 3))
    yield Bomb("GIF of 8000 x 8000, 5000 pictures", ".gif", gif(8000, 8000, 5000))
    yield Bomb("PNG of 30000 x 30000", ".png", png(30000, 30000))
    yield Bomb("PNG of 100000 x 100000", ".png", png(100_000, 100_000, 8, 0))
    yield Bomb("PNG of 20000 x 20000, 16 bits and alpha", ".png", png(20000, 20000, 16, 6))
    yield Bomb("PNG of 1 x 2147483647", ".png", png(1, 2**31 - 1, 8, 0))
    yield Bomb("animated PNG of 8000 x 8000, 200 pictures", ".apng", png(8000, 8000, 8, 0, frames=200))
    yield packed_text(200)
    yield packed_colours(200)
    yield Bomb("BMP of 60000 x 60000", ".bmp", bmp(60000, 60000))
    yield Bomb("BMP of 2147483647 x 2147483647", ".bmp", bmp(2**31 - 1, 2**31 - 1))
    yield Bomb("PPM of 100000 x 100000", ".ppm", b"P6\n100000 100000\n255\n" + bytes(4096))
    yield Bomb("Y4M of 32000 x 32000", ".y4m", y4m(32000, 32000))
    yield Bomb("VP8 of 16383 x 16383", ".ivf", ivf(16383, 16383, b"VP80", vp8(16383, 16383)) * 1)
    yield Bomb("film with pictures 31 years apart", ".mkv", film(folder, "years.mkv", [0, 40, 978_307_200_000]))
    yield Bomb("film with pictures a day apart", ".mp4", film(folder, "days.mp4", [0, 40, 86_400_000, 2 * 86_400_000]))
    yield Bomb("sound of 2147483647 samples", ".wav", wav(2**31 - 1, 8000))
    yield Bomb("sound at 1 sample a second", ".wav", wav(1 << 30, 1))
    yield Bomb("sound in 65535 channels", ".wav", wav(1 << 20, 48000, 65535))
    yield Bomb("a thousand streams", ".ts", _many_streams())
    yield Bomb("boxes inside boxes", ".mp4", _nested())
    sound = film(folder, "index.mp4", list(range(0, 4000, 40)))
    yield Bomb("an index of 2147483647 pictures", ".mp4", _long_index(sound))


def _many_streams() -> bytes:
    """A transport stream in which every packet is of another stream."""
    out = bytearray()
    for pid in range(32, 8000):
        body = b"\0\0\1\xe0\0\0\x80\0\0" + bytes(175)
        out += b"\x47" + struct.pack(">H", 0x4000 | pid) + b"\x10" + body
    return bytes(out)


def _nested() -> bytes:
    box = b""
    for _ in range(20_000):
        box = struct.pack(">I", len(box) + 8) + b"moov" + box
        if len(box) > 4_000_000:
            break
    return struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + box


def _long_index(content: bytes) -> bytes:
    """The same film, each of whose pictures is said to come two thousand million times."""
    place = content.find(b"stts")
    return content[: place + 12] + struct.pack(">I", 2**31 - 1) + content[place + 16 :]


def watched(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds that `work` took and the most memory any of the jail's children had meanwhile."""
    most, done = [0], threading.Event()
    zygote = jail._zygote()._process.pid

    def watch() -> None:
        while not done.is_set():
            try:
                for child in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split():
                    status = Path(f"/proc/{child}/status").read_text()
                    most[0] = max(most[0], int(status.partition("VmHWM:")[2].split()[0]) << 10)
            except (OSError, IndexError, ValueError):
                pass  # it has just ended
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.monotonic()
    try:
        work()
    finally:
        took_s = time.monotonic() - began
        done.set()
        thread.join()
    return took_s, most[0]


def ended(path: Path) -> str:
    """How the jail ends it: the reason, or how many pictures it has."""
    try:
        return f"{sum(len(chunk.frames) for chunk in decode(path, size=(64, 64), limits=LIMITS))} pictures"
    except MediaError as error:
        reason = str(error).partition(": ")[2]
    if "no video" not in reason:
        return reason
    try:
        return f"{read_sound(path, 16000, 1, limits=LIMITS).duration_s:.1f} s of sound"
    except MediaError as error:
        return str(error).partition(": ")[2]


def careless(path: Path) -> tuple[float, int, bool]:
    """Seconds and memory without bounds, up to CONTROL_S and CONTROL_BYTES; and whether it had to be stopped."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)
        resource.setrlimit(resource.RLIMIT_AS, (CONTROL_BYTES, CONTROL_BYTES))
        try:
            with av.open(str(path)) as container:
                for frame in container.decode():
                    if isinstance(frame, av.VideoFrame):
                        frame.to_ndarray(format="rgb24")
        except Exception:
            os._exit(1)
        os._exit(0)
    began = time.monotonic()
    while time.monotonic() < began + CONTROL_S:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return time.monotonic() - began, usage.ru_maxrss << 10, os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    _, _, usage = os.wait4(child, 0)
    return CONTROL_S, usage.ru_maxrss << 10, True
