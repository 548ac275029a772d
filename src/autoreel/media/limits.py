"""What one untrusted media file may cost, and which containers and codecs are opened at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from autoreel.errors import MediaError

# Formats that hold their own pictures and sound. Playlists, scripts and anything that names other files are left out:
# `hls`, `concat`, `sdp`, `dash`, `image2` and `lavfi` open other files and addresses.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,mxf,dv,ivf,obu,yuv4mpegpipe,"
    "gif,apng,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,ppm_pipe,wav,w64,aiff,caf,mp3,aac,flac,ac3,eac3,wv,ape"
)

CODECS = (
    "h264,hevc,vvc,libdav1d,vp8,libvpx,vp9,libvpx-vp9,mpeg1video,mpeg2video,mpegvideo,mpeg4,msmpeg4v1,msmpeg4v2,"
    "msmpeg4,h263,h263p,flv,wmv1,wmv2,wmv3,vc1,theora,mjpeg,mjpegb,prores,dnxhd,dvvideo,svq1,svq3,rv40,cinepak,"
    "indeo3,ffv1,ffvhuff,huffyuv,utvideo,magicyuv,qtrle,rpza,msvideo1,msrle,zmbv,rawvideo,gif,png,apng,webp,bmp,tiff,"
    "ppm,pgm,aac,aac_latm,mp3float,mp3,mp2float,mp2,opus,libopus,vorbis,flac,alac,ac3,eac3,dca,truehd,wavpack,ape,"
    "wmav1,wmav2,wmapro,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,"
    "adpcm_swf,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,"
    "pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_s16le_planar,pcm_dvd,pcm_bluray"
)

LONGEST_FILM_S = 4 * 3600.0  # as many shots as a storyboard may have, at a quick pace

# What is read of a file's metadata. A letter can take 12 bytes on its way, and all of it must fit into one message.
TEXTS = ("comment", "description", "title", "artist", "copyright", "date", "encoder")
MAX_TEXT = 600


class PassingError(MediaError):
    """The disk failed, the time was up, or the decoder was killed: another try may go well."""


@dataclass(frozen=True)
class Limits:
    """Bounds on one file; passing any of them ends it with a MediaError.

    Args:
        max_pixels: of one picture, as coded and as shown.
        max_decoded_frames: pictures the decoder may give.
        max_frames: pictures handed out, after resampling in time.
        max_duration_s: from the first to the last time stamp that is read.
        max_gap_s: between two pictures that follow each other.
        wall_s: time spent waiting for the child process; the parent holds this clock.
        cpu_s: processor time of the child process.
        memory_bytes: address space of the child process.
        threads: decoder threads; 1 makes the place at which damage is seen the same every time.
        twice: HEVC is decoded twice, which finds pictures that were only painted in part, and the pixels of a GIF are
            counted; it takes twice the time and more.
    """

    max_pixels: int = 36_000_000
    max_decoded_frames: int = 500_000
    max_frames: int = 500_000
    max_duration_s: float = 3600.0
    max_gap_s: float = 60.0
    wall_s: float = 1800.0
    cpu_s: int = 1800
    memory_bytes: int = 3 << 30
    threads: int = 1
    twice: bool = False

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "twice" and not value > 0:
                raise ValueError(f"{name} must be above zero, not {value}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the child process."""
        return asdict(self)


# Of finished films, and of the material and music that a person puts into one: as long as a film may be, at any of its
# rates. Footage to learn from has the usual limits, or those of its config.
FILM = Limits(
    max_decoded_frames=3_500_000, max_frames=3_500_000, max_duration_s=LONGEST_FILM_S + 60, wall_s=7200.0, cpu_s=7200
)
