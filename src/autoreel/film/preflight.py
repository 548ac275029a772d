"""What can be known to be wrong before a film is rendered: missing files, unknown labels, files it would replace."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autoreel.config import nearest
from autoreel.errors import ConfigError, MediaError, OutputError
from autoreel.film.document import beside, is_record
from autoreel.film.effects import Effect, InsetEffect, LutEffect, SplitEffect
from autoreel.film.layout import Layout, lay_out
from autoreel.film.material import Material, look_at, pictures_of, pictures_of_effects
from autoreel.film.needs import problems_backwards, problems_of_lengths
from autoreel.film.storyboard import Shot, Storyboard
from autoreel.film.tones import read_cube
from autoreel.generation.clips import what_would_be_lost
from autoreel.media.jail import show
from autoreel.media.probe import MediaInfo

if TYPE_CHECKING:
    from autoreel.film.made import FilmRun


def check_sources(storyboard: Storyboard, run: FilmRun | None, where: str) -> dict[str, Material]:
    """Compare a storyboard with what it names; each file is looked at once.

    Args:
        storyboard: a valid one.
        run: the trained run, when any shot needs one.
        where: the storyboard's file, for the message.

    Returns:
        What its files of material, music and speech are.

    Raises:
        ConfigError: with every problem.
        JailError: this machine has no jail.
    """
    problems: list[str] = []
    found: dict[str, Material | MediaError] = {}
    for number, shot in enumerate(storyboard.shots, start=1):
        problems += [f"shot {number}: {text}" for text in _problems_of(shot, run, found)]
    if storyboard.music is not None:
        problems += [f"[music]: {text}" for text in _without_sound(storyboard.music.file, found)]
    if storyboard.captions is not None:
        problems += [f"[captions]: {text}" for text in _missing("'file'", storyboard.captions.file)]
        if storyboard.captions.font is not None:
            problems += [f"[captions]: {text}" for text in _missing("'font'", storyboard.captions.font)]
    for number, voice in enumerate(storyboard.voices, start=1):
        problems += [f"voice {number}: {text}" for text in _without_sound(voice.file, found)]
    for number, title in enumerate(storyboard.titles, start=1):
        if title.font is not None:
            problems += [f"title {number}: {text}" for text in _missing("'font'", title.font)]
    files = {path: file for path, file in found.items() if isinstance(file, Material)}
    problems += _problems_of_layout(storyboard, run, files)
    if problems:
        raise ConfigError(problems, where)
    return files


def check_lengths(
    storyboard: Storyboard, layout: Layout, run: FilmRun | None, files: Mapping[str, Material], planar: bool, where: str
) -> None:  # fmt: skip
    """What `check_sources` could not know yet: lengths counted in beats, and how much memory a picture takes.

    Args:
        storyboard, layout: what and when.
        run: the trained run, when any shot needs one.
        files: what its files are, as `check_sources` tells.
        planar: pictures are laid out as encoders take them.
        where: the storyboard's file, for the message.

    Raises:
        ConfigError: with every problem.
    """
    problems = problems_backwards(storyboard, layout, run, files, planar)
    if _counts_beats(storyboard):
        problems += problems_of_lengths(storyboard, layout, run, files)
    if problems:
        raise ConfigError(problems, where)


def check_places(storyboard: Storyboard, out: Path) -> None:
    """See that a film, and the record beside it, replace nothing but an earlier film.

    Raises:
        OutputError: the first problem.
    """
    for problem in problems_of_places(out, inputs_of(storyboard)):
        raise problem


def problems_of_places(out: Path, inputs: Iterable[Path]) -> list[OutputError]:
    """What a film would replace that it must not.

    Args:
        out: the film's file.
        inputs: files and folders it is made of.
    """
    record = beside(out, ".json")
    given = list(inputs)
    files = [path for path in given if not os.path.isdir(path)]
    # A film that stands among the footage is no footage.
    problems = what_would_be_lost(out, files if is_record(record, out.name) else given)
    problems += what_would_be_lost(record, files)
    if not problems and record.exists() and not is_record(record):
        reason = "a file of that name is there and is not the record of a film; choose another name for the film"
        problems.append(OutputError(f"cannot write {record}: {reason}"))
    return problems


def inputs_of(storyboard: Storyboard) -> list[Path]:
    """The files that a storyboard names."""
    music = [storyboard.music.file] if storyboard.music is not None else []
    captions = [storyboard.captions.file, storyboard.captions.font] if storyboard.captions is not None else []
    effects = [effect.file for shot in storyboard.shots for effect in shot.effects
               if isinstance(effect, LutEffect | InsetEffect | SplitEffect)]  # fmt: skip
    return [Path(name) for name in (
        *effects,
        *(shot.source for shot in storyboard.shots), *(shot.to for shot in storyboard.shots), *music, *captions,
        *(voice.file for voice in storyboard.voices),
        *(title.font for title in storyboard.titles),
    ) if name is not None]  # fmt: skip


def problems_of_effects(effects: Iterable[Effect]) -> list[str]:
    """Files of effects that are not there, or are not what they should be.

    Raises:
        JailError: this machine has no jail.
    """
    given, found = tuple(effects), dict[str, Material | MediaError]()
    pictures = (text for one in pictures_of_effects(given) for text in _without_pictures(*one, found))
    return [*dict.fromkeys([*pictures, *_problems_of_tables(given)])]


def _problems_of(shot: Shot, run: FilmRun | None, found: dict[str, Material | MediaError]) -> list[str]:
    problems = [text for key, path in pictures_of(shot) for text in _without_pictures(key, path, found)]
    problems += _problems_of_tables(shot.effects)
    if shot.label is not None and run is not None and shot.label not in run.labels:
        known = nearest(shot.label, list(run.labels)) if run.labels else "; the run knows no labels, leave it out"
        problems.append(f"'label' is '{shot.label}'{known}")
    if not problems and shot.volume_db is not None:
        info, _ = _opened("'source'", str(shot.source), found)
        if info is not None and not info.has_sound:
            problems.append(f"'volume_db' is {shot.volume_db:g}, but {shot.source} has no sound; leave it out")
    return problems


def _without_pictures(key: str, path: str, found: dict[str, Material | MediaError]) -> list[str]:
    info, problems = _opened(key, path, found)
    if info is not None and not info.has_video:
        problems.append(f"{key} is '{path}': it has no pictures; name a video or a picture")
    return problems


def _without_sound(path: str, found: dict[str, Material | MediaError]) -> list[str]:
    info, problems = _opened("'file'", path, found)
    if info is not None and not info.has_sound:
        problems.append(f"'file' is '{path}': it has no sound; name a file that has")
    return problems


def _opened(
    key: str, path: str, found: dict[str, Material | MediaError]
) -> tuple[MediaInfo | None, list[str]]:  # fmt: skip
    """What a file is, or why it cannot be known; each is looked at once."""
    problems = _missing(key, path)
    if problems:
        return None, problems
    if path not in found:
        try:
            found[path] = look_at(path)
        except MediaError as error:
            found[path] = error
    file = found[path]
    if isinstance(file, MediaError):
        reason = str(file).removeprefix(f"{show(path)}: ")
        return None, [f"{key} is '{path}': {reason}; name another file"]
    return file.info, []


def _problems_of_layout(
    storyboard: Storyboard, run: FilmRun | None, files: Mapping[str, Material]
) -> list[str]:  # fmt: skip
    """What is wrong with lengths, where they are known before the beats of the music are counted."""
    if _counts_beats(storyboard):
        return []
    try:
        layout = lay_out(storyboard)
    except ConfigError as error:
        return list(error.problems)
    problems = problems_of_lengths(storyboard, layout, run, files)
    return problems + problems_backwards(storyboard, layout, run, files, planar=True)


def _counts_beats(storyboard: Storyboard) -> bool:
    """Whether lengths depend on the beats of the music."""
    return storyboard.tempo_bpm is None and any(shot.beats is not None for shot in storyboard.shots)


def _problems_of_tables(effects: Iterable[Effect]) -> list[str]:
    """Tables of colours that are not there, or are none."""
    problems = []
    for effect in effects:
        if isinstance(effect, LutEffect):
            problems += _missing("effect 'lut': 'file'", effect.file) or _problems_of_table(Path(effect.file))
    return problems


def _problems_of_table(path: Path) -> list[str]:
    try:
        read_cube(path)
    except MediaError as error:
        return [f"effect 'lut': {error}"]
    return []


def _missing(key: str, path: str) -> list[str]:
    try:
        if Path(path).is_file():
            return []
        reason = "it is a folder; name a file" if Path(path).is_dir() else "no such file"
    except OSError as error:  # a name that no disk takes, a folder that may not be looked into
        reason = f"{error.strerror}; name another file"
    return [f"{key} is '{path}': {reason}"]
