"""docs/storyboard.md says what the code does: its examples load, and its tables name every field and range."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from autoreel.film.checks import FIELDS_OF_VERB
from autoreel.film.document import load_storyboard
from autoreel.film.effects import EFFECTS
from autoreel.film.kinds import Kind
from autoreel.film.storyboard import Canvas, Captions, Fade, Mix, Music, Shot, Storyboard, Title, TransitionKind, Voice

PAGE = (Path(__file__).parents[2] / "docs" / "storyboard.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def _tables() -> list[str]:
    return ["canvas", "opening", "ending", "music", "voices", "mix", "captions", "titles", "shots"]


def _section(heading: str) -> str:
    return PAGE.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_load(tmp_path: Path, text: str) -> None:
    (tmp_path / "film.toml").write_text(text, encoding="utf-8")
    assert load_storyboard(tmp_path / "film.toml").shots


@pytest.mark.parametrize(
    ("heading", "model"),
    [("## Top level", Storyboard), ("## `[canvas]`", Canvas), ("## `[opening]` and `[ending]`", Fade),
     ("## Kinds of film", Kind), ("## `[music]`", Music), ("## `[[voices]]`", Voice),
     ("## `[mix]`", Mix), ("## `[captions]`", Captions),
     ("## `[[titles]]`", Title), ("## `[[shots]]`", Shot)],
)  # fmt: skip
def test_every_field_is_described(heading: str, model: type[BaseModel]) -> None:
    tables = {name for name in _tables() if model is Storyboard}
    section = _section(heading)
    described = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))))
    assert set(model.model_fields) - tables <= described
    verbs = set(FIELDS_OF_VERB) if model is Shot else set()
    assert described <= set(model.model_fields) | verbs


def test_the_verbs_of_every_field() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", _section("## `[[shots]]`"), re.MULTILINE))
    for field in ("label", "seed", "source", "in_s", "out_s", "color", "volume_db"):
        assert set(rows[field].split(", ")) == {v for v, (a, b) in FIELDS_OF_VERB.items() if field in a + b}


def test_every_transition_is_described() -> None:
    section = _section("### `transition`")
    rows = " ".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))
    assert set(re.findall(r"`([a-z-]+)`", rows)) == set(get_args(TransitionKind))


@pytest.mark.parametrize("name", EFFECTS)
def test_every_setting_with_its_range_and_default(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \| (.*?) \|", _section("### `effects`"), re.MULTILINE)
    described = {key: (low, high, default) for key, low, high, default in
                 re.findall(r"`(\w+)` (-?[\d.]+) to ([\d.]+) \(([\d.]+)\)", row)}  # fmt: skip
    fields = {key: info for key, info in EFFECTS[name].model_fields.items() if key != "name"}
    assert all(f"`{key}`" in row for key in fields)
    numbers = {key: info for key, info in fields.items() if isinstance(info.default, int | float)}
    assert set(described) == set(numbers)
    for key, info in numbers.items():
        limits: dict[str, Any] = {}
        for bound in info.metadata:
            limits |= {side: getattr(bound, side) for side in ("ge", "le") if getattr(bound, side, None) is not None}
        assert tuple(map(float, described[key])) == (limits["ge"], limits["le"], info.default)
