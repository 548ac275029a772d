"""Our codec against its peers, everything in one run: time to quality, training efficiency, speed, starter, ablation.

    python benchmarks/codec_peers.py FOOTAGE --budget 10m --work WORK [--only quality-64,speed] [--widths 2]

FOOTAGE holds one folder for each subject. Each part is written to benchmarks/results as it is done, dated: JSON, and a
Markdown table of all parts. Run it on an otherwise idle machine: budgets are wall time. A part that is there already
under today's date is not run again, nor replaced by one of other conditions. One that was stopped begins anew;
`starter` and `ablation` go on behind the rows that are there, with the same commit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from codec_ablation import ROWS
from codec_quality import hardware
from codec_speed import best_dense_flops, in_own_process, training_efficiency
from parts import commit, keep
from peer_models import PUBLISHED, WIDTHS, Layout
from peer_training import MARKS, reached_after, search_peer, train_ours, train_peer

from autoreel.config import PRESETS, Config, DataConfig, from_mapping, with_parts
from autoreel.data.prepare import prepare
from autoreel.data.store import FootageStore
from autoreel.durations import parse_duration_s
from autoreel.models.compute import keep_memory
from autoreel.models.stored import load_codec
from autoreel.runs import atomic_write_text
from autoreel.training.start import find_starter

SIDES = (64, 128, 256, 512)
STARTER_SIDES = (64, 128)
LAYOUTS = {"tiny": Layout(4, 8, 8), "small": Layout(4, 16, 16)}
MIXED = ("people", "sports", "street", "film", "nature", "objects", "wildlife", "city")  # the mix at 128 pixels
HELD_BACK = ("asl_gestures", "talking_face", "traffic", "actions_lab")  # none is in the starter's training
TEST_SHARE = 0.2  # the mix has few sources: of a tenth of them the test split would be one clip
PARTS = ("efficiency", "speed", "quality-64", "quality-128", "starter", "ablation")


class Bench:
    """What every part needs.

    Args:
        given: the command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.footage, self.work, self.widths = given.footage, given.work, given.widths
        self.budget_s, self.limit_s = parse_duration_s(given.budget), given.limit
        self.search_s = parse_duration_s(given.search)
        self.held_back = given.held_back.split(",")
        self.rows: list[dict[str, Any]] = []  # of the part that runs, as far as it came before

    def has(self, **what: Any) -> bool:
        """Whether a row of this part with these values is there."""
        return any(all(row.get(key) == value for key, value in what.items()) for row in self.rows)

    def store(self, name: str, folders: tuple[str, ...], side: int) -> FootageStore:
        """Footage at a size, prepared once."""
        place = self.work / f"{name}-{side}"
        return prepare(
            [self.footage / folder for folder in folders if (self.footage / folder).is_dir()], place,
            DataConfig(height=side, width=side, test_share=TEST_SHARE), report=None,
        ).store


def reconstruction_only(preset: str, **codec: Any) -> Config:
    """A preset with the loss terms that peers have too: no adversary, no contrast, all frame differences alike."""
    plain = PRESETS[preset].model_dump()
    changed = {"codec": {"family": "vae", **codec}, "objective": {"contrast_weight": 0.0, "border_weight": 1.0}}
    return from_mapping(Config, {**plain, **{part: {**plain[part], **to} for part, to in changed.items()}}, preset)


def quality(bench: Bench, footage: str, folders: tuple[str, ...], preset: str) -> Iterator[dict[str, Any]]:
    """PSNR, SSIM, MS-SSIM and PSNR of differences on the test split: ours, then each peer as its search left it."""
    config = reconstruction_only(preset)
    store = bench.store(footage, folders, config.data.height)
    ours = train_ours(config, store, bench.budget_s)
    yield {"footage": footage, **asdict(ours)}
    for name, widths in WIDTHS.items():
        layout = LAYOUTS[preset]
        best, tried = search_peer(name, widths[: bench.widths], layout, config, store, bench.search_s)
        yield from ({"footage": footage, "search": True, **asdict(result)} for result in tried)
        _, peer = train_peer(name, best, layout, config, store, bench.budget_s)
        seen = max((value for _, value in peer.curve), default=0.0)
        yield {"footage": footage, **asdict(peer), "ours_reached_it_after_s": reached_after(ours, seen)}


def quality_64(bench: Bench) -> Iterator[dict[str, Any]]:
    """Time to quality, lab actions at 64 pixels: measures on the test split; rows of the search had its budget."""
    yield from quality(bench, "actions_lab", ("actions_lab",), "tiny")


def quality_128(bench: Bench) -> Iterator[dict[str, Any]]:
    """Time to quality, a mix of other footage at 128 pixels: measures on the test split."""
    yield from quality(bench, "mix", MIXED, "small")


def efficiency(bench: Bench) -> Iterator[dict[str, Any]]:
    """Operations per second of training steps over those of the best dense convolution."""
    peak = best_dense_flops()
    for preset in LAYOUTS:
        yield {"preset": preset, "best_dense_gflops": peak / 1e9, **training_efficiency(PRESETS[preset], peak)}


def speed(bench: Bench) -> Iterator[dict[str, Any]]:
    """Frames per second and peak memory of encoding and decoding, ours, peers scaled down, and as published."""
    for layout in LAYOUTS.values():
        cases = [("ours", 0), *((n, w[0]) for n, w in WIDTHS.items()), *PUBLISHED[layout.spatial].items()]
        for name, width in cases:
            for side in SIDES:
                found = in_own_process(name, width, layout, side, bench.limit_s)
                told = {"note": found} if isinstance(found, str) else found
                strides = f"{layout.temporal}x{layout.spatial}x{layout.spatial}"
                yield {"codec": f"{name} {width}".removesuffix(" 0"), "strides": strides, "side": side, **told}
                if isinstance(found, str):
                    break  # larger ones will not do either


def starter(bench: Bench) -> Iterator[dict[str, Any]]:
    """Held-out PSNR of footage that the starter has not seen: from the starter and from scratch, at two sizes.

    The columns with seconds are PSNR after them; 0 is the starter as it is shipped, or the linear path alone.
    """
    config = reconstruction_only("tiny")
    place = find_starter(config.codec)
    if place is None:
        raise SystemExit("no starter of this layout is installed")
    weights = load_codec(place).state_dict()
    for side in STARTER_SIDES:
        config = config.model_copy(update={"data": config.data.model_copy(update={"height": side, "width": side})})
        for footage in bench.held_back:
            store = bench.store(footage, (footage,), side)
            for kind, start in (("scratch", None), ("starter", weights)):
                if bench.has(footage=footage, side=side, start=kind):
                    continue
                result = train_ours(config, store, bench.budget_s, start)
                times = (share * bench.budget_s for share in (0.0, *MARKS))
                marks = {f"{at:.0f} s": next(psnr for s, psnr in result.curve if s >= at) for at in times}
                yield {"footage": footage, "side": side, "start": kind, **marks, **asdict(result)}


def ablation(bench: Bench) -> Iterator[dict[str, Any]]:
    """One thing changed at a time, at the same budget, on one footage (codec_ablation.py adds a prior)."""
    store = bench.store("actions_lab", ("actions_lab",), 64)
    for what, (_, change) in ROWS.items():
        config = with_parts(PRESETS["tiny"], change, what)
        if config.codec.family != "gan" and not bench.has(change=what):  # a gan rebuilds nothing
            yield {"change": what, **asdict(train_ours(config, store, bench.budget_s))}


RUNS: dict[str, Callable[[Bench], Iterator[dict[str, Any]]]] = {
    "efficiency": efficiency, "speed": speed, "quality-64": quality_64, "quality-128": quality_128, "starter": starter,
    "ablation": ablation,
}  # fmt: skip
ROW_BY_ROW = ("starter", "ablation")  # parts that go on behind the rows that are there
CONDITIONS = {  # arguments that decide the rows of a part
    "efficiency": (), "speed": ("limit",), "quality-64": ("budget", "search", "widths"),
    "quality-128": ("budget", "search", "widths"), "starter": ("budget",), "ablation": ("budget",),
}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table; what is measured at the end is spread over columns."""
    flat = [{**{k: v for k, v in row.items() if k not in ("final", "curve")}, **row.get("final", {})} for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in flat:
        cells = (row.get(name, "") for name in names)
        shown = (f"{cell:.3g}" if isinstance(cell, float) and abs(cell) < 10 else f"{cell:.1f}"
                 if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells)  # fmt: skip
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--budget", default="10m", help="of each training")
    parser.add_argument("--search", default="2m", help="of each training that searches a peer's width, batch and rate")
    parser.add_argument("--work", type=Path, required=True, help="prepared footage is kept there")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--held-back", default=",".join(HELD_BACK), help="folders of the part starter")
    parser.add_argument("--widths", type=int, default=3, help="how many are tried of each peer")
    parser.add_argument("--threads", type=int, default=0, help="0 takes torch's own choice; the same for all")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one case of the part speed")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    keep_memory()  # as every training of ours does; for the peers' too
    bench, day = Bench(given), datetime.now(UTC).strftime("%Y-%m-%d")
    given.results.mkdir(parents=True, exist_ok=True)
    target = given.results / f"{day}-codec-peers.json"
    names = given.only.split(",")
    if unknown := [name for name in names if name not in RUNS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(RUNS)}")
    if unknown := [name for name in bench.held_back if name not in HELD_BACK]:
        parser.error(f"in the starter's training, or not known: {', '.join(unknown)}")
    there = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    on = {"hardware": hardware()}
    wanted = {name: on | {key: getattr(given, key) for key in CONDITIONS[name]} for name in names}
    others = [name for name in names if name in there and conditions_of(there[name]) != wanted[name]]
    if others:
        parser.error(f"{target} holds {', '.join(others)}, measured otherwise; name another folder with --results")
    for name in names:
        how = {"commit": commit(), **wanted[name]}
        before = there.get(name, {"measured_with": {}, "rows": []})
        if before["measured_with"].get("finished"):
            print(f"{name} is there, of commit {before['measured_with']['commit']}")
            continue
        goes_on = name in ROW_BY_ROW and before["measured_with"].get("commit") == how["commit"]
        if before["rows"] and not goes_on:
            print(f"{name}, which was stopped, begins anew")
        bench.rows = before["rows"] if goes_on else []
        for row in RUNS[name](bench):
            bench.rows.append(row)
            print(name, json.dumps(row), flush=True)
            write(keep(target, {"date": day}, name, {**how, "finished": False}, {"rows": bench.rows}), target)
        write(keep(target, {"date": day}, name, {**how, "finished": True}, {"rows": bench.rows}), target)


def conditions_of(part: dict[str, Any]) -> dict[str, Any]:
    """What decided its rows, the commit aside: one part is not measured with two programs, but may stay of an older."""
    return {key: value for key, value in part["measured_with"].items() if key not in ("commit", "finished")}


def write(found: dict[str, Any], target: Path) -> None:
    """What was found so far as tables, in a Markdown file beside the results."""
    text = [f"# The codec and its peers, {found['date']}"]
    for part in (name for name in RUNS if name in found):
        how = dict(found[part]["measured_with"])
        state = "" if how.pop("finished") else ", not finished"
        told = ", ".join(f"{key}: {value}" for key, value in how.items()) + state
        text += ["", f"## {part}", "", told, "", (RUNS[part].__doc__ or "").strip(), "", table(found[part]["rows"])]
    atomic_write_text(target.with_suffix(".md"), "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
