"""Every odd, damaged and malicious file: it decodes, or it is refused in one line; nothing else ever comes out."""

from fractions import Fraction
from pathlib import Path

import pytest

from autoreel.errors import MediaError
from autoreel.media.decode import Limits, decode, read_sound
from autoreel.media.limits import PassingError
from autoreel.media.probe import probe

LIMITS = Limits(max_decoded_frames=330, wall_s=60, cpu_s=30, memory_bytes=2 << 30)

# Pictures at the file's own times, or why there are none.
EXPECTED: dict[str, int | str] = {
    "-video-with-dash-.mp4": 5,
    "av1-clearkey-cbcs-video.mp4": 24,
    "bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4": 120,
    "bear-id3.mp3": "it has no video",
    "bear-vp9-odd-dimensions.webm": 30,
    "bipbop_nonfragment_header.mp4": "no picture can be decoded",
    "broken-file.ogg": "cannot be opened",
    "chunk_out_of_range.mp4": "cannot be opened",
    "clusterfuzz-testcase-minimized-avif-4914209301856256.avif": "cannot be opened",
    "corrupted.mp4": "damaged after 2.",
    "dolbyVision-hdr.MOV": 4,
    "edit_list_positive_shift.mp4": 270,
    "full_blocks.mkv": "it has no video",
    "h264_white_frame_sar_16_9.mp4": 1,
    "h265_10bits.mp4": 30,
    "hlg10-color-test.mp4": 9,
    "iibbibb_editlist_videoonly.mp4": 12,
    "invalid-bitstream.webm": "no picture can be decoded",
    "invalid_userdata.mp4": "no picture can be decoded",
    "long_1080p_videoonly_lowbitrate.mp4": "more than 330 pictures",
    "no_timescale.mp4": "damaged",
    "pigs_in_a_polka.gif": 30,
    "png_named.jpg": 1,
    "sample-with-large-length.avi": 58,
    "sample.flv": 30,
    "sample_android_slow_motion.mp4": 7,
    "sample_audio_only.mp4": "it has no video",
    "sample_fragmented_clearkey.mp4": "cannot be opened",
    "sample_fragmented_uuid.mp4": "no picture can be decoded",
    "sample_malformed_free_box.mp4": "cannot be opened: it has no index",
    "sample_missing_stsd.mp4": 30,
    "sample_partially_fragmented.mp4": 30,
    "sample_rotate_and_reflect.mp4": 30,
    "sample_vvc.mp4": 120,
    "sample_with_colr_mdcv_and_clli.mp4": 60,
    "sample_with_fake_auxiliary_tracks.mp4": 5,
    "sample_with_invalid_nalu.mp4": "damaged after 0.",
    "sample_with_pgs_subtitles.mkv": 30,
    "sd-hls0000000000.ts": 58,
    "short-cenc.mp4": "no picture can be decoded",
    "silent-black-25s.mp4": "more than 330 pictures",
    "transparent.webm": 150,
    "video_180.mov": 3,
    "video_270.mov": 3,
    "video_init.mp4": "no picture can be decoded",
    "water_180_mvhevc_5frames.mov": 5,
    "zero_bytes.webm": "cannot be opened",
    "zero_empty_stsc.mp4": "no picture can be decoded",
    "derived/bitflips_mdat.mp4": "damaged",
    "derived/huge_declared_size.avi": 61,
    "derived/interlaced_tff.mp4": 30,
    "derived/matroska_named.avi": 65,
    "derived/readme_named.mp4": "cannot be opened",
    "derived/truncated.mkv": "cut off after 1.",
    "derived/truncated.mpg": "damaged",
    "derived/truncated_moov_at_end.mp4": "cannot be opened: it has no index",
    "derived/truncated_moov_first.mp4": "cut off after 2.",
    "over_1MB/8k24fps_300ms.mp4": 8,
    "over_1MB/long_4k_av1.mp4": "more than 330 pictures",
    "over_1MB/video_dovi_3840x2160_30fps_dav1_10.mp4": "its video codec is unknown",
}


def test_no_file_is_forgotten(hostile: Path) -> None:
    files = {str(p.relative_to(hostile)) for p in hostile.rglob("*") if p.is_file() and p.suffix != ".json"}
    assert files == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_pictures(hostile: Path, name: str) -> None:
    expected = EXPECTED[name]
    # Bombs are stopped by a count; a lower one keeps the test short where one picture is slow.
    limits = LIMITS if "4k" not in name else Limits(max_decoded_frames=20, wall_s=60, cpu_s=30)
    num_frames, reason = 0, ""
    try:
        for chunk in decode(hostile / name, size=(48, 64), fit="letterbox", limits=limits):
            num_frames += len(chunk.frames)
            assert chunk.frames.shape[1:] == (48, 64, 3)
            assert (chunk.pts_s[1:] >= chunk.pts_s[:-1]).all()
    except MediaError as error:
        reason = str(error)
    if isinstance(expected, int):
        assert (num_frames, reason) == (expected, "")
    else:
        assert expected.replace("330", str(limits.max_decoded_frames)) in reason
        assert "\n" not in reason and reason.startswith(str(hostile / name))


@pytest.mark.parametrize("name", [n for n in EXPECTED if "over" not in n and "long" not in n])
def test_constant_rate_probe_and_sound(hostile: Path, name: str) -> None:
    """The other ways in; only MediaError comes out of them."""
    for attempt in (
        lambda: probe(hostile / name, LIMITS),
        lambda: read_sound(hostile / name, 16000, 1, limits=LIMITS),
        lambda: [c.pts_s for c in decode(hostile / name, size=(16, 16), rate=Fraction(5), end_s=0.5, limits=LIMITS)],
    ):
        try:
            attempt()
        except MediaError as error:
            assert "\n" not in str(error)


def test_what_probing_finds(hostile: Path) -> None:
    turned = probe(hostile / "video_270.mov")
    assert (turned.width, turned.height, turned.rotation_deg, turned.codec) == (320, 568, 270, "h264")
    wide = probe(hostile / "bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4")
    assert (wide.width, wide.height, wide.rate) == (1137, 640, Fraction(30))
    only_sound = probe(hostile / "bear-id3.mp3")
    assert not only_sound.has_video and only_sound.has_sound and only_sound.sound_rate_hz == 48000
    assert probe(hostile / "sample_missing_stsd.mp4").has_sound is False
    assert probe(hostile / "sample_with_pgs_subtitles.mkv").rate is None
    assert probe(hostile / "derived" / "huge_declared_size.avi").width == 106


def test_a_bomb_is_stopped_by_processor_time(hostile: Path) -> None:
    with pytest.raises(MediaError, match="more than 1 s of processor time") as caught:
        for _ in decode(hostile / "over_1MB" / "long_4k_av1.mp4", size=(16, 16), limits=Limits(cpu_s=1)):
            pass
    assert not isinstance(caught.value, PassingError)  # it would cost as much every time


def test_a_bomb_is_stopped_by_the_parents_clock(hostile: Path) -> None:
    with pytest.raises(MediaError, match=r"takes longer than 0\.5 s"):
        for _ in decode(hostile / "over_1MB" / "long_4k_av1.mp4", size=(16, 16), limits=Limits(wall_s=0.5)):
            pass


def test_a_bomb_is_stopped_by_memory(hostile: Path) -> None:
    limits = Limits(memory_bytes=300 << 20)
    with pytest.raises(MediaError, match="more memory than is allowed"):
        for _ in decode(hostile / "over_1MB" / "8k24fps_300ms.mp4", size=(16, 16), limits=limits):
            pass
