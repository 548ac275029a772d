"""Writes a storyboard: cuts on the music's beats, labels in turn, transitions with restraint.

The cuts are the cheapest way through the beats: each shot costs by how far its length lies from what the music asks
for there (loud music wants short shots), each cut by its place in the bar. Found exactly, by dynamic programming.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from autoreel.errors import UsageError
from autoreel.film.kinds import Kind
from autoreel.film.storyboard import MAX_SHOTS, Canvas, Fade, Music, Shot, Storyboard, Title, Transition

if TYPE_CHECKING:
    from autoreel.film.beats import Beats

COST_OF_BEAT = (0.0, 0.6, 0.2, 0.6)  # of a cut on the first, second, ... beat of a bar
LONGEST_S = 4 * 3600
TITLE_CARD_FROM_S = 8.0  # a shorter film has its title over the first shot
TITLE_CARD_S, TITLE_CARD_TO_S = 3.2, 4.5  # how long a card is read, and when it becomes dull
ALIKE_CUTS = 0.6  # of the usual share, between two shots of one label, where a cut looks like a jump
MOST_IN_A_ROW = 2  # of shots joined by anything but a cut, where the kind has mostly cuts


def direct(
    *,
    length_s: float,
    canvas: Canvas,
    beats: Beats,
    run: Path,
    labels: Sequence[str] = (),
    music: Path | None = None,
    title: str | None = None,
    seed: int = 0,
    kind: Kind | None = None,
) -> Storyboard:
    """Write the storyboard of a film of generated shots.

    Args:
        length_s: of the whole film; it is met to the frame.
        canvas: its size and rate.
        beats: of the music, from the film's start on; `even_beats` without music.
        run: the run folder the shots come from.
        labels: of that run; each appears when there are shots enough. Empty: shots of any kind.
        music: the file, or None for a silent film.
        title: shown at the start.
        seed: decides everything left to chance; the same seed gives the same storyboard.
        kind: pace, transitions, effects and titles; None for those of a plain film.

    Raises:
        UsageError: a length that cannot be a film.
    """
    num_frames = round(Fraction(str(length_s)) * canvas.rate) if 0 < length_s <= LONGEST_S else 0
    if num_frames < 2:
        raise UsageError(f"a film of {length_s:g} s is not possible; give a length from two frames to 4 hours")
    kind = kind if kind is not None else Kind()
    chance = random.Random(seed)
    has_card = title is not None and length_s >= TITLE_CARD_FROM_S
    cuts = _choose_cuts(num_frames, canvas.rate, beats, len(labels) + has_card, has_card, chance, kind)
    lengths = [b - a for a, b in zip(cuts, cuts[1:], strict=False)]
    if len(lengths) > MAX_SHOTS:
        raise UsageError(
            f"a film of {length_s:g} s in {len(lengths)} shots is not possible; a storyboard has at most {MAX_SHOTS}, "
            "so make it shorter or the shots of its kind longer"
        )
    turns = _label_order(labels, len(lengths), has_card, chance)
    seeds = chance.sample(range(2**31), len(lengths))
    transitions = _transitions(cuts, canvas.rate, turns, beats, has_card, chance, kind)
    shots = [
        Shot(
            verb="generate", length_s=_seconds(cuts[i], cuts[i + 1], canvas.rate), label=turns[i], seed=seeds[i],
            transition=transitions[i], effects=kind.title_effects if has_card and i == 0 else kind.effects,
        )
        for i in range(len(lengths))
    ]
    most_s = max(0.01, length_s / 8)  # of a short film, the fades at its ends must leave something
    return Storyboard(
        run=str(run),
        canvas=canvas,
        opening=Fade(length_s=round(min(kind.opening.length_s, most_s), 2), color=kind.opening.color),
        ending=Fade(length_s=round(min(kind.ending.length_s, most_s), 2), color=kind.ending.color),
        music=Music(file=str(music), fade_out_s=round(min(2.0, length_s / 4), 2)) if music else None,
        titles=() if not title else (
            _title(title, (lengths[0] if has_card else num_frames) / canvas.rate, has_card, kind.title_size),
        ),
        shots=tuple(shots),
    )


def energy_under(beats: Beats, start_s: float, end_s: float) -> float:
    """How loud the music is on average between two times, in [0, 1]."""
    inside = beats.energy[(beats.times_s >= start_s - 0.05) & (beats.times_s < end_s - 0.05)]
    return float(inside.mean()) if len(inside) else _energy_at(beats, start_s)


def _seconds(first: int, last: int, rate: Fraction) -> float:
    """The length of a shot so that the running sum of all lengths still rounds to its frame."""
    micro = 1_000_000
    return (round(last * micro / rate) - round(first * micro / rate)) / micro


def _title(text: str, room: Fraction, is_card: bool, size: float) -> Title:
    room_s = float(room)
    margin_s = min(0.3, room_s / 8)
    length_s = room_s - 2 * margin_s if is_card else min(3.5, room_s - 2 * margin_s)
    return Title(
        text=text, start_s=round(margin_s, 2), length_s=round(length_s, 2),
        size=size if is_card else max(0.02, round(size * 0.8, 3)),
        place="center" if is_card else "lower", fade_s=round(min(0.4, length_s / 4), 2),
    )


def _choose_cuts(
    num_frames: int, rate: Fraction, beats: Beats, min_shots: int, has_card: bool, chance: random.Random, kind: Kind
) -> list[int]:
    """Frames at which shots start, from 0, and the film's end.

    Shots are made shorter when that is needed to have enough, but never aim below the kind's shortest: a film with many
    labels then does without some of them.
    """
    # Beside real beats a whiff of chance; an even pace would otherwise cut like a clock.
    most = 0.15 if beats.pulse > 0 else 1.2
    jitter = [chance.uniform(0.0, most) for _ in beats.times_s]
    target_s = kind.shot_s
    while True:
        limits = min(kind.shots_from_s, target_s), max(kind.shots_to_s, target_s)
        cuts = _cheapest_cuts(num_frames, rate, beats, target_s, limits, jitter, has_card)
        if len(cuts) - 1 >= min_shots or target_s <= kind.shots_from_s:
            return cuts
        target_s = max(kind.shots_from_s, target_s * 0.85)


def _cheapest_cuts(
    num_frames: int, rate: Fraction, beats: Beats, target_s: float, limits: tuple[float, float], jitter: list[float],
    has_card: bool,
) -> list[int]:  # fmt: skip
    places, costs, energy = [0], [0.0], [float(beats.energy[0]) if len(beats.energy) else 0.5]
    for i, time in enumerate(beats.times_s.tolist()):
        frame = round(time * float(rate))
        if places[-1] < frame < num_frames:
            cost = COST_OF_BEAT[(i - beats.downbeat) % 4] if beats.pulse > 0 else 0.0
            places.append(frame)
            costs.append(cost + jitter[i])
            energy.append(float(beats.energy[i]))
    places.append(num_frames)
    costs.append(0.0)
    best, back = [0.0], [0]
    summed = [0.0]
    for value in energy:
        summed.append(summed[-1] + value)
    frame_s = float(1 / rate)
    for j in range(1, len(places)):
        # Shots of more than half a minute are never worth it while there are beats to cut on.
        first = max(0, next((i for i in range(j - 1, -1, -1) if (places[j] - places[i]) * frame_s > 30.0), 0))
        options = []
        for i in range(first, j):
            loudness = (summed[j] - summed[i]) / (j - i)
            wanted_s, within = target_s * (1.3 - 0.6 * loudness), limits
            if has_card and i == 0:
                wanted_s, within = min(wanted_s, TITLE_CARD_S), (min(limits[0], TITLE_CARD_S), TITLE_CARD_TO_S)
            options.append((best[i] + _cost_of_length((places[j] - places[i]) * frame_s, wanted_s, within), i))
        cost, i = min(options)
        best.append(cost + costs[j])
        back.append(i)
    cuts, at = [num_frames], len(places) - 1
    while at > 0:
        at = back[at]
        cuts.append(places[at])
    return cuts[::-1]


def _cost_of_length(length_s: float, wanted_s: float, limits: tuple[float, float]) -> float:
    shortest, longest = limits
    outside = max(0.0, shortest - length_s) / shortest + max(0.0, length_s - longest) / longest
    return 3.0 * math.log2(length_s / wanted_s) ** 2 + 12.0 * outside


def _label_order(labels: Sequence[str], count: int, has_card: bool, chance: random.Random) -> list[str | None]:
    """A label for every shot: all in turn, in a new order each round, none twice in a row."""
    if not labels:
        return [None] * count
    order: list[str] = []
    while len(order) < count:
        turn = chance.sample(list(labels), len(labels))
        if order and turn[0] == order[-1] and len(turn) > 1:
            turn.append(turn.pop(0))
        order += turn
    # The title card is blurred: nothing can be recognised on it, so it takes no label's turn.
    return [order[-1] if order[-1] != order[0] else None, *order[: count - 1]] if has_card else list(order[:count])


def _transitions(
    cuts: list[int], rate: Fraction, labels: Sequence[str | None], beats: Beats, has_card: bool,
    chance: random.Random, kind: Kind,
) -> list[Transition | None]:  # fmt: skip
    """Drawn by the kind's weights, with restraint; a dip where the music turns; a crossfade from the title card."""
    lengths_s = [float((b - a) / rate) for a, b in zip(cuts, cuts[1:], strict=False)]
    names = list(kind.transitions)
    has_mostly_cuts = kind.transitions.get("cut", 0.0) >= 0.5
    transitions: list[Transition | None] = [None]
    last = len(lengths_s) - 1  # a dip into the last shot would look like the ending, and then not be it
    last_dip_s, joined = 0.0, 0
    for i in range(1, len(lengths_s)):
        at_s = float(cuts[i] / rate)
        room_s = min(lengths_s[i - 1], lengths_s[i]) / 3
        turn = abs(_energy_at(beats, at_s + 0.1) - _energy_at(beats, at_s - 0.6))
        weights = [w * (ALIKE_CUTS if n == "cut" and labels[i] == labels[i - 1] else 1.0)
                   for n, w in kind.transitions.items()]  # fmt: skip
        drawn = chance.choices(names, weights)[0] if sum(weights) > 0 else "cut"
        length_s = chance.choice(kind.transition_lengths_s)
        if has_card and i == 1:
            transitions.append(_transition("fade", 0.8, room_s))
        elif kind.dip_every_s and turn > 0.35 and at_s - last_dip_s > kind.dip_every_s and i < last:
            transitions.append(_transition("dip", 0.6, room_s, kind.dip_color))
            last_dip_s, joined = at_s, 0
        elif drawn == "cut" or (has_mostly_cuts and joined >= MOST_IN_A_ROW):
            transitions.append(None)
            joined = 0
        else:
            transitions.append(_transition(drawn, length_s, room_s))
            joined += 1
    if len(transitions) > 2 and not any(transitions):
        transitions[len(transitions) // 2] = _transition("fade", 0.6, min(lengths_s) / 3)
    return transitions


def _transition(kind: str, length_s: float, room_s: float, color: str | None = None) -> Transition:
    return Transition.model_validate({"kind": kind, "length_s": round(min(length_s, room_s), 2), "color": color})


def _energy_at(beats: Beats, at_s: float) -> float:
    before = [i for i, time in enumerate(beats.times_s) if time <= at_s]
    return float(beats.energy[before[-1]]) if before else 0.0
