"""Campaigns of faults: damaged and malicious files, kills, full disks, losses that leave the finite numbers.

    python benchmarks/faults.py CAMPAIGN [--count N] [--seed N] [--out FOLDER] [options of the campaign]

Each prints what it did and found as Markdown, writes it to benchmarks/results, and ends with exit code 1 when it found
what must not be. `--help` lists the campaigns; a sample of each runs with the tests (tests/faults).
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.fault_campaigns.report import LATEST, Findings, write  # noqa: E402


def mutants(options: argparse.Namespace) -> Findings:
    """Damaged copies of real files, decoded one by one and then through prepare."""
    from benchmarks.fault_campaigns import mutants

    return mutants.campaign(options.count, options.seed, options.footage, options.hostile, tuple(options.only))


def disk_full(options: argparse.Namespace) -> Findings:
    """Commands on a disk that fills up."""
    from benchmarks.fault_campaigns import disk_full

    return disk_full.campaign(options.count, options.seed, options.only)


def disk_writes(options: argparse.Namespace) -> Findings:
    """Commands whose writes are refused one by one, as a full disk does."""
    from benchmarks.fault_campaigns import disk_writes

    return disk_writes.campaign(options.count, options.seed, options.only)


def spikes(options: argparse.Namespace) -> Findings:
    """Losses that are not finite or far too high, in every stage of training."""
    from benchmarks.fault_campaigns import spikes

    return spikes.campaign(options.count, options.seed, tuple(options.only) or tuple(spikes.LAYERS))


def kills(options: argparse.Namespace) -> Findings:
    """SIGKILL at random moments and at each call of a save; a full and a broken disk at each of those calls."""
    from benchmarks.fault_campaigns import kills

    return kills.campaign(options.count, options.seed, tuple(options.only))


def models(options: argparse.Namespace) -> Findings:
    """Model folders that somebody else made."""
    from benchmarks.fault_campaigns import models

    return models.campaign(options.count, options.seed)


def attacks(options: argparse.Namespace) -> Findings:
    """Files that lead elsewhere, a decoder that was taken over, bombs; all of them, whatever the count."""
    from benchmarks.fault_campaigns import attacks

    return attacks.campaign(options.seed, tuple(options.only))


def slope(options: argparse.Namespace) -> Findings:
    """The memory of one long generation; the count is its minutes."""
    from benchmarks.fault_campaigns import slope

    return slope.campaign(options.count, options.seed)


CAMPAIGNS = {  # and how many cases
    "attacks": (attacks, 1), "disk-full": (disk_full, 12), "disk-writes": (disk_writes, 25),
    "kills": (kills, 50), "models": (models, 200),
    "mutants": (mutants, 300), "slope": (slope, 5), "spikes": (spikes, 20),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = ROOT.parent / "shared"
    commands = parser.add_subparsers(dest="campaign", required=True)
    for name, (run, count) in CAMPAIGNS.items():
        command = commands.add_parser(name, help=run.__doc__)
        command.add_argument("--count", type=int, default=count, help=f"how many cases (default {count})")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
        command.add_argument("--only", nargs="*", default=[], help="names of parts")
        command.add_argument("--footage", type=Path, default=shared / "footage")
        command.add_argument("--hostile", type=Path, default=shared / "hostile")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a long campaign says how far it came
    try:
        findings = CAMPAIGNS[options.campaign][0](options)
    except KeyboardInterrupt:
        findings = LATEST[0]
        findings.lines.append("Stopped before its end.")
    write(findings, options.out, options.seed, options.count)
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
