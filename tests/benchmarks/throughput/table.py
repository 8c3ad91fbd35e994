"""The command of a bench: which cases run, and how their figures are printed."""

from __future__ import annotations

import argparse
import compileall
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import perf_counter

import pollerd
from tests.benchmarks.throughput import machine
from tests.benchmarks.throughput.rows import FULL, QUICK, Case, Row, Scale

Against = Callable[[Path, list[str], Scale], Iterator[Row]]
"""Cases by name, another installation's interpreter and this one by turns."""


def run(description: str | None, cases: Mapping[str, Case], against: Against | None = None) -> None:
    """Print the table of the chosen cases; a miss is shown as a miss. `against` compares two installations."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--case", action="append", choices=tuple(cases), help="this one only; may be given again")
    parser.add_argument("--quick", action="store_true", help="small sizes, short rounds: a minute or two")
    if against is not None:
        parser.add_argument(
            "--against", type=Path, metavar="PYTHON", help="compare with the pollerd of this interpreter"
        )
    options = parser.parse_args()
    # As an installation leaves it: commands start from compiled code.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(Path(pollerd.__file__).parent, quiet=2)
    scale = QUICK if options.quick else FULL
    print(f"{machine.described()}; load average {machine.load():.1f}")
    print(f"{'case':52} {'figure':>10} {'target':>14} {'':6} {'worst':>8}")
    if against is not None and options.against is not None:
        for row in against(options.against.absolute(), options.case or list(cases), scale):
            print(_line(row), flush=True)
        return
    for name in options.case or cases:
        began = perf_counter()
        for row in cases[name](scale):
            print(_line(row), flush=True)
        print(f"  ({name}: {perf_counter() - began:.0f} s, load average {machine.load():.1f})", flush=True)


def _line(row: Row) -> str:
    target = "" if row.target is None else f"{'>=' if row.wanted == 'least' else '<='} {_number(row.target)}"
    worst = "" if row.worst is None else _number(row.worst)
    figure = f"{_number(row.value)} {row.unit}".rstrip()
    return f"{row.what:52} {figure:>18} {target:>10} {row.verdict:6} {worst:>8}  {row.note}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
