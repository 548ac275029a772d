"""The options that several commands take, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from autoreel.errors import AutoreelError, UsageError

if TYPE_CHECKING:
    from autoreel.media.manifest import Signing
    from autoreel.training.begin import Wishes
    from autoreel.training.budget import Budget

S = TypeVar("S")
T = TypeVar("T")

Out = Annotated[Path, Parameter(name=["--out", "-o"])]
MaybeOut = Annotated[Path | None, Parameter(name=["--out", "-o"])]
SignCert = Annotated[Path | None, Parameter(name="--sign-cert")]
SignKey = Annotated[Path | None, Parameter(name="--sign-key")]
RunFolderPath = Annotated[Path | None, Parameter(name=["--run", "-r"])]
Fit = Literal["crop", "letterbox"]
Device = Literal["auto", "cpu", "cuda"]
Upscale = Literal["lanczos", "learned"]
Family = Literal["gan", "ae", "vae", "vae-gan"]
Backbone = Literal["resnet", "transformer"]
Judge = Literal["conv", "fc"]


def parsed(problems: list[AutoreelError], parse: Callable[[S], T], text: S) -> T | None:
    """The value of a text; when it has none, the error joins the others."""
    try:
        return parse(text)
    except AutoreelError as error:
        problems.append(error)
        return None


def duration_s(text: str) -> float:
    from autoreel.durations import parse_duration_s

    return parse_duration_s(text)


def time_s(text: str) -> float:
    from autoreel.durations import parse_duration_s

    return parse_duration_s(text, may_be_zero=True)


def film_length_s(text: str) -> float:
    from autoreel.preflight import check_film_length, insist

    length_s = duration_s(text)
    insist(check_film_length(length_s))
    return length_s


def signing_of(cert: Path | None, key: Path | None) -> Signing | None:
    """Whose signature is wanted; `preflight.check_signing` said before that both are there and fit."""
    from autoreel.media.manifest import Signing

    return Signing(cert, key) if cert is not None and key is not None else None


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of "256x256"."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    if found is None:
        raise UsageError(f"size {text!r} is not understood; write width x height in pixels: 256x256")
    return int(found[1]), int(found[2])


def parse_changes(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    from autoreel.config import read_changes

    return read_changes(texts)


def parse_budget(text: str) -> Budget:
    from autoreel.training.budget import Budget

    return Budget.parse(text)


def wishes_of(
    preset: str, config: Path | None, fit: Fit | None, fps: float | None, seed: int | None, start: str | None = None,
    codec: str | None = None, family: Family | None = None, backbone: Backbone | None = None,
    discriminator: Judge | None = None, changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Wishes:  # fmt: skip
    from autoreel.training.begin import Wishes

    return Wishes(
        preset=preset, config=config, fit=fit, fps=fps, seed=seed, start=start, codec=codec,
        family=family, backbone=backbone, discriminator=discriminator, changes=changes or {},
    )  # fmt: skip
