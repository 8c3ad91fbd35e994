"""`python -m tests.benchmarks.throughput [--quick] [--case NAME ...]`: measured against the targets."""

from __future__ import annotations

from tests.benchmarks.throughput import news, planning, polling, size
from tests.benchmarks.throughput.against import compared
from tests.benchmarks.throughput.rows import Case
from tests.benchmarks.throughput.table import run

CASES: dict[str, Case] = {
    "unchanged": polling.unchanged,
    "changing": polling.changing,
    "distant": polling.distant,
    "latency": news.latency,
    "many": news.many,
    "idle": size.idle,
    "handover": size.handover,
    "planning": planning.planning,
    "pending": size.pending,
}


if __name__ == "__main__":
    run(__doc__, CASES, compared)
