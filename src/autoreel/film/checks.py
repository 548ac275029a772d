"""What is wrong with a storyboard, all of it at once, in the words of the person who wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from autoreel.config import most_like, nearest
from autoreel.errors import ConfigError
from autoreel.film.effects import EFFECTS, TIME_EFFECTS
from autoreel.film.storyboard import (
    GENERATED_VERBS,
    LATENT_TRANSITIONS,
    NAMED_COLORS,
    REPAINTED_VERBS,
    Canvas,
    Captions,
    Fade,
    Mix,
    Music,
    Shot,
    Storyboard,
    Title,
    Transition,
    Voice,
)

# What each verb takes besides length, transition and effects.   needs | may have
FIELDS_OF_VERB: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "generate": ((), ("label", "seed", "in_s")),
    "continue": (("source",), ("label", "seed", "in_s", "out_s")),
    "animate": (("source",), ("label", "seed", "in_s")),
    "between": (("source", "to"), ("label", "seed", "in_s", "out_s", "to_in_s")),
    "loop": (("source",), ("label", "seed", "in_s", "out_s", "way_s")),
    "vary": (("source",), ("label", "seed", "in_s", "out_s", "strength")),
    "morph": (("source", "to"), ("in_s", "out_s", "to_in_s")),
    "slow": (("source",), ("in_s", "out_s", "factor")),
    "rebuild": (("source",), ("in_s", "out_s")),
    "material": (("source",), ("in_s", "out_s", "volume_db")),
    "still": (("source",), ("in_s",)),
    "card": ((), ("color",)),
}
MOST_NAMES = 20  # that a message lists
_OWN_FIELDS = (
    "label", "seed", "source", "in_s", "out_s", "to", "to_in_s", "strength", "way_s", "factor", "color", "volume_db",
)  # fmt: skip
_NO_TABLE: Mapping[str, Any] = {}  # stands where something else than a table was written
_TABLES: dict[str, type[BaseModel]] = {
    "canvas": Canvas, "opening": Fade, "ending": Fade, "music": Music, "mix": Mix, "captions": Captions,
    "voices": Voice, "titles": Title, "shots": Shot, "transition": Transition,
}


def parse(values: Mapping[str, Any], where: str) -> Storyboard:
    """Plain values to a storyboard; paths are taken as they stand.

    Raises:
        ConfigError: with every problem: of single fields, and between them.
    """
    problems: list[str] = []
    try:
        storyboard = Storyboard.model_validate(values)
    except ValidationError as error:
        problems = [text for item in error.errors() if (text := _problem_of_field(item))]
    told = tuple(text.split(" is ", 1)[0] for text in problems)
    problems += [text for text in _truths(values, ()) if not text.startswith(told)]
    problems += [text for text in problems_between(values) if text not in problems]
    if problems:
        raise ConfigError(problems, where)
    return storyboard


def _truths(value: Any, loc: tuple[Any, ...]) -> list[str]:
    """No field is true or false, but numbers would take them for 1 and 0."""
    if isinstance(value, bool):
        place, key = _place(loc)
        return [f"{place}'{key}' is {_short(value)}: it is neither true nor false; docs/storyboard.md has its range"]
    if isinstance(value, Mapping):
        name = value.get("name") if len(loc) > 1 and loc[-2] == "effects" else None
        within = (*loc, name) if isinstance(name, str) and name in EFFECTS else loc
        return [text for key, inner in value.items() for text in _truths(inner, (*within, key))]
    if isinstance(value, list | tuple):
        return [text for index, inner in enumerate(value) for text in _truths(inner, (*loc, index))]
    return []


def problems_between(values: Mapping[str, Any]) -> list[str]:
    """What cannot be seen in one field alone. Values may be wrong in any way; those are reported elsewhere."""
    problems: list[str] = []
    shots = _entries(values.get("shots"))
    has_tempo = values.get("music") is not None or values.get("tempo_bpm") is not None
    for index, shot in enumerate(shots):
        if shot is _NO_TABLE:
            continue
        problems += _problems_of_shot(f"shot {index + 1}", shot)
        if shot.get("beats") is not None and not has_tempo:
            problems.append(f"shot {index + 1}: 'beats' needs [music] or 'tempo_bpm' to count by")
    for index, voice in enumerate(_entries(values.get("voices"))):
        problems += _problems_of_span(f"voice {index + 1}", voice)
    problems += _problems_of_captions(values.get("captions"))
    if shots and shots[0].get("transition") is not None:
        problems.append("shot 1: 'transition' has no shot before it; use [opening] to fade in")
    has_run = values.get("run") is not None
    in_need = [str(i + 1) for i, s in enumerate(shots)
               if s is not _NO_TABLE and _needs_run(s)]
    if in_need and not has_run:
        problems.append(f"'run' is missing: shot {', '.join(in_need[:5])}{' ...' if len(in_need) > 5 else ''} "
                        "needs a trained model; name its run folder")
    return problems


def _needs_run(shot: Mapping[str, Any]) -> bool:
    transition = shot.get("transition")
    kind = transition.get("kind") if isinstance(transition, Mapping) else None
    return shot.get("verb", "generate") in (*GENERATED_VERBS, *REPAINTED_VERBS) or kind in LATENT_TRANSITIONS


def _problems_of_shot(name: str, shot: Mapping[str, Any]) -> list[str]:
    problems: list[str] = []
    has_length, has_beats = shot.get("length_s") is not None, shot.get("beats") is not None
    if has_length and has_beats:
        problems.append(f"{name}: has both 'length_s' and 'beats'; keep one of them")
    if not has_length and not has_beats:
        problems.append(f"{name}: 'length_s' or 'beats' is missing")
    verb = shot.get("verb", "generate")
    is_misspelt = "verb" not in shot and bool(set(shot) - set(Shot.model_fields))  # then no verb was left out
    if isinstance(verb, str) and verb in FIELDS_OF_VERB and not is_misspelt:
        needed, optional = FIELDS_OF_VERB[verb]
        problems += [f"{name}: '{key}' is missing; verb '{verb}' needs it" for key in needed if shot.get(key) is None]
        for key in _OWN_FIELDS:
            if shot.get(key) is not None and key not in needed + optional:
                users = ", ".join(v for v, (a, b) in FIELDS_OF_VERB.items() if key in a + b)
                problems.append(f"{name}: '{key}' has no meaning for verb '{verb}'; it belongs to: {users}")
    problems += _problems_of_span(name, shot)
    transition = shot.get("transition")
    if isinstance(transition, Mapping) and transition.get("color") is not None and transition.get("kind") != "dip":
        problems.append(f"{name}: transition: 'color' belongs to kind 'dip' only")
    names = [e.get("name") for e in _entries(shot.get("effects"))]
    if shot.get("volume_db") is not None and set(TIME_EFFECTS) & {n for n in names if isinstance(n, str)}:
        problems.append(f"{name}: 'volume_db' lets the clip's own sound be heard, which effects on time do not change; "
                        "leave out one of them")
    problems += [f"{name}: effect '{twice}' stands twice; keep one of them"
                 for twice in TIME_EFFECTS if names.count(twice) > 1]
    return problems


def _problems_of_captions(captions: Any) -> list[str]:
    """What is said of the look of a track, which players show in their own way; a record says the usual look of all."""
    if not isinstance(captions, Mapping) or captions.get("mode") != "track":
        return []
    usual = {key: Captions.model_fields[key].default for key in ("place", "size", "color", "font")}
    given = {key: captions[key] for key in usual if captions.get(key) is not None}
    if isinstance(given.get("color"), str):
        given["color"] = NAMED_COLORS.get(given["color"].lower(), given["color"].lower())
    remedy = "which players show in their own way; leave it out, or choose mode 'burnt'"
    return [f"[captions]: '{key}' has no meaning for mode 'track', {remedy}"
            for key, value in given.items() if value != usual[key]]  # fmt: skip


def _problems_of_span(name: str, entry: Mapping[str, Any]) -> list[str]:
    start, end = _number(entry.get("in_s"), 0.0), _number(entry.get("out_s"), float("inf"))
    return [f"{name}: 'out_s' is {end:g}; it must lie after 'in_s' ({start:g})"] if end <= start else []


def _number(value: Any, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _entries(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple):
        return []
    return [item if isinstance(item, Mapping) else _NO_TABLE for item in value]


def _problem_of_field(item: Any) -> str:
    loc = tuple(item["loc"])
    kind = item["type"]
    if kind == "too_short" and item.get("input"):
        return ""  # pydantic counts a list with an invalid entry as empty; the entry has its own line
    place, key = _place(loc)
    if kind == "extra_forbidden":
        return f"{place}unknown key '{key}'{nearest(key, _known_keys(loc[:-1]))}"
    if kind == "missing":
        return f"{place}'{key}' is missing"
    if kind == "too_short":
        return f"{place}'{key}' is empty; a film needs at least one shot"
    given = item.get("input")
    if kind == "union_tag_not_found":
        for unknown in given if isinstance(given, Mapping) else ():
            if isinstance(unknown, str) and most_like(unknown, ["name"]):
                return f"{place}unknown key '{unknown}'{nearest(unknown, ['name'])}"
        return f"{place}an effect needs a 'name': {', '.join(EFFECTS)}"
    if kind == "union_tag_invalid":
        tag = str(item["ctx"]["tag"])
        return f"{place}unknown effect '{tag}'{nearest(tag, dict(EFFECTS))}"
    if kind == "literal_error":
        known = [word.strip("'") for word in item["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        if isinstance(given, str) and most_like(given, known):
            return f"{place}'{key}' is {_quoted(given)}{nearest(given, known)}"
        more = f" and {len(known) - MOST_NAMES} more, see docs/storyboard.md" if len(known) > MOST_NAMES else ""
        return f"{place}'{key}' is {_quoted(given)}; known: {', '.join(known[:MOST_NAMES])}{more}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{place}'{key}' is {_short(given)}; it must be a table" if key else f"{place}must be a table"
    if kind == "tuple_type":
        return f"{place}'{key}' is {_short(given)}; it must be a list"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{place}'{key}' is {_short(given)}: {message[:1].lower()}{message[1:]}"


def _quoted(given: Any) -> str:
    return f"'{_short(given)}'" if isinstance(given, str) else _short(given)


def _short(given: Any) -> str:
    if not isinstance(given, str | int | float | bool):
        return {"dict": "a table", "list": "a list", "NoneType": "nothing"}.get(type(given).__name__, "of another kind")
    if isinstance(given, bool):
        return str(given).lower()
    text = given if isinstance(given, str) else repr(given)
    return text if len(text) <= 60 else text[:57] + "..."


def _place(loc: tuple[Any, ...]) -> tuple[str, str]:
    """('shots', 2, 'effects', 0, 'grain', 'size') -> 'shot 3: effect 1 (grain): ', 'size'."""
    words: list[str] = []
    key = ""
    singular = {"shots": "shot", "titles": "title", "effects": "effect", "voices": "voice"}
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(part, int):
            words.append(f"{singular.get(key, key)} {part + 1}")
            key = ""
        elif i >= 2 and loc[i - 2] == "effects" and isinstance(loc[i - 1], int) and part in EFFECTS:
            words[-1] += f" ({part})"
        elif last or isinstance(loc[i + 1], int):
            key = str(part)
        else:
            words.append(f"[{part}]" if i == 0 else str(part))
    return "".join(f"{word}: " for word in words), key


def _known_keys(loc: tuple[Any, ...]) -> list[str]:
    for part in reversed(loc):
        if part in EFFECTS and "effects" in loc:
            return list(EFFECTS[part].model_fields)
        if part in _TABLES:
            return list(_TABLES[part].model_fields)
    return list(Storyboard.model_fields)
