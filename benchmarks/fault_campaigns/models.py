"""Model folders that somebody else made: whatever is wrong with them, nothing is loaded and nothing is executed.

Whoever can replace a weights file can replace the hash in run.json as well, so most cases come with a hash that fits.
Folders that are trained on have more in them: see `trainings`.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks.fault_campaigns.report import Findings, wrong_with
from benchmarks.fault_campaigns.spikes import SMALL

from autoreel.generation.run import Run
from autoreel.models.codec import Codec
from autoreel.models.prior import Prior
from autoreel.runs import RunFolder

Damage = Callable[[Path], object]  # what it returns does not matter
FILES = ("codec.safetensors", "prior.safetensors")
LABELS = ("ad", "travel")


@dataclass(frozen=True)
class Case:
    """One hostile folder.

    Args:
        name: what is done to it.
        damage: does it, in the folder.
        rehash: write the hashes of what is there then into run.json.
    """

    name: str
    damage: Damage
    rehash: bool = True


def make_run(path: Path) -> None:
    """A sound run folder with random weights, small enough for hundreds of copies."""
    torch.manual_seed(0)
    run = RunFolder.create(path, SMALL)
    codec = Codec(SMALL.codec)
    size = (SMALL.data.height, SMALL.data.width)
    latent = (size[0] // codec.spatial_stride, size[1] // codec.spatial_stride)
    prior = Prior(SMALL.prior, codec.latent_channels, latent, len(LABELS))
    run.update(labels=LABELS, size=size, rate="25")
    digest = run.save_weights("codec.safetensors", codec.state_dict(), {"stage": "codec"})
    run.save_weights("prior.safetensors", prior.state_dict(), {"stage": "prior"})
    run.update(stages={"codec": {"done": True}, "prior": {"done": True, "codec_hash": digest}})


def rehash(run: Path) -> None:
    """Make run.json fit the weights that are there, as an attacker would."""
    if (run / "run.json").is_symlink():
        return
    try:
        manifest = json.loads((run / "run.json").read_text())
        for name in FILES:
            if (run / name).is_file() and not (run / name).is_symlink():
                digest = hashlib.sha256((run / name).read_bytes()).hexdigest()
                manifest["weights"][name] = {"sha256": digest, "pending": None}
                if name == "codec.safetensors":
                    manifest["stages"]["prior"]["codec_hash"] = digest
        (run / "run.json").write_text(json.dumps(manifest))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # the case is about run.json itself


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header and the tensors' bytes of a safetensors file."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put(path: Path, header: object, body: bytes, length: int | None = None) -> None:
    """Write a safetensors file with any header, given as JSON values or as bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._marker,)


def header_tricks(name: str) -> list[Case]:
    """Headers that say what is not so, in a well-known list."""

    def entry(change: Callable[[dict[str, Any], list[str]], object]) -> Damage:
        def damage(run: Path) -> None:
            header, body = parts(run / name)
            names = [key for key in header if key != "__metadata__"]
            given = change(header, names)
            put(run / name, header if given is None else given, body)

        return damage

    def first(key: str, value: Callable[[Any], Any]) -> Damage:
        def change(header: dict[str, Any], names: list[str]) -> None:
            header[names[0]][key] = value(header[names[0]][key])

        return entry(change)

    def length(value: int) -> Damage:
        def damage(run: Path) -> None:
            header, body = parts(run / name)
            put(run / name, header, body, value)

        return damage

    def duplicate(header: dict[str, Any], names: list[str]) -> bytes:
        text = json.dumps(header)
        return (text[:-1] + f', "{names[0]}": {json.dumps(header[names[0]])}}}').encode()

    def not_finite(run: Path) -> None:
        header, body = parts(run / name)
        floats = next(e for k, e in header.items() if k != "__metadata__" and e["dtype"] == "F32")
        begin = floats["data_offsets"][0]
        put(run / name, header, body[:begin] + struct.pack("<f", float("nan")) + body[begin + 4 :])

    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    tricks: dict[str, Damage] = {
        **{f"header of {n} bytes": length(n) for n in (0, 1, 7, 1 << 23, (1 << 23) + 1, 1 << 40, (1 << 63) - 1)},
        "shape permuted": first("shape", lambda s: [*s[::-1], 1]),
        "one more dimension": first("shape", lambda s: [1, *s]),
        "shape of floats": first("shape", lambda s: [float(n) for n in s]),
        "shape of truths": first("shape", lambda s: [True, *s]),
        "shape of texts": first("shape", lambda s: [str(n) for n in s]),
        "shape no list": first("shape", lambda s: 7),
        "shape gigantic": first("shape", lambda s: [1 << 40, 1 << 40]),
        "shape below zero": first("shape", lambda s: [-n for n in s]),
        "shape zero": first("shape", lambda s: [0, *s[1:]]),
        "shape deep": first("shape", lambda s: json.loads("[" * 500 + "]" * 500)),
        "numbers as integers": first("dtype", lambda d: "I32"),
        "numbers doubled": first("dtype", lambda d: "F64"),
        "numbers halved": first("dtype", lambda d: "BF16"),
        "numbers unknown": first("dtype", lambda d: "F8_E4M3"),
        "numbers a list": first("dtype", lambda d: ["F32"]),
        "numbers an attribute": first("dtype", lambda d: "__class__"),
        "place shifted": first("data_offsets", lambda p: [p[0] + 4, p[1] + 4]),
        "place below zero": first("data_offsets", lambda p: [p[0] - 8, p[1] - 8]),
        "place past the end": first("data_offsets", lambda p: [p[0], p[1] + (1 << 40)]),
        "place of floats": first("data_offsets", lambda p: [float(n) for n in p]),
        "place of truths": first("data_offsets", lambda p: [False, True]),
        "place backwards": first("data_offsets", lambda p: p[::-1]),
        "place of one": first("data_offsets", lambda p: p[:1]),
        "no shape": entry(lambda h, n: h[n[0]].__delitem__("shape")),
        "another key": entry(lambda h, n: h[n[0]].update(strides=[0])),
        "two in one place": entry(lambda h, n: h[n[1]].update(data_offsets=h[n[0]]["data_offsets"])),
        "a name twice": entry(duplicate),
        "a name missing": entry(lambda h, n: h.__delitem__(n[0])),
        "a name more": entry(lambda h, n: h.update(extra=dict(empty))),
        "a name as a path": entry(lambda h, n: h.update({"../../x": h.pop(n[0])})),
        "a name with a zero": entry(lambda h, n: h.update({n[0] + "\0": h.pop(n[0])})),
        "a name that looks alike": entry(lambda h, n: h.update({n[0].replace("e", "\u0435", 1): h.pop(n[0])})),
        "100,000 names": entry(lambda h, n: h.update({f"x{i}": dict(empty) for i in range(100_000)})),
        "no names": entry(lambda h, n: {}),
        "a list": entry(lambda h, n: []),
        "a number": entry(lambda h, n: 5),
        "no JSON": entry(lambda h, n: b"{" * 64),
        "deep JSON": entry(lambda h, n: b"[" * 100_000),
        "not UTF-8": entry(lambda h, n: b'{"\xff\xfe": 1}'),
        "infinity": entry(lambda h, n: json.dumps(h).replace("[0,", "[Infinity,", 1).encode()),
        "an entry that is none": entry(lambda h, n: h.update({n[0]: None})),
        "bytes behind": lambda run: (run / name).write_bytes((run / name).read_bytes() + b"\0" * 8),
        "cut by one byte": lambda run: (run / name).write_bytes((run / name).read_bytes()[:-1]),
        "cut in half": lambda run: (run / name).write_bytes((run / name).read_bytes()[: 10_000]),
        "empty": lambda run: (run / name).write_bytes(b""),
        "a number that is not finite": not_finite,
    }  # fmt: skip
    return [Case(f"{name}: {what}", damage) for what, damage in tricks.items()]


def pickles(name: str, marker: Path) -> list[Case]:
    """Pickles in every dress, under the name of a file that is read."""

    def torch_file(run: Path) -> None:
        torch.save({"x": torch.zeros(3), "trap": Trap(marker)}, run / name)

    def old_torch_file(run: Path) -> None:
        torch.save({"trap": Trap(marker)}, run / name, _use_new_zipfile_serialization=False)

    def zipped(run: Path) -> None:
        with zipfile.ZipFile(run / name, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Trap(marker)))

    def array(run: Path) -> None:
        import numpy as np

        out = io.BytesIO()
        np.save(out, np.array([Trap(marker)], dtype=object), allow_pickle=True)
        (run / name).write_bytes(out.getvalue())

    def behind_header(run: Path) -> None:
        put(run / name, {"__metadata__": {"format": "pt"}}, pickle.dumps(Trap(marker)))

    def protocol(number: int) -> Damage:
        return lambda run: (run / name).write_bytes(pickle.dumps(Trap(marker), protocol=number))

    made: dict[str, Damage] = {
        "as torch saves": torch_file, "as torch used to save": old_torch_file, "zipped": zipped,
        "as an array": array, "behind a header": behind_header,
        **{f"protocol {number}": protocol(number) for number in range(6)},
    }  # fmt: skip
    return [Case(f"{name}: a pickle {what}", damage) for what, damage in made.items()]


def folders() -> list[Case]:
    """Manifests, configs and folders that are not what they should be."""

    def manifest(change: Callable[[dict[str, Any]], object]) -> Damage:
        def damage(run: Path) -> None:
            content = json.loads((run / "run.json").read_text())
            change(content)
            (run / "run.json").write_text(json.dumps(content))

        return damage

    def config(old: str, new: str) -> Damage:
        def damage(run: Path) -> None:
            text = (run / "config.toml").read_text()
            if old not in text:
                raise AssertionError(f"{old} is not in the config")
            (run / "config.toml").write_text(text.replace(old, new, 1))

        return damage

    def folder_as_weights(run: Path) -> None:
        (run / "codec.safetensors").unlink()
        (run / "codec.safetensors").mkdir()

    def swapped(run: Path) -> None:
        shutil.copy(run / "prior.safetensors", run / "codec.safetensors")

    def device(name: str) -> Damage:
        def damage(run: Path) -> None:
            (run / name).unlink()
            (run / name).symlink_to("/dev/zero")

        return damage

    made: dict[str, Damage] = {
        "no run.json": lambda run: (run / "run.json").unlink(),
        "no config.toml": lambda run: (run / "config.toml").unlink(),
        "no codec": lambda run: (run / "codec.safetensors").unlink(),
        "no prior": lambda run: (run / "prior.safetensors").unlink(),
        "run.json that never ends": device("run.json"),
        "config.toml that never ends": device("config.toml"),
        "codec that never ends": device("codec.safetensors"),
        "a folder as weights": folder_as_weights,
        "run.json deep": lambda run: (run / "run.json").write_text("[" * 100_000),
        "run.json large": lambda run: (run / "run.json").write_text(" " * (5 << 20)),
        "a list as run.json": lambda run: (run / "run.json").write_text("[]"),
        "format of tomorrow": manifest(lambda m: m.update(format=99)),
        "format of yesterday": manifest(lambda m: m.update(format=0)),
        "format a text": manifest(lambda m: m.update(format="1")),
        "no format": manifest(lambda m: m.pop("format")),
        "an unknown key": manifest(lambda m: m.update(loader="os.system")),
        "labels no texts": manifest(lambda m: m.update(labels=[1, 2])),
        "more labels": manifest(lambda m: m["labels"].append("third")),
        "a rate of zero": manifest(lambda m: m.update(rate="0")),
        "a rate below zero": manifest(lambda m: m.update(rate="-25")),
        "a size of zero": manifest(lambda m: m.update(size=[0, 0])),
        "a size below zero": manifest(lambda m: m.update(size=[-64, 64])),
        "a gigantic size": manifest(lambda m: m.update(size=[1 << 20, 1 << 20])),
        "another size": manifest(lambda m: m.update(size=[64, 64])),
        "a wider codec": config("widths = [\n    8,", "widths = [\n    1024,"),
        "a deeper prior": config("depth = 2", "depth = 64"),
        "a gigantic prior": config("width = 32", "width = 4096"),
        "codec and prior swapped": swapped,
    }  # fmt: skip
    return [Case(f"folder: {what}", damage) for what, damage in made.items()]


def flips(count: int, rng: random.Random) -> list[Case]:
    """Single bits anywhere in either file, with the hash as it was."""

    def flip(name: str, share: float, bit: int) -> Damage:
        def damage(run: Path) -> None:
            content = bytearray((run / name).read_bytes())
            content[int(share * len(content))] ^= 1 << bit
            (run / name).write_bytes(content)

        return damage

    found = []
    for number in range(count):
        name, share, bit = FILES[number % 2], rng.random(), rng.randrange(8)
        found.append(Case(f"{name}: bit {bit} at {share:.4f}", flip(name, share, bit), rehash=False))
    return found


def all_cases(count: int, seed: int, marker: Path) -> list[Case]:
    """The known tricks, and as many flipped bits as it takes to make `count`."""
    known = [*header_tricks(FILES[0]), *header_tricks(FILES[1]), *folders()]
    known += [case for name in FILES for case in pickles(name, marker)]
    known += [*pickles("run.json", marker)[:2], *pickles("config.toml", marker)[:2]]
    return known + flips(max(20, count - len(known)), random.Random(seed))


def verdict(case: Case, sound: Path, work: Path, marker: Path) -> str:
    """What is wrong with how a case is met, or nothing."""
    run = work / "hostile"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(sound, run)
    case.damage(run)
    if case.rehash:
        rehash(run)
    try:
        opened = Run.open(run, device="cpu")
    except BaseException as error:
        wrong = wrong_with(error)
    else:
        is_half = "prior" in case.name and opened._prior is None
        wrong = "" if is_half else "was loaded"
    if marker.exists():
        marker.unlink()
        wrong = "was executed"
    return wrong


def campaign(count: int, seed: int) -> Findings:
    """At least `count` folders, and all trainings; the sound one must load, and a pickle must work outside."""
    from benchmarks.fault_campaigns.trainings import tally_of_trainings  # which takes its parts from here

    findings = Findings("models")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        marker = work / "executed"
        make_run(work / "sound")
        if Run.open(work / "sound", device="cpu")._prior is None:
            raise RuntimeError("the sound folder does not load")
        pickle.loads(pickle.dumps(Trap(marker)))  # the control: where it is unpickled, it acts
        if not marker.exists():
            raise RuntimeError("the trap does not work")
        marker.unlink()
        cases = all_cases(count, seed, marker)
        kinds: dict[str, list[int]] = {}
        for case in cases:
            wrong = verdict(case, work / "sound", work, marker)
            kind = case.name.partition(":")[0]
            kind = "flipped bits" if not case.rehash else "pickles" if "pickle" in case.name else kind
            tally = kinds.setdefault(kind, [0, 0])
            tally[0] += 1
            tally[1] += not wrong
            if wrong:
                findings.problems.append(f"{case.name}: {wrong}")
        kinds["trainings"] = tally_of_trainings(findings, work)
        rows = [(kind, *tally) for kind, tally in kinds.items()]
        findings.table(("kind", "cases", "refused in one line, or harmless"), rows)
    return findings
