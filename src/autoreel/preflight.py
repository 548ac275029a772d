"""What can be known to be wrong before any work is done, all of it at once.

A check answers with the errors it finds instead of raising the first. Nothing here decodes pictures or imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from autoreel.errors import (
    AutoreelError,
    ConfigError,
    FootageError,
    JailError,
    MediaError,
    OutputError,
    RunError,
    UsageError,
    translate_os_error,
)
from autoreel.media.limits import FILM, LONGEST_FILM_S

FILM_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".gif")
CLIP_ENDINGS = (*FILM_ENDINGS, ".png")
MAX_LOOKED_AT = 100_000  # files; a folder with more has surely been meant
SHORTEST_FILM_S = 0.5  # two frames of the slowest footage there is reason to expect
CHECK_RATE_HZ = 8000  # music is read to its end for damage; it need not sound well


class PreflightError(AutoreelError):
    """Several problems; the exit code is that of the first.

    Args:
        problems: at least one.
    """

    def __init__(self, problems: Sequence[AutoreelError]) -> None:
        self.problems = tuple(problems)
        self.exit_code = problems[0].exit_code
        super().__init__("; ".join(str(problem) for problem in problems))


def insist(problems: Iterable[AutoreelError]) -> None:
    """Raise what was found: the one error, or a PreflightError with all."""
    found = list(problems)
    if len(found) == 1:
        raise found[0]
    if found:
        raise PreflightError(found)


def check_footage(sources: Sequence[Path]) -> list[AutoreelError]:
    """Every source is there, and each folder holds something that looks like video or pictures."""
    from autoreel.media.decode import IMAGE_SUFFIXES, MEDIA_SUFFIXES

    problems: list[AutoreelError] = []
    suffixes = MEDIA_SUFFIXES | IMAGE_SUFFIXES
    for source in sources:
        unseen = _unseen(source)
        if unseen is not None:
            problems.append(FootageError(unseen))
        elif not source.exists():
            problems.append(FootageError(f"{source}: no such file or folder"))
        elif not os.access(source, os.R_OK):
            problems.append(FootageError(f"{source}: no permission to read it"))
        elif source.is_dir() and not _holds_any(source, suffixes):
            problems.append(
                FootageError(f"{source}: no video in it; it can hold mp4, mov, mkv, webm, avi, mpg, gif, or pictures")
            )
        elif source.is_file() and source.suffix.lower() not in suffixes:
            boards = "; a storyboard is rendered by itself" if source.suffix.lower() in (".toml", ".json") else ""
            problems.append(FootageError(
                f"{source}: its name is none of a video or picture, such as clip.mp4, .mov, .mkv, .webm or .png{boards}"
            ))
    return problems


def check_input(path: Path, what: str) -> list[AutoreelError]:
    """A file to read is there."""
    unseen = _unseen(path)
    if unseen is not None:
        return [MediaError(f"{unseen} ({what})")]
    if path.is_dir():
        return [MediaError(f"{path}: {what} must be a file, this is a folder")]
    if not path.exists():
        return [MediaError(f"{path}: no such file ({what})")]
    return [] if os.access(path, os.R_OK) else [MediaError(f"{path}: no permission to read it ({what})")]


def _unseen(path: Path) -> str | None:
    """Why the system does not even say whether something is there: a name that no disk takes, a closed folder."""
    try:
        path.exists()
    except OSError as error:
        return f"cannot read {path}: {error.strerror}; give another one"
    return None


def check_scripts(paths: Sequence[Path]) -> list[AutoreelError]:
    """TorchScript is a program, and nobody's is run unasked."""
    why = "TorchScript is a program that would run with all your rights; say --trust-scripts when you trust who made it"
    return [UsageError(f"{path}: {why}") for path in paths]


def check_music(path: Path, length_s: float | None) -> list[AutoreelError]:
    """The file is there and has sound, whole as far as the film will use it; it is opened in the jail.

    Args:
        path: of the music.
        length_s: of the film; None when that is not known.
    """
    problems = check_input(path, "music")
    if problems:
        return problems
    from autoreel.media.decode import sound_blocks
    from autoreel.media.probe import probe

    try:
        if not probe(path).has_sound:
            return [MediaError(f"{path}: no sound in it; give a file with music, such as song.mp3")]
        # Decoded as far as the film will use it, block by block: an hour of music is not held.
        used_s = min(length_s, LONGEST_FILM_S) if length_s is not None else 0.0
        if used_s and not sum(len(block) for block in sound_blocks(path, CHECK_RATE_HZ, 1, end_s=used_s, limits=FILM)):
            return [MediaError(f"{path}: no sound could be decoded from it; give another file")]
    except AutoreelError as error:
        return [error]
    return []


def check_storyboard(path: Path, out: Path) -> list[AutoreelError]:
    """A storyboard has no problems of its own, what it names is there, and the film replaces none of it."""
    from autoreel.film.document import load_storyboard
    from autoreel.film.preflight import check_sources, inputs_of, problems_of_places

    try:
        board = load_storyboard(path)
        check_sources(board, None, str(path))
    except ConfigError as error:
        return [error]
    # The record of the same name is what `film film.json` renders; it is written anew.
    return [*problems_of_places(out, inputs_of(board))]


def check_edited(out: Path, run: Path | None) -> list[AutoreelError]:
    """The storyboard beside a film, where somebody edited it: it is what will be rendered.

    Args:
        out: the film.
        run: the run folder, which may not be there yet; None for the one beside the film.
    """
    from autoreel.film.document import beside, is_edited, load_storyboard

    path = beside(out, ".toml")
    if not is_edited(path):
        return []
    problems = check_storyboard(path, out)
    named = Path(load_storyboard(path).run or run or beside(out, ".run")) if not problems else None
    is_made_now = named is not None and named.resolve() == (run or beside(out, ".run")).resolve()
    if named is not None and not is_made_now and not (named / "run.json").is_file():
        problems.append(RunError(f"{path} was edited and names the run {named}, which is not there"))
    return problems


def check_film(out: Path, inputs: Iterable[Path]) -> list[AutoreelError]:
    """A film can be written, and replaces nothing but an earlier film.

    Args:
        out: the film.
        inputs: files and folders that it is made of.
    """
    from autoreel.film.preflight import problems_of_places

    return [*check_output(out, FILM_ENDINGS), *problems_of_places(out, inputs)]


def check_film_length(length_s: float) -> list[AutoreelError]:
    """The length can be that of a film."""
    if SHORTEST_FILM_S <= length_s <= LONGEST_FILM_S:
        return []
    return [UsageError(f"a film of {length_s:g} s is not possible; give a length from half a second to 4 hours")]


def check_title(title: str) -> list[AutoreelError]:
    """The title says something, is not too long, and the font has its letters."""
    from autoreel.film.storyboard import problem_of_title
    from autoreel.media.titles import check_shaping, missing_letters

    problem = problem_of_title(title)
    if problem is not None:
        return [UsageError(f"the title {problem}")]
    try:
        check_shaping(title)
    except UsageError as error:
        return [error]
    missing = missing_letters(title)
    if missing:
        shown = " ".join(missing[:8])
        return [UsageError(
            f"the bundled font has no letter for {shown} of the title; leave --title out, and give the title in the "
            "storyboard, with a 'font' that has it"
        )]  # fmt: skip
    return []


def check_training(fps: float | None, seed: int | None) -> list[AutoreelError]:
    """Numbers that a config would refuse."""
    from autoreel.config import DataConfig, TrainingConfig, from_mapping

    problems: list[AutoreelError] = []
    try:
        from_mapping(DataConfig, {"fps": fps}, "")
    except ConfigError:
        problems.append(UsageError(f"--fps {fps:g} is not possible; give frames per second above 0 and up to 120"))
    try:
        from_mapping(TrainingConfig, {"seed": seed or 0}, "")
    except ConfigError:
        problems.append(UsageError(f"--seed {seed} is not possible; give a number from 0 to {2**31 - 1}"))
    return problems


def check_kind(name: str) -> list[AutoreelError]:
    """There is such a kind of film, its file has no problems, and the files that its effects name are there."""
    from autoreel.film.kinds import load_kind
    from autoreel.film.preflight import problems_of_effects

    try:
        kind = load_kind(name)
        problems = problems_of_effects([*kind.effects, *kind.title_effects])
    except (UsageError, ConfigError, JailError) as error:
        return [error]
    return [ConfigError(problems, name)] if problems else []


def check_signing(cert: Path | None, key: Path | None, out: Path) -> list[AutoreelError]:
    """Certificate and key can sign a file of that ending."""
    if cert is None and key is None:
        return []
    from autoreel.media import manifest

    return manifest.check_signing(cert, key, out)


def check_output(path: Path, endings: Sequence[str], inputs: Iterable[Path] = ()) -> list[AutoreelError]:
    """The name's ending is one that can be written, the folder takes files, and nothing that is read is replaced.

    Args:
        path: of the output.
        endings: allowed.
        inputs: files and folders that are read.
    """
    from autoreel.generation.clips import what_would_be_lost

    try:
        path.exists()
    except OSError as error:
        return [translate_os_error(error, path)]
    problems: list[AutoreelError] = [*what_would_be_lost(path, inputs)]
    # The text decides: a name that ends with a slash, or has a number in it, stands for a folder of pictures.
    if path.suffix.lower() not in endings:
        problems.append(UsageError(f"{path}: the name's ending chooses the format; use {', '.join(endings)}"))
    if path.is_dir():
        problems.append(OutputError(f"cannot write {path}: it is a folder; give a file name"))
    if ".png" in endings and path.suffix.lower() == ".png" and ("%" not in path.name or not path.parent.name):
        problems.append(UsageError(f"{path}: pictures go into a folder of their own; write frames/%05d.png"))
    return problems + check_folder(path.absolute().parent)


def check_folder(folder: Path) -> list[AutoreelError]:
    """A folder can be written to, or made."""
    there = folder.absolute()
    while not there.exists() and there.parent != there:
        there = there.parent
    if not there.is_dir():
        return [OutputError(f"cannot write {folder}: {there} is a file, not a folder; choose another place")]
    if not os.access(there, os.W_OK | os.X_OK):
        return [OutputError(f"cannot write {folder}: no permission to write there; choose another place")]
    return []


def check_wishes(preset: str, config: Path | None) -> list[AutoreelError]:
    """The preset exists, and a config file has no problems."""
    from autoreel.config import PRESETS, load_config, nearest

    problems: list[AutoreelError] = []
    if preset not in (*PRESETS, "auto"):
        problems.append(UsageError(f"unknown preset {preset!r}{nearest(preset, [*PRESETS, 'auto'])}"))
    if config is not None:
        try:
            load_config(config)
        except ConfigError as error:
            problems.append(error)
    return problems


def check_family(family: str | None, config: Path | None, run: Path) -> list[AutoreelError]:
    """Films can be made of the codec: one that is asked for, or that of a run which was begun.

    Args:
        family: that was asked for.
        config: a config file, which may have problems; those are told by `check_wishes`.
        run: the run folder, which may not be there yet.
    """
    from autoreel.config import load_config
    from autoreel.runs import RunFolder

    asked = "--family gan" if family == "gan" else None
    try:
        if asked is None and (run / "run.json").is_file():
            asked = f"{run} is of family gan" if RunFolder.open(run).config.codec.family == "gan" else None
        elif asked is None and config is not None and family is None:
            asked = f"{config} asks for family gan" if load_config(config).codec.family == "gan" else None
    except (ConfigError, RunError):
        return []  # told elsewhere
    reason = "it has neither an encoder nor a prior, and its frames do not follow from each other"
    return [] if asked is None else [UsageError(f"{asked}: no film is made of it, {reason}; use ae, vae or vae-gan")]


def check_encoder(out: Path, encoder: str | None) -> list[AutoreelError]:
    """The ending takes the codec."""
    from autoreel.media.encode import VideoWriter

    try:
        VideoWriter(out, (16, 16), 25, codec=encoder or "auto")  # type: ignore[arg-type]
    except UsageError as error:
        return [error]
    return []


def check_start(start: str | None, codec: str | None) -> list[AutoreelError]:
    """What the codec is to start from is there, or the pretrained codec that is to be used.

    Args:
        start: "scratch", "starter", or the folder of a run or a codec.
        codec: "diffusers:FOLDER" or "diffusers:NAME".
    """
    from autoreel.training.start import WORDS, codec_config_at

    if start is not None and codec is not None:
        return [UsageError("--start is what a codec of its own starts from, --codec one that is trained; give one")]
    try:
        if start is not None and start not in WORDS:
            codec_config_at(Path(start))
        if codec is not None:
            from autoreel.models.pretrained import locate

            locate(codec)
    except AutoreelError as error:
        return [error]
    except OSError as error:  # a name that no disk takes, a closed folder
        return [RunError(f"cannot read {codec or start}: {error.strerror}; give another one")]
    return []


def _holds_any(folder: Path, suffixes: frozenset[str]) -> bool:
    looked_at = 0
    for _, _, names in os.walk(folder):
        for name in names:
            looked_at += 1
            if os.path.splitext(name)[1].lower() in suffixes or looked_at > MAX_LOOKED_AT:
                return True
    return False
