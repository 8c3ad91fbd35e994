"""`python -m tests.benchmarks.throughput [--quick] [--case NAME ...]`: measured against the targets."""

from __future__ import annotations

import argparse
import compileall
import os
from pathlib import Path
from time import perf_counter

import pollerd
from tests.benchmarks.throughput import machine, news, polling, size
from tests.benchmarks.throughput.against import compared
from tests.benchmarks.throughput.rows import FULL, QUICK, Case, Row

CASES: dict[str, Case] = {
    "unchanged": polling.unchanged,
    "changing": polling.changing,
    "distant": polling.distant,
    "latency": news.latency,
    "many": news.many,
    "idle": size.idle,
    "handover": size.handover,
    "pending": size.pending,
}


def main() -> None:
    """Print the table; a miss is shown as a miss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=tuple(CASES), help="this one only; may be given again")
    parser.add_argument("--quick", action="store_true", help="small sizes, short rounds: a minute or two")
    parser.add_argument("--against", type=Path, metavar="PYTHON", help="compare with the pollerd of this interpreter")
    options = parser.parse_args()
    # As an installation leaves it: commands start from compiled code.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(Path(pollerd.__file__).parent, quiet=2)
    scale = QUICK if options.quick else FULL
    print(f"{machine.described()}; load average {machine.load():.1f}")
    print(f"{'case':52} {'figure':>10} {'target':>14} {'':6} {'worst':>8}")
    if options.against is not None:
        for row in compared(options.against.absolute(), options.case or list(CASES), scale):
            print(_line(row), flush=True)
        return
    for name in options.case or CASES:
        began = perf_counter()
        for row in CASES[name](scale):
            print(_line(row), flush=True)
        print(f"  ({name}: {perf_counter() - began:.0f} s, load average {machine.load():.1f})", flush=True)


def _line(row: Row) -> str:
    target = "" if row.target is None else f"{'>=' if row.wanted == 'least' else '<='} {_number(row.target)}"
    worst = "" if row.worst is None else _number(row.worst)
    figure = f"{_number(row.value)} {row.unit}".rstrip()
    return f"{row.what:52} {figure:>18} {target:>10} {row.verdict:6} {worst:>8}  {row.note}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main()
