"""Runs that somebody else began, to be trained on: what is wrong in them is refused in one line, or does no harm.

They have more in them than a model has: a state to go on from, with a hash that fits; metrics; a lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fault_campaigns.models import Case, Damage, parts, put
from benchmarks.fault_campaigns.report import Findings, wrong_with
from benchmarks.fault_campaigns.spikes import SMALL

from autoreel.data.prepare import prepare
from autoreel.data.sample import render_sample_footage
from autoreel.data.store import FootageStore
from autoreel.runs import RunFolder
from autoreel.training.budget import Budget
from autoreel.training.train import begin, train

STEPS = 2  # that each of them has behind it
PATIENCE_S = 120
HARMLESS = "a line of metrics:"  # one that is left out, and the training goes on
SOUND = Case("training: sound", lambda run: None, rehash=False)


def make_training(path: Path, work: Path) -> FootageStore:
    """A sound run folder whose codec was trained for a few steps, and the footage that it learns from."""
    clips = work / "clips"
    render_sample_footage(clips, seed=0, kinds=("travel",), clips_per_kind=2, clip_s=0.8, size=(32, 32))
    store = prepare([clips], work / "store", SMALL.data).store
    train(begin(path, store, SMALL), store, budget=Budget(steps=STEPS), stage="codec", device="cpu", report=_unseen)
    return store


def forged(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change what the checkpoints say, and make their hashes fit."""

    def damage(run: Path) -> None:
        for path in run.glob("checkpoints/*/state.json"):
            body = json.loads(path.read_text().partition("\n")[2])
            change(body)
            text = json.dumps(body)
            path.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n")

    return damage


def trainings(victim: Path) -> list[Case]:
    """Runs that somebody else began; `victim` is a file outside of them."""

    def optimizer(value: object) -> Damage:
        return forged(lambda b: b["plain"]["optimizers"].update(dict.fromkeys(b["plain"]["optimizers"], value)))

    def without_states(change: Callable[[dict[str, Any]], object]) -> Damage:
        """The tensors of the optimizers are left out as well, so that nothing else tells."""

        def damage(run: Path) -> None:
            forged(change)(run)
            for path in run.glob("checkpoints/*/state.safetensors"):
                header, body = parts(path)
                kept, content = {}, b""
                for name, entry in header.items():
                    if name.startswith("module/"):
                        begin, end = entry["data_offsets"]
                        kept[name] = {**entry, "data_offsets": [len(content), len(content) + end - begin]}
                        content += body[begin:end]
                put(path, kept, content)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                forged(partial(dict.update, tensors_sha256=digest))(run)

        return damage

    def kept_instead(optimizer: str, table: list[list[object]]) -> Damage:
        """Let an optimizer have kept something else of its first parameter."""

        def change(body: dict[str, Any]) -> None:
            saved = dict(body["plain"]["optimizers"][optimizer]["table"])
            states, group = saved["state"]["table"], saved["param_groups"]["list"][0]["table"]
            # The tensors are still named somewhere, or the file would be refused for holding more than that.
            group.append(["before", {"list": [kept for _, kept in states[:1]]}])
            states[:1] = [[0, {"table": table}]]

        return forged(change)

    def without_setting(optimizer: str, name: str) -> Damage:
        def change(body: dict[str, Any]) -> None:
            group = dict(body["plain"]["optimizers"][optimizer]["table"])["param_groups"]["list"][0]
            group["table"] = [pair for pair in group["table"] if pair[0] != name]

        return forged(change)

    def replaced(pattern: str, make: Damage) -> Damage:
        def damage(run: Path) -> None:
            for path in run.glob(pattern):
                path.unlink()
                make(path)

        return damage

    made: dict[str, Damage] = {
        "no optimizers": without_states(lambda b: b["plain"].pop("optimizers")),
        "optimizers a list": without_states(lambda b: b["plain"].update(optimizers=[1])),
        "no groups": without_states(
            lambda b: b["plain"].update(optimizers={name: {"table": []} for name in b["plain"]["optimizers"]})
        ),
        "deep optimizers": without_states(lambda b: b["plain"].update(optimizers=json.loads("[" * 900 + "]" * 900))),
        "optimizers of nothing": optimizer(None),
        "an optimizer without its averages": kept_instead("others", [["step", 3.0]]),
        "a momentum that is a number": kept_instead("matrices", [["momentum_buffer", 0.5]]),
        "no momentum in the settings": without_setting("matrices", "momentum"),
        "no plain values": forged(lambda b: b.pop("plain")),
        "a watch of text": forged(lambda b: b.update(watch={"losses": "abc"})),
        "a watch that lost more than there was": forged(lambda b: b["watch"].update(lost=1 << 40)),
        "time below zero": forged(lambda b: b.update(elapsed_s=-1e9)),
        "time that is no number": forged(lambda b: b.update(elapsed_s="nan")),
        "another step": forged(lambda b: b.update(step=7)),
        "a pipe as state": replaced("checkpoints/*/state.json", os.mkfifo),
        "a device as state": replaced("checkpoints/*/state.json", lambda path: path.symlink_to("/dev/zero")),
        "a pipe as tensors": replaced("checkpoints/*/state.safetensors", os.mkfifo),
        "a link as lock": replaced(".lock", lambda path: path.symlink_to(victim)),
        "a pipe as lock": replaced(".lock", os.mkfifo),
        "a link as metrics": replaced("metrics.jsonl", lambda path: path.symlink_to(victim)),
        "a pipe as metrics": replaced("metrics.jsonl", os.mkfifo),
        "a device as metrics": replaced("metrics.jsonl", lambda path: path.symlink_to("/dev/zero")),
    }
    lines = {
        "deep": "[" * 200_000, "long": '{"stage": "codec", "step": 1' + " " * (8 << 20) + "}",
        "step a text": '{"stage": "codec", "step": "x"}', "loss a list": '{"stage": "codec", "step": 1, "loss": [1]}',
        "loss a text": '{"stage": "codec", "step": 1, "loss": "x"}', "no step": '{"stage": "codec", "loss": 1.0}',
        "loss without end": '{"stage": "codec", "step": 1, "loss": 1e999}',
    }  # fmt: skip
    for what, line in lines.items():
        made[f"{HARMLESS} {what}"] = replaced("metrics.jsonl", partial(_write_line, line))
    return [Case(f"training: {what}", damage, rehash=False) for what, damage in made.items()]


def training_verdict(case: Case, sound: Path, store: FootageStore, work: Path, victim: Path) -> str:
    """What is wrong with how a run is met that is to be trained on, or nothing."""
    run = work / "hostile"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(sound, run)
    victim.write_text("precious\n")
    case.damage(run)
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(PATIENCE_S)
    try:
        budget = Budget(steps=STEPS + 1)
        train(RunFolder.open(run), store, budget=budget, stage="codec", device="cpu", report=_unseen)
    except BaseException as error:
        wrong = wrong_with(error)
    else:
        wrong = "" if HARMLESS in case.name else "was trained on"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return wrong if victim.read_text() == "precious\n" else "wrote outside of the run"


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"not done in {PATIENCE_S} s")


def _write_line(line: str, path: Path) -> None:
    path.write_text(line + "\n")


def _unseen(line: str) -> None:
    """For what a person would have seen."""


def tally_of_trainings(findings: Findings, work: Path) -> list[int]:
    """How many cases there are, and how many are met well."""
    store, victim = make_training(work / "begun", work), work / "victim"
    if training_verdict(SOUND, work / "begun", store, work, victim) != "was trained on":
        raise RuntimeError("the sound training does not go on")
    cases, good = trainings(victim), 0
    for case in cases:
        wrong = training_verdict(case, work / "begun", store, work, victim)
        good += not wrong
        if wrong:
            findings.problems.append(f"{case.name}: {wrong}")
    return [len(cases), good]
