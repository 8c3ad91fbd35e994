"""`python -m tests.benchmarks.backoff [--full] [SECTION ...]`: measured against the targets."""

from __future__ import annotations

import argparse
from time import perf_counter

from tests.benchmarks.backoff.rows import FULL, QUICK, SECTIONS


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
    print(f"{'':4} {'median':>8} {'worst':>8} {'target':>8}  what")
    for name in args.sections or SECTIONS:
        started = perf_counter()
        for r in SECTIONS[name](scale):
            mark = "ok" if r.value <= r.target else "MISS"
            print(f"{mark:4} {r.value:8.3f} {r.worst:8.3f} {r.target:8.2f}  {r.what}", flush=True)
        print(f"     {name}: {perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
