"""Every codec in every file that takes it, with sound, read back; chips only where they work."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from autoreel.clip import Sound
from autoreel.errors import UsageError
from autoreel.media import encoders
from autoreel.media.decode import read_clip
from autoreel.media.encode import VideoWriter
from autoreel.media.encoders import CODECS, CONTAINER_SUFFIXES, Codec, encoder_for, factor_of

NAMES = {"h264": "h264", "h265": "hevc", "av1": ("libdav1d", "av1"), "vp9": "vp9", "prores": "prores"}
PAIRS = [(ending, codec) for ending, codecs in CONTAINER_SUFFIXES.items() for codec in codecs]


@pytest.mark.parametrize(("ending", "codec"), PAIRS)
def test_pictures_and_sound_come_back(tmp_path: Path, ending: str, codec: Codec) -> None:
    height, width = 48, 64
    frames = np.zeros((9, height, width, 3), np.uint8)
    frames[..., 0] = np.linspace(40, 200, 9).astype(np.uint8)[:, None, None]
    frames[:, :, width // 2 :, 2] = 180
    sound = Sound(np.full((48_000, 2), 0.1, np.float32), 48_000)
    path = tmp_path / f"f{ending}"
    with VideoWriter(path, (height, width), Fraction(9), codec=codec, sound=sound) as writer:
        writer.write(frames)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name in NAMES[codec]
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert float(container.streams.audio[0].frames or 1) > 0
    back = read_clip(path).frames.astype(int)
    assert back.shape == frames.shape
    assert np.abs(back - frames).mean() < 6


def test_a_codec_that_a_file_does_not_take() -> None:
    with pytest.raises(UsageError, match=r"\.webm files hold vp9 or av1, not prores"):
        VideoWriter("a.webm", (32, 32), 25, codec="prores")


@pytest.mark.parametrize("codec", CODECS)
def test_qualities_are_in_order_and_in_range(codec: str) -> None:
    factors = [factor_of(quality, codec) for quality in ("best", "good", "draft")]
    assert factors == sorted(factors) and factors[-1] <= CODECS[codec].top
    with pytest.raises(UsageError, match="factor from 0"):
        factor_of(CODECS[codec].top + 1, codec)


def test_a_chip_is_used_where_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "works", lambda name, pixel_format: name == "h264_qsv")
    assert encoder_for("h264", True).name == "h264_qsv"
    assert encoder_for("h264", False).name == "libx264"
    assert encoder_for("h265", True).name == "libx265"


def test_encoders_are_tried_before_they_are_used() -> None:
    assert encoders.works("libx264", "yuv420p")
    assert not encoders.works("no_such_encoder", "yuv420p")
    assert all(encoder_for(codec, True).options(20) for codec in CODECS)
