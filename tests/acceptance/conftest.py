"""Rows of the summary: what a test counted, printed in one line each at the end of the run, from every worker."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.bad_days_kit import Shim, build
from tests.acceptance.warm import Warm

Row = Callable[[str], None]


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Row:
    """Tell one line of counts."""
    return lambda text: record_property("row", text)


@pytest.fixture
async def warm() -> AsyncIterator[Warm]:
    """A process that starts daemons fast."""
    async with await Warm.start() as server:
        yield server


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library, built once a worker."""
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def shim(library: Path, tmp_path: Path) -> Iterator[Shim]:
    """Bad days for one daemon."""
    folder = tmp_path / "shim"
    folder.mkdir()
    made = Shim(library, folder)
    yield made
    made.close()


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether the long forms are wanted (POLLERD_LONG=1)."""
    return os.environ.get("POLLERD_LONG", "") not in ("", "0")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = [
        f"{report.nodeid.partition('::')[2]}: {text}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, text in getattr(report, "user_properties", [])
        if name == "row"
    ]
    if rows:
        terminalreporter.section("what was counted")
        for line in rows:
            terminalreporter.write_line(line)
