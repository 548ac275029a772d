"""Video, sound and captions muxed into MP4, QuickTime, Matroska and WebM files. The pictures are ours: no jail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

from autoreel.clip import Frames, Sound
from autoreel.errors import translate_os_error
from autoreel.media.captions import Caption, CaptionTrack
from autoreel.media.encoders import CODECS, encoder_for
from autoreel.media.sound import resample
from autoreel.media.tracks import Reader, SoundStream
from autoreel.media.yuv420 import Planar, as_frame

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_SOUNDS = {  # AAC where nothing is said
    ".webm": {"vp9": "libopus", "av1": "libopus"}, ".mkv": {"vp9": "libopus", "prores": "pcm_s16le"},
    ".mov": {"prores": "pcm_s16le"},
}  # fmt: skip
_THREADS = 4  # fixed: what an encoder writes depends on it, and should not depend on the machine


class ContainerSink:
    """An open container file with one video and at most one sound stream.

    Args:
        part: the file that is written.
        final: its later name, for messages.
        codec: a key of `encoders.CODECS`.
        size: (height, width) of the pictures.
        rate: pictures per second.
        factor: the encoder's constant rate factor.
        sound: what is heard; made as long as the pictures. A stream has a rate that the file's format knows.
        metadata: title, comment and the like.
        captions: text that a player can show, as a track of its own.
        hardware: use the encoder of a graphics chip where one works.
    """

    def __init__(
        self, part: Path, final: Path, codec: str, size: tuple[int, int], rate: Fraction, factor: int,
        sound: Sound | SoundStream | None, metadata: Mapping[str, str], captions: Sequence[Caption] = (),
        hardware: bool = False,
    ) -> None:  # fmt: skip
        self._final, self._rate = final, rate
        self._num_frames = 0
        suffix = final.suffix.lower()
        # Matroska has numbers in it that are drawn anew for each file, unless the same file is asked for.
        options = {"movflags": "+faststart"} if _FORMATS[suffix] in ("mp4", "mov") else {"fflags": "+bitexact"}
        with self._writing():
            # "file:" keeps a name that looks like an address from being one.
            self._container: Any = av.open(
                f"file:{part.absolute()}", mode="w", format=_FORMATS[suffix], container_options=options
            )
        self._container.metadata.update(metadata)
        # 4:2:0 pairs rows and columns. VP9 carries odd sizes itself.
        self._pad = (size[0] % 2, size[1] % 2) if CODECS[codec].even else (0, 0)
        self._encoder = encoder_for(codec, hardware)
        self._video = self._video_stream(codec, (size[0] + self._pad[0], size[1] + self._pad[1]), factor)
        self._sound = _SoundTrack(self._container, sound, _SOUNDS.get(suffix, {}).get(codec, "aac")) if sound else None
        self._captions = CaptionTrack(self._container, captions, suffix) if captions else None
        self._reformatter = VideoReformatter()

    def _video_stream(self, codec: str, size: tuple[int, int], factor: int) -> Any:
        options = self._encoder.options(factor)
        stream = self._container.add_stream(self._encoder.name, rate=self._rate, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = self._encoder.pixel_format
        context = stream.codec_context
        tag = CODECS[codec].tag
        if tag is not None and _FORMATS[self._final.suffix.lower()] in ("mp4", "mov"):
            context.codec_tag = tag
        context.time_base = 1 / self._rate
        context.thread_count = _THREADS
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        return stream

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise translate_os_error(error, self._final) from error
            raise translate_os_error(OSError(0, str(error)), self._final) from error

    def write(self, frames: Frames) -> None:
        """Encode pictures, and the sound up to their end."""
        with self._writing():
            for picture in frames:
                self._encode(self._frame(picture))
            self._follow()

    def write_planar(self, picture: Planar) -> None:
        """Encode one picture that needs no conversion, and the sound up to its end."""
        frame = as_frame(picture)
        if self._encoder.pixel_format != frame.format.name:  # another order of the same bytes
            frame = self._reformatter.reformat(frame, format=self._encoder.pixel_format, threads=1)
        with self._writing():
            self._encode(frame)
            self._follow()

    def _encode(self, frame: Any) -> None:
        frame.pts, frame.time_base = self._num_frames, 1 / self._rate
        self._container.mux(self._video.encode(frame))
        self._num_frames += 1

    def _follow(self) -> None:
        """Sound and captions up to the end of the pictures."""
        if self._sound is not None:
            self._sound.write_until(self._num_frames / self._rate)
        if self._captions is not None:
            self._captions.write_until(self._num_frames / self._rate)

    def _frame(self, picture: NDArray[np.uint8]) -> Any:
        if self._pad != (0, 0):
            picture = np.pad(picture, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        source = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        return self._reformatter.reformat(
            source, format=self._encoder.pixel_format, threads=1,
            dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
        )  # fmt: skip

    def finish(self) -> None:
        """Flush both encoders and write the index."""
        with self._writing():
            self._container.mux(self._video.encode(None))
            if self._sound is not None:
                self._sound.finish(self._num_frames / self._rate)
            self._container.close()

    def abandon(self) -> None:
        """Close the file; what it holds does not matter any more."""
        with contextlib.suppress(av.error.FFmpegError, ValueError):  # a second error about a lost file says nothing new
            self._container.close()


class _SoundTrack:
    """Encodes sound in step with the pictures, so that the file is interleaved and memory stays small."""

    def __init__(self, container: Any, sound: Sound | SoundStream, codec: str) -> None:
        if isinstance(sound, Sound):
            if codec == "libopus" or sound.sample_rate_hz not in _AAC_RATES:
                sound = resample(sound, 48000)
            sound = SoundStream(iter([sound.samples]), sound.sample_rate_hz, sound.samples.shape[1])
        self._container, self._rate_hz, self._channels = container, sound.sample_rate_hz, sound.channels
        self._reader, channels = Reader(sound.blocks), sound.channels
        self._layout = "mono" if channels == 1 else "stereo"
        self._stream = container.add_stream(codec, rate=sound.sample_rate_hz, layout=self._layout)
        if not codec.startswith("pcm"):
            self._stream.bit_rate = 96000 * channels
        self._format = "s16" if codec.startswith("pcm") else "fltp"
        self._position = 0

    def write_until(self, time_s: Fraction) -> None:
        """Encode whole blocks that end before a time."""
        size = 1024
        while (self._position + size) <= int(time_s * self._rate_hz):
            self._encode(size)

    def finish(self, time_s: Fraction) -> None:
        """Encode up to exactly this time; silence where the sound has ended."""
        self.write_until(time_s)
        rest = round(time_s * self._rate_hz) - self._position
        if rest > 0:
            self._encode(rest)
        self._reader.close()
        self._container.mux(self._stream.encode(None))

    def _encode(self, size: int) -> None:
        rate = self._rate_hz
        block = self._reader.take(size)
        if len(block) < size:
            silence = np.zeros((size - len(block), self._channels), np.float32)
            block = np.concatenate([block, silence]) if len(block) else silence
        clipped = np.clip(block, -1, 1)
        if self._format == "s16":
            packed = np.rint(clipped * 32767).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=self._layout)
        else:
            planes = np.ascontiguousarray(clipped.T, np.float32)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, self._position, Fraction(1, rate)
        self._position += size
        self._container.mux(self._stream.encode(frame))
