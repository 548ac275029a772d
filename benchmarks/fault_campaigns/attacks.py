"""All attacks on the jail together: files and names, a decoder that was taken over, bombs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.fault_campaigns import bombs, takeover
from benchmarks.fault_campaigns.escapes import Listener, control, escapes, jailed, make_secret
from benchmarks.fault_campaigns.report import Findings

from autoreel.media import jail

# Attempts that a machine may refuse to everybody: then their control cannot succeed.
MAY_BE_REFUSED = frozenset({"an asynchronous ring", "change the root", "trace its parent", "trace itself", "new rules"})


def campaign(seed: int, only: tuple[str, ...] = ()) -> Findings:
    """Every attack once; nothing is drawn by chance."""
    findings = Findings("attacks")
    layers = ", ".join(f"{name} {value}" for name, value in jail.jail_report().items())
    findings.lines.append(f"The jail here: {layers}.")
    for name, part in (("files", _files), ("takeover", _takeover), ("bombs", _bombs)):
        if not only or name in only:
            part(findings)
    return findings


def _files(findings: Findings) -> None:
    rows: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        secret = make_secret(work / "secret")
        listener = Listener(secret["secret.ts"].read_bytes())
        silent = []
        for escape in escapes(work, secret, listener.port):
            outside, wrong = control(escape, listener), jailed(escape, listener)
            kind = escape.name.split(" ")[0]
            kind = kind if kind in ("playlist", "concat", "session") else "names"
            row = rows.setdefault(kind, [0, 0, 0])
            row[0] += 1
            row[1] += bool(outside)
            row[2] += not wrong
            if not outside:
                silent.append(escape.name)
            if wrong:
                findings.problems.append(f"{escape.name}: {wrong}")
        listener.close()
    table = [(kind, *row) for kind, row in rows.items()]
    table.append(("all", *(sum(row[n] for row in rows.values()) for n in range(3))))
    findings.lines += ["", "## Files and names that lead elsewhere"]
    findings.table(("kind", "cases", "succeed outside", "held by the jail"), table)
    if silent:
        findings.lines.append("Without effect in this build of FFmpeg, and so no proof: " + "; ".join(silent) + ".")


def _takeover(findings: Findings) -> None:
    found = takeover.attempts()
    for name, (outside, inside) in found.items():
        if inside.startswith(("succeeded", "hung", "failed")):
            findings.problems.append(f"{name}: {inside} in the jail")
        if outside != "succeeded" and name not in MAY_BE_REFUSED:
            findings.problems.append(f"{name}: its control {outside}")
    worked = [name for name, (outside, _) in found.items() if outside == "succeeded"]
    held = [name for name, (_, inside) in found.items() if inside.startswith("refused")]
    findings.lines += ["", "## A decoder that was taken over"]
    findings.table(("attempts", "succeed outside", "refused in the jail"), [(len(found), len(worked), len(held))])
    findings.lines.append("Attempts: " + ", ".join(found) + ".")


def _bombs(findings: Findings) -> None:
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for bomb in bombs.bombs(work):
            path = work / f"bomb{bomb.suffix}"
            path.write_bytes(bomb.content)
            bombs.ended(path)  # the zygote is warm
            said = ""

            def decode(path: Path = path) -> None:
                nonlocal said
                said = bombs.ended(path)

            took_s, most = bombs.watched(decode)
            free_s, free, stopped = bombs.careless(path)
            rows.append((
                bomb.name, f"{len(bomb.content) / 1000:.1f} KB", f"{took_s:.2f} s", f"{most >> 20} MB", said[:80],
                f"{free_s:.1f} s, {free >> 20} MB{', stopped' if stopped else ''}",
            ))  # fmt: skip
            if took_s > bombs.MOST_S or most > bombs.MOST_BYTES:
                findings.problems.append(f"{bomb.name}: {took_s:.2f} s and {most >> 20} MB")
    findings.lines += ["", "## Bombs"]
    findings.table(("bomb", "file", "time", "most memory", "how it ends", "without bounds"), rows)
