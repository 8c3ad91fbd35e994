"""`python -m tests.benchmarks.backoff [--full] [SECTION ...]`: measured against the targets."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import inf
from time import perf_counter

from tests.benchmarks.backoff import daemon, hostile, loop
from tests.benchmarks.backoff.rows import FULL, QUICK, SECTIONS
from tests.benchmarks.backoff.simulate import addition

TEXTS: dict[str, Callable[[], list[str]]] = {
    "hostile": hostile.hostile_lines,
    "staggered": hostile.staggered_lines,
    "loop": loop.lines,
    "daemon": lambda: daemon.lines(daemon.World()),
}
"""Sections with tables of their own; `loop` and `daemon` run in real time."""


def main() -> None:
    """Print the table; a miss is shown as a miss."""
    known = (*SECTIONS, *TEXTS)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(known)}; all when not given")
    parser.add_argument("--full", action="store_true", help="more messages and seeds: half an hour instead of minutes")
    args = parser.parse_args()
    unknown = set(args.sections) - set(known)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    scale = FULL if args.full else QUICK
    print(f"     {addition():8.3f} {'':17}  us for one addition of this machine (0.03 to 0.05 when idle)")
    print(f"{'':4} {'median':>8} {'worst':>8} {'target':>8}  what")
    for name in args.sections or known:
        started = perf_counter()
        for line in TEXTS[name]() if name in TEXTS else ():
            print(f"     {line}", flush=True)
        for r in SECTIONS[name](scale) if name in SECTIONS else ():
            mark = "" if r.target == inf else "ok" if r.value <= r.target else "MISS"
            target = "" if r.target == inf else f"{r.target:.2f}"
            print(f"{mark:4} {r.value:8.3f} {r.worst:8.3f} {target:>8}  {r.what}", flush=True)
        print(f"     {name}: {perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
