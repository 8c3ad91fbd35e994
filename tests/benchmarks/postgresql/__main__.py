"""`python -m tests.benchmarks.postgresql [--quick] [--case NAME ...]`: the store in PostgreSQL against SQLite."""

from __future__ import annotations

from tests.benchmarks.postgresql import copying, news, pending, polling, retention
from tests.benchmarks.throughput.rows import Case
from tests.benchmarks.throughput.table import run

CASES: dict[str, Case] = {
    "unchanged": polling.unchanged,
    "changing": polling.changing,
    "latency": news.latency,
    "standby": news.standby,
    "retention": retention.retention,
    "handover": pending.handover,
    "pending": pending.pending,
    "copy": copying.copy,
}


if __name__ == "__main__":
    run(__doc__, CASES)
