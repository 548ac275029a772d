"""What is written is what was given, exactly as long, and complete or not there."""

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autoreel.clip import Sound
from autoreel.errors import OutputError, UsageError
from autoreel.media import encode
from autoreel.media.decode import decode_images, read_clip, read_sound
from autoreel.media.encode import VideoWriter, write_strip
from autoreel.media.probe import probe

SOURCE = str(Path(encode.__file__).resolve().parents[2])


def ramp(num: int, size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    """Smooth coloured pictures that drift."""
    y, x = np.mgrid[: size[0], : size[1]]
    frames = [
        np.stack([(x * 3 + 4 * t) % 256, np.full(size, 10 * t % 256), (y * 4 + 2 * t) % 256], axis=-1)
        for t in range(num)
    ]
    smooth = [np.asarray(Image.fromarray(f.astype(np.uint8)).resize((size[1], size[0]))) for f in frames]
    return np.stack(smooth)


def flat(num: int, size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    """Flat pictures, each of its own colour."""
    colours = np.random.default_rng(0).integers(0, 256, (num, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colours, (num, *size, 3)).copy()


def tone(length_s: float, rate: int = 48000, channels: int = 2) -> Sound:
    t = np.arange(round(length_s * rate)) / rate
    return Sound(np.repeat(0.5 * np.sin(2 * np.pi * 440 * t)[:, None], channels, axis=1).astype(np.float32), rate)


def write(path: Path, frames: NDArray[np.uint8], rate: Fraction | int = 25, **options: Any) -> Path:
    with VideoWriter(path, frames.shape[1:3], rate, **options) as writer:
        for begin in range(0, len(frames), 7):
            writer.write(frames[begin : begin + 7])
    return path


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(24), Fraction(25, 2), Fraction(60)])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_exactly_as_many_pictures_exactly_as_long(tmp_path: Path, suffix: str, rate: Fraction) -> None:
    path = write(tmp_path / f"a{suffix}", flat(37), rate, quality="draft")
    clip = read_clip(path)
    assert len(clip.frames) == 37
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(float(37 / rate), abs=1.1e-3)
    if suffix != ".webm":
        assert abs(clip.rate - rate) < Fraction(1, 100)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".mp4", 4), (".mov", 4), (".mkv", 4), (".webm", 6), (".gif", 12)])
def test_colours_come_back(tmp_path: Path, suffix: str, tolerance: int) -> None:
    frames = flat(12)
    back = read_clip(write(tmp_path / f"a{suffix}", frames, 10)).frames
    assert back.shape == frames.shape
    assert np.abs(back.astype(int) - frames).max() <= tolerance


@pytest.mark.parametrize(("suffix", "size"), [
    (".mp4", (50, 66)), (".mov", (50, 66)), (".mkv", (50, 66)), (".webm", (49, 65)), (".gif", (49, 65)),
])  # fmt: skip
def test_odd_sizes(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    frames = flat(5, (49, 65))
    back = read_clip(write(tmp_path / f"odd{suffix}", frames, 10)).frames
    assert back.shape == (5, *size, 3)
    assert np.abs(back[:, :49, :65].astype(int) - frames).max() <= 12


@pytest.mark.parametrize("length_s", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_sound_is_as_long_as_the_pictures(tmp_path: Path, suffix: str, length_s: float) -> None:
    path = write(tmp_path / f"a{suffix}", flat(50), 25, sound=tone(length_s))
    info = probe(path)
    assert info.has_sound and info.channels == 2 and info.sound_rate_hz == 48000
    assert info.duration_s == pytest.approx(2.0, abs=0.03 if suffix != ".mp4" else 1e-3)
    sound = read_sound(path, end_s=2.0)
    wanted = tone(2.0).samples
    heard = min(length_s, 2.0)
    rms = [float(np.sqrt(np.mean(s**2))) for s in np.array_split(sound.samples[: len(wanted)], 20)]
    assert rms[0] > 0.2
    assert all(
        (r > 0.3) == ((i + 1) / 10 <= heard) for i, r in enumerate(rms) if i and abs((i + 1) / 10 - heard) > 0.06
    )
    lag = int(np.argmax(np.correlate(sound.samples[4800:9600, 0], wanted[4800:9000, 0])))
    assert min(lag % 109, 109 - lag % 109) <= 2, "in step with the pictures"  # 109 samples are one wave


def test_mono_and_other_rates(tmp_path: Path) -> None:
    info = probe(write(tmp_path / "a.mp4", flat(25), sound=tone(1, 44100, 1)))
    assert (info.sound_rate_hz, info.channels) == (44100, 1)
    assert probe(write(tmp_path / "b.mp4", flat(25), sound=tone(1, 17000, 1))).sound_rate_hz == 48000


def test_tags_and_order_in_the_file(tmp_path: Path) -> None:
    tags = {"title": "A film, größer", "comment": "made by a model", "artist": "somebody"}
    for suffix in (".mp4", ".mov", ".mkv", ".webm"):
        path = write(tmp_path / f"a{suffix}", flat(3), metadata=tags)
        with av.open(str(path)) as container:
            read = {k.lower(): v for k, v in container.metadata.items()}
            assert {k: read[k] for k in tags} == tags
            context = container.streams.video[0].codec_context
            assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "plays before it has been loaded"


def test_the_same_pictures_make_the_same_file(tmp_path: Path) -> None:
    frames = ramp(20)
    for suffix in (".mp4", ".gif"):
        written = (write(tmp_path / f"{n}{suffix}", frames) for n in range(20))
        assert len({path.read_bytes() for path in written}) == 1


def test_png_files(tmp_path: Path) -> None:
    frames = ramp(5)
    write(tmp_path / "shots", frames, metadata={"comment": "made by a model"})
    paths = sorted((tmp_path / "shots").iterdir())
    assert [p.name for p in paths] == [f"{i:05d}.png" for i in range(5)]
    assert np.array_equal(np.concatenate([c.frames for c in decode_images(paths, rate=Fraction(25))]), frames)
    with Image.open(paths[0]) as image:
        assert image.info["Comment"] == "made by a model"
    write(tmp_path / "numbered" / "a%02d.png", frames)
    assert (tmp_path / "numbered" / "a04.png").is_file()


def test_gif_says_what_it_is_in_comments(tmp_path: Path) -> None:
    long = "ä" * 300
    with VideoWriter(tmp_path / "a.gif", (48, 64), 10, metadata={"comment": "AI-generated", "title": long}) as writer:
        writer.write(ramp(5))
    data = (tmp_path / "a.gif").read_bytes()
    assert b"\x21\xfe\x0cAI-generated\x00" in data
    title = f"Title: {long}".encode()
    assert b"\x21\xfe\xff" + title[:255] + b"\xff" + title[255:510] + bytes([len(title) - 510]) + title[510:] in data
    with Image.open(tmp_path / "a.gif") as image:
        assert getattr(image, "n_frames", 0) == 5
    assert len(read_clip(tmp_path / "a.gif").frames) == 5


@pytest.mark.parametrize(("rate", "step"), [(Fraction(50), 1), (Fraction(60_000, 1001), 2), (120, 3), (240, 5)])
def test_gif_keeps_as_many_pictures_as_are_shown(tmp_path: Path, rate: Fraction, step: int) -> None:
    frames = np.repeat(np.arange(0, 240, 10, dtype=np.uint8), 32 * 32 * 3).reshape(24, 32, 32, 3)
    with VideoWriter(tmp_path / "a.gif", (32, 32), rate) as writer:
        for chunk in (frames[:1], frames[1:8], frames[8:]):
            writer.write(chunk)
    assert writer.num_frames == 24 and writer.written_rate == Fraction(rate) / step
    clip = read_clip(tmp_path / "a.gif")
    assert np.abs(clip.frames[:, 0, 0, 0].astype(int) - frames[::step, 0, 0, 0]).max() < 10
    with Image.open(tmp_path / "a.gif") as image:
        for frame in range(len(clip.frames)):
            image.seek(frame)
            assert image.info["duration"] >= 20


def test_gif_has_no_other_encoder(tmp_path: Path) -> None:
    for codec, endings in (("h264", ".mp4, .m4v, .mov, .mkv"), ("vp9", ".webm")):
        with pytest.raises(UsageError, match=rf"a \.gif has an encoding of its own, not {codec}; choose .*\{endings}"):
            VideoWriter(tmp_path / "a.gif", (32, 32), 10, codec=codec)  # type: ignore[arg-type]


def test_gif_of_many_colours_keeps_them(tmp_path: Path) -> None:
    frames = ramp(20)
    back = read_clip(write(tmp_path / "a.gif", frames, 10)).frames
    assert back.shape == frames.shape
    error = (back.astype(float) - frames) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 27


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.gif", "shots"):
        with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / name, (48, 64), 25) as writer:
            writer.write(flat(3))
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_what_stood_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", flat(3))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="not one picture"), VideoWriter(path, (48, 64), 25):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.xyz", "'.xyz' is no ending"),
        ("a.png", "pictures need many files"),
        ("%d%s.png", "pictures need many files"),
    ],
)
def test_endings_that_cannot_be_written(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)):
        VideoWriter(tmp_path / name, (48, 64), 25)


def test_arguments_that_cannot_be_meant(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"size": (0, 64)}, {"rate": 0}, {"quality": 99}, {"quality": "superb"}, {"codec": "vp9"},
        {"metadata": {"mood": "x"}},
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(UsageError):
            VideoWriter(tmp_path / "a.mp4", **{"size": (48, 64), "rate": 25, **arguments})
    with VideoWriter(tmp_path / "a.mp4", (48, 64), 25) as writer:
        with pytest.raises(UsageError, match="this file takes uint8"):
            writer.write(np.zeros((1, 48, 65, 3), np.uint8))
        writer.write(flat(1))
    with pytest.raises(UsageError, match="not open"):
        writer.write(flat(1))


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, reason in {"absent/a.mp4": "does not exist", "file/a.mp4": "not a folder"}.items():
        with pytest.raises(OutputError, match=reason), VideoWriter(tmp_path / place, (48, 64), 25):
            pass


FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from pathlib import Path
from autoreel.errors import OutputError
from autoreel.media.encode import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[2])
frames = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
def write(target):
    with VideoWriter(target, (64, 64), 25) as writer:
        writer.write(frames)
write(path.with_name("whole" + path.suffix))
size = path.with_name("whole" + path.suffix).stat().st_size
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limit in (100, 30000, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        write(path)
    except OutputError as error:
        print(error)
    else:
        print("written", limit)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".gif"])
def test_a_full_disk_is_one_clear_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    command = [sys.executable, "-c", FULL, SOURCE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all(line.startswith(f"cannot write {path}: the file grew larger") for line in lines)
    assert [p.name for p in tmp_path.iterdir()] == [f"whole{suffix}"]


def test_strips(tmp_path: Path) -> None:
    frames = flat(5, (10, 20))
    write_strip(tmp_path / "row.png", frames)
    write_strip(tmp_path / "rows.png", frames, columns=2, gap=4)
    with Image.open(tmp_path / "row.png") as row, Image.open(tmp_path / "rows.png") as rows:
        assert row.size == (5 * 22 - 2, 10)
        assert rows.size == (44, 38)
        assert tuple(np.asarray(rows)[30, 0]) == tuple(frames[4, 0, 0])
    with pytest.raises(UsageError):
        write_strip(tmp_path / "none.png", frames[:0])


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.gif"])
def test_the_same_pictures_and_sound_are_the_same_file(tmp_path: Path, name: str) -> None:
    """A film is made again to the last byte, whatever its format."""
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    sound = Sound(np.random.default_rng(1).normal(0, 0.1, (48_000, 2)).astype(np.float32), 48_000)
    written = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / name
        with VideoWriter(path, (32, 32), Fraction(5), sound=sound, metadata={"comment": "said"}) as writer:
            writer.write(frames)
        written.append(path.read_bytes())
    assert written[0] == written[1]
