r"""What is heard in a film: music, voices over it, the clips' own sound; mixed and levelled while it is written.

    music   ~~~~~~~~~~~~~~~~\____/~~~~~~~~~~~~~~    goes down under voices
    voice                    ####
    clips        ~~~~~                   ~~~        as long as their shots, faded with their transitions

The film's sound is gone through twice: once to measure its loudness, once to write it. It is never held whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoreel.errors import MediaError
from autoreel.film.layout import Layout, Placed
from autoreel.film.storyboard import QUIETEST_LUFS, Mix, Music, Storyboard, Voice
from autoreel.media.decode import sound_blocks
from autoreel.media.limits import FILM
from autoreel.media.loudness import MAX_LIMITED_DB, PEAK_S, REACH, Levelling, levelled, measure, plan_levelling
from autoreel.media.tracks import Blocks, Reader, SoundStream, Track, cut, faded, gains, mixed, repeated

Report = Callable[[str], None]

RATE_HZ = 48_000
CHANNELS = 2
REFERENCE_LUFS = -20.0  # to which each sound is brought before it is mixed with others
CURVE_S = 0.05
SPOKEN_DB = -40.0  # below the loudest of a voice, and it is taken for a pause
PAUSE_S = 0.6  # shorter pauses of a voice leave the music down
AUDIBLE_DB = 0.5  # by which a loudness may be missed without a word
EDGE_S = 0.02  # fade at the ends of a voice or a clip, which would click


def soundtrack(
    board: Storyboard, layout: Layout, *, first: int = 0, last: int | None = None, told: Report | None = None
) -> SoundStream | None:  # fmt: skip
    """The sound of a film, or of a part of it.

    Args:
        board, layout: what and when.
        first, last: the film's frames; the loudness is that of the whole film all the same.
        told: of a loudness that cannot be reached, in one line.

    Returns:
        48 kHz stereo exactly as long as the frames, or None for a silent film.

    Raises:
        MediaError: a file that cannot be read, or has no sound.
    """
    length = round(layout.num_frames / layout.rate * RATE_HZ)
    tracks = _tracks(board, layout, length)
    if not tracks:
        return None
    target = target_lufs(board)
    levelling = plan_levelling(measure(mixed(tracks, length), RATE_HZ), target)
    if told is not None and -math.inf < levelling.loudness_lufs < target - AUDIBLE_DB:
        told(_missed(levelling.loudness_lufs, target))
    blocks = levelled(mixed(tracks, length), levelling, RATE_HZ)
    begin = round(first / layout.rate * RATE_HZ)
    end = length if last is None else round(last / layout.rate * RATE_HZ)
    return SoundStream(_part(blocks, begin, end), RATE_HZ, CHANNELS)


@dataclass(frozen=True)
class Stem:
    """One sound of a film by itself, as it is heard there: repeated, faded, ducked, levelled. All add up to the film's.

    Args:
        kind: music, voice or clip.
        number: of the voice or of the shot, counted from 1.
        first: the film's frame at which it begins.
        sound: 48 kHz stereo from that frame on; ends with the sound.
    """

    kind: str
    number: int
    first: int
    sound: SoundStream


def stems(board: Storyboard, layout: Layout) -> list[Stem]:
    """The sounds of a film one by one, music first, then voices, then clips; those that begin after its end left out.

    Raises:
        MediaError: a file that cannot be read, or has no sound.
    """
    length = round(layout.num_frames / layout.rate * RATE_HZ)
    tracks = _tracks(board, layout, length)
    names = [("music", 1)] if board.music is not None else []
    names += [("voice", number) for number in range(1, len(board.voices) + 1)]
    names += [("clip", placed.number) for placed in layout.placed if placed.shot.volume_db is not None]
    levelling = plan_levelling(measure(mixed(tracks, length), RATE_HZ), target_lufs(board))
    found = []
    for (kind, number), track in zip(names, tracks, strict=True):
        first = math.floor(track.offset * layout.rate / RATE_HZ)
        if first < layout.num_frames:
            blocks = _by_itself(track, levelling, round(first / layout.rate * RATE_HZ))
            found.append(Stem(kind, number, first, SoundStream(blocks, RATE_HZ, CHANNELS)))
    return found


def _by_itself(track: Track, levelling: Levelling, begin: int) -> Blocks:
    """A track with all its gains, from a sample of the film on that lies before its first."""
    step = round(PEAK_S * RATE_HZ)
    skipped = max(0, begin // step - REACH)  # gains of the limiter: it looks so many of them back
    lead = skipped * step

    def whole() -> Blocks:
        place = track.offset
        for block in track.start():
            yield block * gains(track, place, len(block))
            place += len(block)

    silence = np.zeros((track.offset - lead, CHANNELS), np.float32)
    later = replace(levelling, curve=levelling.curve[skipped:])
    blocks = levelled(itertools.chain([silence], whole()), later, RATE_HZ)
    return _part(blocks, begin - lead, 1 << 62)


def _missed(reached_lufs: float, target: float) -> str:
    possible = math.floor(reached_lufs)
    remedy = f"ask for {possible} with 'loudness_lufs', or " if possible >= QUIETEST_LUFS else ""
    return (
        f"loudness: {reached_lufs:.1f} LUFS instead of {target:g}; its peaks would have to be cut off by more than "
        f"{MAX_LIMITED_DB:g} dB; {remedy}give sound of lower peaks"
    )


def target_lufs(board: Storyboard) -> float:
    """The loudness that a film is brought to."""
    if board.mix is not None and board.mix.loudness_lufs is not None:
        return board.mix.loudness_lufs
    return (board.music or Music(file="-")).loudness_lufs


def _part(blocks: Blocks, begin: int, end: int) -> Blocks:
    place = 0
    for block in blocks:
        if place + len(block) > begin and place < end:
            yield block[max(0, begin - place) : end - place]
        place += len(block)
        if place >= end:
            return


def _tracks(board: Storyboard, layout: Layout, length: int) -> list[Track]:
    mix = board.mix or Mix()
    voices = [_voice(voice, length) for voice in board.voices]
    clips = [_clip(placed, layout.rate) for placed in layout.placed if placed.shot.volume_db is not None]
    music = [] if board.music is None else [_music(board.music, length)]
    tracks = [*music, *voices, *clips]
    if len(tracks) > 1:
        tracks = [_at_reference(track) for track in tracks]
    if music and voices and mix.duck_db > 0:
        spoken = tracks[len(music) : len(music) + len(voices)]
        tracks[0] = replace(tracks[0], curve=_ducking(spoken, length, mix), step=round(CURVE_S * RATE_HZ))
    return tracks


def _music(music: Music, length: int) -> Track:
    """Cut or repeated to the film's length, and faded."""
    source, start_s = Path(music.file), music.start_s

    def start() -> Blocks:
        end_s = start_s + length / RATE_HZ
        whole = repeated(_from_file(source, start_s, end_s), length, RATE_HZ)
        return faded(whole, length, round(music.fade_in_s * RATE_HZ), round(music.fade_out_s * RATE_HZ))

    return Track(start, gain=_ratio(music.volume_db))


def _voice(voice: Voice, length: int) -> Track:
    offset = round(voice.start_s * RATE_HZ)
    room = max(0, length - offset)
    if voice.out_s is not None:
        room = min(room, round((voice.out_s - voice.in_s) * RATE_HZ))
    begin = _from_file(Path(voice.file), voice.in_s, voice.in_s + max(0.001, room / RATE_HZ))
    return Track(lambda: _edged(cut(begin(), room)), offset, _ratio(voice.volume_db))


def _clip(placed: Placed, rate: Fraction) -> Track:
    """The sound of material under its shot; transitions fade it as they fade the picture."""
    shot = placed.shot
    num = round(placed.num_frames / rate * RATE_HZ)
    rise, fall = (max(round(EDGE_S * RATE_HZ), round(2 * n / rate * RATE_HZ)) for n in (placed.pre, placed.post))
    start_s = shot.in_s or 0.0
    begin = _from_file(Path(str(shot.source)), start_s, start_s + num / RATE_HZ)
    offset = round(placed.start / rate * RATE_HZ)
    return Track(lambda: faded(cut(begin(), num), num, rise, fall), offset, _ratio(shot.volume_db or 0.0))


def _from_file(source: Path, start_s: float, end_s: float) -> Callable[[], Blocks]:
    """Begins the sound of a file; an error where there is none at all."""

    def start() -> Blocks:
        empty = True
        for block in sound_blocks(source, RATE_HZ, CHANNELS, start_s, end_s, FILM):
            yield block
            empty = False
        if empty:
            raise MediaError(f"{source}: it has no sound from {start_s:g} s on")

    return start


def _edged(blocks: Blocks) -> Blocks:
    """Faded over a moment at both ends, wherever the end comes."""
    edge = round(EDGE_S * RATE_HZ)
    reader, place = Reader(blocks), 0
    while (there := reader.fill(edge + 4800)) > edge:
        block = reader.take(there - edge)
        yield _risen(block, place, edge)
        place += len(block)
    rest = reader.take(there)
    if len(rest):
        yield _risen(_risen(rest, place, edge)[::-1], 0, len(rest))[::-1]


def _risen(block: NDArray[np.float32], place: int, edge: int) -> NDArray[np.float32]:
    if place >= edge:
        return block
    gain = np.minimum(1.0, (np.arange(place, place + len(block)) + 1) / edge).astype(np.float32)
    return block * gain[:, None]


def _ratio(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _at_reference(track: Track) -> Track:
    """Brought to a common loudness before its own volume counts, so that volumes mean the same for every file."""
    loudness = measure(track.start(), RATE_HZ, with_peaks=False).loudness_lufs
    if math.isinf(loudness):
        return track
    return replace(track, gain=track.gain * _ratio(REFERENCE_LUFS - loudness))


def _ducking(voices: list[Track], length: int, mix: Mix) -> NDArray[np.float32]:
    """Gains of the music, one each CURVE_S: down while somebody speaks, with a slope before and after."""
    step = round(CURVE_S * RATE_HZ)
    count = length // step + 2
    speaks = np.zeros(count, bool)
    for voice in voices:
        reader, power = Reader(voice.start()), []
        while len(block := reader.take(step)):
            power.append(float(np.mean(block**2)))
        level = 10 * np.log10(np.maximum(np.array(power), 1e-12))
        first = voice.offset // step
        loud = level > max(-70.0, float(level.max(initial=-120.0)) + SPOKEN_DB)
        speaks[first : first + len(loud)] |= loud[: max(0, count - first)]
    places = np.flatnonzero(speaks)
    for one, following in zip(places[:-1], places[1:], strict=True):  # a breath does not bring the music back
        if 1 < following - one <= PAUSE_S / CURVE_S:
            speaks[one:following] = True
    reach = max(1, round(mix.duck_fade_s / CURVE_S))
    near = np.convolve(np.pad(speaks, reach).astype(float), np.ones(2 * reach + 1), "valid") > 0
    slope = np.convolve(np.pad(near.astype(float), reach, mode="edge"), _slope(reach), "valid")
    return (10 ** (-mix.duck_db * np.clip(slope, 0.0, 1.0) / 20)).astype(np.float32)


def _slope(reach: int) -> NDArray[np.float64]:
    window = np.hanning(2 * reach + 3)[1:-1]
    return np.asarray(window / window.sum())

