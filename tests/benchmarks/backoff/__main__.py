"""`python -m tests.benchmarks.backoff [--full] [SECTION ...]`: measured against the targets."""

from __future__ import annotations

import argparse
from math import inf
from time import perf_counter, thread_time

from tests.benchmarks.backoff.rows import FULL, QUICK, SECTIONS


def addition() -> float:
    """Microseconds that a loop with one addition takes: how fast, and how busy, is this machine?"""
    total, started = 0.0, thread_time()
    for i in range(500_000):
        total += i * 0.5
    return (thread_time() - started) * 2


def main() -> None:
    """Print the table; a miss is shown as a miss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all when not given")
    parser.add_argument("--full", action="store_true", help="more messages and seeds: half an hour instead of minutes")
    args = parser.parse_args()
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    scale = FULL if args.full else QUICK
    print(f"     {addition():8.3f} {'':17}  us for one addition of this machine (0.03 to 0.05 when idle)")
    print(f"{'':4} {'median':>8} {'worst':>8} {'target':>8}  what")
    for name in args.sections or SECTIONS:
        started = perf_counter()
        for r in SECTIONS[name](scale):
            mark = "" if r.target == inf else "ok" if r.value <= r.target else "MISS"
            target = "" if r.target == inf else f"{r.target:.2f}"
            print(f"{mark:4} {r.value:8.3f} {r.worst:8.3f} {target:>8}  {r.what}", flush=True)
        print(f"     {name}: {perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
