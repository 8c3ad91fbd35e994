"""What many of these tests want; and rows of the summary: what a test counted, one line each, from every worker."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pollerd.core import diff
from pollerd.core import event as events
from pollerd.core.model import GiveUpReason, Message, Recipient, State
from pollerd.simulator import Simulator, SimulatorConfig
from tests.acceptance.bad_days_kit import Shim, build
from tests.acceptance.cli_kit import Cli
from tests.acceptance.deployment import Deployment
from tests.acceptance.offline_kit import EVIL, NOW
from tests.acceptance.warm import Warm
from tests.store_database import engine_of

Row = Callable[[str], None]


@pytest.fixture
def cli(tmp_path: Path, request: pytest.FixtureRequest) -> Cli:
    return Cli(tmp_path, engine=engine_of(request))


@pytest.fixture
def filled(cli: Cli) -> Cli:
    """A store with one message of each kind, texts meant to do harm, and a few events."""
    evil = Recipient(4512345678, "ENROUTE", NOW, EVIL, "0x1013", "DK", "238", "01")
    many = tuple(Recipient(4500000000 + i, "DELIVERED", NOW) for i in range(40))
    made = [
        Message(1, "default", NOW, NOW + 9, userref=EVIL, polls=3, last_answer="200", recipients=(evil,)),
        Message(2, "default", NOW, NOW, state=State.FINISHED, finished_at=NOW, recipients=(*many, evil)),
        Message(3, "default", NOW, NOW, state=State.GAVE_UP, finished_at=NOW),
        Message(4, "elsewhere", NOW, NOW, next_reason=EVIL),
    ]
    bodies = [
        diff.bodies(made[0], diff.Diff((evil,), (diff.Change(evil, None),)), NOW)[0],
        diff.gave_up(made[2], GiveUpReason.DEADLINE, NOW),
        events.Held(account="default", reason="throttled", detail=EVIL, until=None, observed_at=events.instant(NOW)),
    ]
    cli.store.make()
    cli.store.put(made)
    cli.store.tell(bodies, NOW)
    cli.store.execute("INSERT INTO accounts (name, held_reason, held_detail) VALUES ('default', 'throttled', ?)", EVIL)
    cli.store.execute("INSERT INTO counters VALUES ('pending', 2), ('finished', 1), ('gave_up', 1), ('polls', 3)")
    cli.store.execute("INSERT INTO outputs VALUES ('file', 1, '', 0)")
    return cli


@pytest.fixture
async def gateway() -> Any:
    async with Simulator(SimulatorConfig(credit=1234.5)) as simulator:
        yield simulator


@pytest.fixture
def healthy(tmp_path: Path, gateway: Simulator) -> Deployment:
    return Deployment(tmp_path, gateway)


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Row:
    """Adds one line of counts to the summary."""
    return lambda text: record_property("row", text)


@pytest.fixture(scope="session", autouse=True)
def warm() -> Iterator[Warm]:
    """Processes that start daemons and commands fast, for each worker."""
    with Warm() as servers:
        Deployment.warm = Cli.warm = servers
        yield servers
        Deployment.warm = Cli.warm = None


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons and commands are programs that are loaded from the disk, as a user's are."""
    monkeypatch.setattr(Deployment, "warm", None)
    monkeypatch.setattr(Cli, "warm", None)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """For other users too. Not below pytest's own folder, which each pytest that begins closes to them."""
    with tempfile.TemporaryDirectory(prefix="pollerd-open-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


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
