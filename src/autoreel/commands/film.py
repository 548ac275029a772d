"""The commands of films: film and storyboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter

from autoreel.commands.notes import note
from autoreel.commands.options import (
    Backbone,
    Device,
    Family,
    Fit,
    Judge,
    MaybeOut,
    Out,
    RunFolderPath,
    SignCert,
    SignKey,
    Upscale,
    duration_s,
    film_length_s,
    parse_budget,
    parsed,
    signing_of,
    time_s,
    wishes_of,
)
from autoreel.errors import AutoreelError, UsageError

if TYPE_CHECKING:
    from autoreel.film.delivery import Delivery
    from autoreel.film.renderer import FilmResult

EDIT_ENDINGS = (".otio", ".fcpxml")
Encoder = Literal["h264", "h265", "av1", "vp9", "prores"]
Quality = Literal["draft", "good", "best"]


def film(
    *footage: Path,
    out: MaybeOut = None,
    music: Path | None = None,
    length: str | None = None,
    budget: str | None = None,
    preset: str | None = None,
    title: str | None = None,
    kind: str | None = None,
    seed: int | None = None,
    fit: Fit | None = None,
    fps: float | None = None,
    run: RunFolderPath = None,
    config: Path | None = None,
    family: Family | None = None,
    backbone: Backbone | None = None,
    discriminator: Judge | None = None,
    start: str | None = None,
    codec: str | None = None,
    sample: Annotated[bool, Parameter(negative="")] = False,
    device: Device = "auto",
    watermark: bool = True,
    preview: Annotated[bool, Parameter(negative="")] = False,
    from_: str | None = None,
    to: str | None = None,
    encoder: Encoder | None = None,
    quality: Quality | None = None,
    hardware: Annotated[bool, Parameter(negative="")] = False,
    upscale: Upscale | None = None,
    sign_cert: SignCert = None,
    sign_key: SignKey = None,
) -> None:
    """Make a film: learn from footage, generate new shots, cut them to music. Or render a storyboard again.

    The model is kept in a folder beside the film (film.run for film.mp4), the storyboard in film.toml.
    The same command goes on where it was stopped. A storyboard that was edited is rendered as it stands.

    Args:
        footage: Folders and files with video; or one storyboard (film.toml, film.json) to render again.
        out: The film, film.mp4 when left out. Its ending chooses the format: .mp4, .mov, .mkv, .webm, .gif; beside a
            storyboard also .otio and .fcpxml, the edit for editing programs.
        music: A file with sound; its beats decide the cuts.
        length: Length of the film: 60s (when left out), 1m30s, 1:30.
        budget: Time for training: 20m (when left out), 90s, 1h; or steps: "500 steps".
        preset: Size of the model: tiny (64 px), small (128 px), base (256 px); left out: what this machine can train.
        title: A title at the start.
        kind: Pace, transitions and look: plain (when left out), ad, romance, travel, or a .toml file of your own.
        seed: The same seed makes the same film; another one makes another film from the same model.
        fit: What to do with footage of another shape: crop, or letterbox.
        fps: Frames per second; the footage's own when left out.
        run: Folder of the model, to choose its place or to use one again.
        config: A config file instead of a preset.
        family: What the codec is: ae, vae, or vae-gan, which is taken when left out; of gan no films are made.
        backbone: What it is built of: resnet (taken when left out), or transformer.
        discriminator: Of vae-gan: conv, which judges patches (taken when left out), or fc, whole pictures.
        start: What the codec starts from: starter (it comes with the program), scratch, or the folder of a run; starter
            when left out, where there is one of this codec's layout.
        codec: A pretrained codec instead of one of its own: diffusers:FOLDER.
        sample: Use footage and music that the program makes itself.
        device: Where to compute.
        watermark: Mark what the model made, invisibly; `autoreel verify` finds it.
        preview: Small and fast, to look at an edit; into film.preview.mp4 where -o is left out.
        from_: Render only what comes after this time of the film: 10s; into film.part.mp4 where -o is left out.
        to: Render only what comes before this time: 20s.
        encoder: Of the pictures, where the ending takes several.
        quality: Of the pictures; good when left out.
        hardware: Encode on a graphics chip where one can.
        upscale: How what the model makes is enlarged: lanczos (when left out, unless the storyboard says otherwise), or
            learned, which the run was trained for with --stage upscale.
        sign_cert: Your certificate and those that signed it (PEM): the film gets a C2PA manifest (extra c2pa).
        sign_key: The certificate's private key (PEM, without a password).
    """
    from autoreel import preflight

    given = _Given(encoder, quality, hardware, preview, from_, to, upscale)
    if len(footage) == 1 and footage[0].suffix.lower() in (".toml", ".json"):
        _film_again(footage[0], out, device, watermark, (sign_cert, sign_key), given, {
            "--music": music, "--length": length, "--budget": budget, "--preset": preset, "--title": title,
            "--kind": kind, "--seed": seed, "--fit": fit, "--fps": fps, "--run": run, "--config": config,
            "--family": family, "--backbone": backbone, "--discriminator": discriminator,
            "--start": start, "--codec": codec,
            "--sample": sample or None,
        })  # fmt: skip
        return
    whole = out or Path("film.mp4")
    target = whole if out is not None else _own_name(whole, given)
    preset, kind = preset or "auto", kind or "plain"
    problems: list[AutoreelError] = []
    if sample == bool(footage):
        problems.append(UsageError("give a folder of footage, or --sample to use footage that the program makes"))
    length_s = parsed(problems, film_length_s, length or "60s")
    amount = parsed(problems, parse_budget, budget or "20m")
    problems += preflight.check_footage(footage) + preflight.check_wishes(preset, config)
    problems += preflight.check_training(fps, seed) + preflight.check_start(start, codec)
    problems += preflight.check_family(family, config, run or whole.with_suffix(".run"))
    problems += preflight.check_music(music, length_s) if music is not None else []
    problems += preflight.check_title(title) if title is not None else []
    inputs = [*footage, *(path for path in (music, config) if path is not None)]
    problems += preflight.check_film(whole, inputs)
    problems += preflight.check_film(target, inputs) if target != whole else []
    problems += preflight.check_encoder(target, encoder) if target.suffix.lower() in preflight.FILM_ENDINGS else []
    problems += preflight.check_edited(whole, run)
    problems += preflight.check_folder(run) if run is not None else []
    problems += preflight.check_signing(sign_cert, sign_key, target)
    from_s, to_s = _part(problems, given, length_s)
    preflight.insist(problems + preflight.check_kind(kind))
    assert length_s is not None and amount is not None  # or there would have been a problem
    from autoreel.film.commission import Commission, carry_out

    wishes = wishes_of(preset, config, fit, fps, None, start, codec, family, backbone, discriminator)
    commission = Commission(
        sources=footage, out=whole, run=run, length_s=length_s if length is not None else None, budget=amount,
        music=music, title=title, kind=kind, wishes=wishes, seed=seed,
        sample=sample, device=device, watermark=watermark, signing=signing_of(sign_cert, sign_key),
        upscale=upscale or "lanczos", delivery=_delivery(given, from_s, to_s, whole), rendered=target,
    )  # fmt: skip
    made = carry_out(commission, report=note, bars=True)
    note(f"to change it, edit {made.storyboard} and run: autoreel film {made.storyboard}")
    _tell(made.result)


def storyboard(
    run: Path,
    *,
    out: Out = Path("film.toml"),
    music: Path | None = None,
    length: str = "60s",
    title: str | None = None,
    kind: str = "plain",
    seed: int = 0,
    upscale: Upscale = "lanczos",
) -> None:
    """Write the storyboard of a film, to edit and to render with `autoreel film`.

    Args:
        run: The run folder the shots come from.
        out: The storyboard, a .toml file.
        music: A file with sound; its beats decide the cuts.
        length: Length of the film: 60s, 1m30s, 1:30.
        title: A title at the start.
        kind: Pace, transitions and look: plain, ad, romance, travel, or a .toml file of your own.
        seed: Decides what is left to chance.
        upscale: How what the model makes is enlarged: lanczos, or learned (see `autoreel train --stage upscale`).
    """
    from autoreel import preflight

    problems = preflight.check_output(out, (".toml",), [music] if music is not None else [])
    length_s = parsed(problems, film_length_s, length)
    problems += preflight.check_music(music, length_s) if music is not None else []
    problems += preflight.check_title(title) if title is not None else []
    preflight.insist(problems + preflight.check_kind(kind))
    assert length_s is not None  # or there would have been a problem
    import autoreel
    from autoreel.film.make import write_storyboard
    from autoreel.generation.clips import make_parent

    opened = autoreel.load(run)
    make_parent(out)
    print(write_storyboard(
        opened, run, out, music=music, length_s=length_s, title=title, seed=seed, kind=kind, upscale=upscale,
        report=note,
    ))  # fmt: skip


class _Given(NamedTuple):
    """How the film's file is written, as it was given."""

    encoder: Encoder | None
    quality: Quality | None
    hardware: bool
    preview: bool
    from_: str | None
    to: str | None
    upscale: Upscale | None


def _own_name(film: Path, given: _Given) -> Path:
    """Where what is not the finished film goes when nobody says where, so that it does not take the film's place."""
    if given.preview:
        return film.with_name(f"{film.stem.removesuffix('.preview')}.preview.mp4")
    if given.from_ is not None or given.to is not None:
        return film.with_stem(f"{film.stem.removesuffix('.part')}.part")
    return film


def _part(
    problems: list[AutoreelError], given: _Given, length_s: float | None = None
) -> tuple[float | None, float | None]:
    """The times of `--from` and `--to`, which lie in a film of `length_s` where that is known."""
    before = len(problems)
    if given.from_ is not None and not any(letter.isdigit() for letter in given.from_):
        text = f"--from {given.from_}: it is the time of the film to begin at, such as 10s"
        problems.append(UsageError(f"{text}; what the codec starts from is --start {given.from_}"))
        return None, None
    from_s = parsed(problems, time_s, given.from_) if given.from_ is not None else None
    to_s = parsed(problems, duration_s, given.to) if given.to is not None else None
    if len(problems) == before and length_s is not None and not (from_s or 0.0) < min(to_s or length_s, length_s):
        end = f"--to {given.to}" if given.to is not None else "its end"
        text = f"--from {given.from_ or '0s'} to {end} is no part of a film of {length_s:g} s"
        problems.append(UsageError(f"{text}; give times in it, the earlier one first"))
    return from_s, to_s


def _delivery(given: _Given, from_s: float | None, to_s: float | None, shots_of: Path) -> Delivery:
    from autoreel.film.delivery import Delivery

    return Delivery(
        codec=given.encoder or "auto", quality=given.quality, hardware=given.hardware,
        preview=given.preview, from_s=from_s, to_s=to_s, shots_of=shots_of, upscale=given.upscale,
    )  # fmt: skip


def _film_again(
    storyboard: Path, out: Path | None, device: Device, watermark: bool, signer: tuple[Path | None, Path | None],
    delivery: _Given, others: Mapping[str, object],
) -> None:  # fmt: skip
    """Render a storyboard; it says everything that the other options would."""
    from autoreel import preflight

    given = [name for name, value in others.items() if value is not None]
    problems: list[AutoreelError] = []
    if given:
        text = f"{', '.join(given)}: not beside a storyboard, which says all of it; edit {storyboard}, or give footage"
        problems.append(UsageError(text))
    from autoreel.film.document import film_of

    if out is not None and out.suffix.lower() in EDIT_ENDINGS:
        _export(storyboard, out, device, watermark, signer, delivery, problems)
        return
    target = out or film_of(storyboard, preflight.FILM_ENDINGS)
    if out is None:
        target = _own_name(target, delivery)
    from_s, to_s = _part(problems, delivery)
    problems += preflight.check_storyboard(storyboard, target)
    problems += preflight.check_signing(*signer, target)
    preflight.insist(problems + preflight.check_output(target, preflight.FILM_ENDINGS, [storyboard]))
    from autoreel.film.renderer import render
    from autoreel.generation.clips import make_parent

    make_parent(target)
    signing = signing_of(*signer)
    film = film_of(storyboard, preflight.FILM_ENDINGS)
    if storyboard.suffix.lower() == ".json":  # of a part or a preview, whose shots are those of the film
        film = film.with_stem(film.stem.removesuffix(".preview").removesuffix(".part"))
    how = _delivery(delivery, from_s, to_s, film)
    _tell(render(
        storyboard, None, target, report=note, device=device, watermark=watermark, signing=signing, delivery=how
    ))  # fmt: skip


def _export(
    storyboard: Path, out: Path, device: Device, watermark: bool, signer: tuple[Path | None, Path | None],
    given: _Given, problems: list[AutoreelError],
) -> None:  # fmt: skip
    """Write the edit of a film for other programs."""
    from autoreel import preflight

    useless = {
        "--preview": given.preview, "--from": given.from_, "--to": given.to, "--encoder": given.encoder,
        "--quality": given.quality, "--hardware": given.hardware, "--sign-cert": signer[0], "--sign-key": signer[1],
    }  # fmt: skip
    names = [name for name, value in useless.items() if value]
    if names:
        text = f"{', '.join(names)}: not beside an edit ({out.suffix}), whose clips are those of the whole film"
        problems.append(UsageError(f"{text}, at best quality and unsigned; leave them out, or render a film"))
    problems += preflight.check_storyboard(storyboard, out.with_suffix(".mp4"))
    preflight.insist(problems + preflight.check_output(out, EDIT_ENDINGS, [storyboard]))
    from autoreel.film.edit import export
    from autoreel.generation.clips import make_parent

    make_parent(out)
    print(export(storyboard, out, device=device, watermark=watermark, upscale=given.upscale, report=note))


def _tell(result: FilmResult) -> None:
    note(f"{result.num_frames} frames, {result.duration_s:.2f} s, rendered in {result.wall_s:.0f} s")
    print(result.path)
