"""Runs all checks at once, each bounded in time."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from pollerd.base.bounded import in_thread
from pollerd.base.errors import PollerdError
from pollerd.base.service import folders_of
from pollerd.deployment.doctor import (
    configuration,
    daemon,
    database,
    descriptors,
    disk,
    learning,
    limits,
    outputs,
    postgresql,
    rights,
    rotation,
    servers,
    systemd,
)
from pollerd.deployment.doctor.check import Check, Level, failure
from pollerd.deployment.doctor.configuration import Inspection
from pollerd.deployment.doctor.gateway import REGIONS, account_checks
from pollerd.deployment.doctor.unit import Unit

LOCAL: Final = 8.0
"""Seconds for each check on this machine."""
NETWORK: Final = 40.0
"""Seconds for all checks of one account; the single steps are bounded more tightly."""
_ORDER: Final = {Level.FAILURE: 0, Level.WARNING: 1, Level.OK: 2}


class Report(msgspec.Struct, frozen=True):
    """All findings, failures first. `seconds`: how long the checks took."""

    checks: tuple[Check, ...]
    bad_configuration: bool
    seconds: float

    @property
    def exit_code(self) -> int:
        """78 when the configuration is bad, 1 when anything else fails, else 0."""
        if self.bad_configuration:
            return 78
        return 1 if self.count(Level.FAILURE) else 0

    def count(self, level: Level) -> int:
        return sum(check.level is level for check in self.checks)


async def examine(path: Path | None, env: Mapping[str, str], cwd: Path, *, regions: Sequence[str] = REGIONS) -> Report:
    """Check everything that the configuration at `path` needs. Changes nothing, leaves nothing behind.

    `regions` are the gateways that a token may have been meant for: a token refused by one of them is tried at the
    others, and nowhere else.
    """
    begun = time.monotonic()
    inspections: list[Inspection] = []

    def inspect() -> Iterator[Check]:
        inspection = configuration.inspect(path, env, cwd, unit=Unit.find(folders_of(env)))
        yield from configuration.checks(inspection)
        inspections.append(inspection)

    found = await _threaded("configuration", inspect)
    bad = False
    for inspection in inspections:
        bad = bool(inspection.problems)
        if inspection.config is not None:
            for checks in await asyncio.gather(*_parts(inspection, regions)):
                found += checks
            if inspection.config.store.url is not None:
                found = _said_once(found)
    found.sort(key=lambda check: _ORDER[check.level])
    return Report(tuple(found), bad, time.monotonic() - begun)


def _said_once(found: Sequence[Check]) -> list[Check]:
    """Without what other checks say of a store that cannot be read: the server's own have said why, and what to do."""
    unusable = any(
        check.name == postgresql.SCHEMA or (check.level is Level.FAILURE and check.name.startswith(postgresql.NAME))
        for check in found
    )
    others = (daemon.NAME, descriptors.NAME, learning.NAME, "outputs") if unusable else ()
    return [check for check in found if check.level is not Level.FAILURE or check.name not in others]


def _parts(inspection: Inspection, regions: Sequence[str]) -> list[asyncio.Task[list[Check]]]:
    assert inspection.config is not None
    config, unit = inspection.config, inspection.unit
    local: list[tuple[str, Callable[[], Iterable[Check]]]] = [
        ("secrets", lambda: configuration.secret_files(inspection))
    ]
    later: list[asyncio.Task[list[Check]]] = []

    def network(name: str, work: asyncio.Task[list[Check]]) -> None:
        later.append(asyncio.create_task(_awaited(name, work)))

    if inspection.intact("store"):
        if config.store.url is None:
            local.append(("rights", lambda: rights.checks(config.store, unit)))
            local.append(("database", lambda: database.checks(config.store.path)))
        else:
            local.append(("database", lambda: postgresql.checks(config.store)))
        local.append(("learning", lambda: learning.checks(config)))
        local_daemon = asyncio.create_task(daemon.checks(config))
        later.append(asyncio.create_task(_awaited("daemon", local_daemon, "see the daemon: systemctl status pollerd")))
    if inspection.intact("store", "outputs", "sources"):
        local.append(("outputs", lambda: outputs.checks(config, unit)))
        local.append(("rotation", lambda: rotation.checks(config)))
        if config.outputs.sql or config.sources.sql:
            network("databases", asyncio.create_task(servers.checks(config)))
        if config.outputs.webhook is not None:
            network("output webhook", asyncio.create_task(outputs.webhook_checks(config.outputs.webhook)))
    if inspection.intact("store", "outputs"):
        local.append(("disk", lambda: disk.checks(config)))
        local.append(("service", lambda: systemd.checks(config, unit)))
    if inspection.intact("accounts", "limits", "store", "outputs", "sources", "control"):
        local.append((descriptors.NAME, lambda: descriptors.checks(config, unit)))
    if inspection.intact("accounts", "limits"):
        local.append(("connections", lambda: limits.checks(config)))
        for account in config.accounts.values():
            work = account_checks(account, config.credit.warn_below, regions)
            network(f"{account.name}: gateway", asyncio.create_task(work))
    return [*(asyncio.create_task(_threaded(name, work)) for name, work in local), *later]


async def _threaded(name: str, work: Callable[[], Iterable[Check]]) -> list[Check]:
    try:
        return await in_thread(lambda: list(work()), LOCAL)
    except TimeoutError:
        return [failure(name, f"did not finish within {LOCAL:g} s", "check the disk, or the network file system")]
    except (PollerdError, OSError) as error:
        return [failure(name, str(error), "run the doctor as root, or as the user of the service")]
    except Exception as error:  # noqa: BLE001 - one check that cannot cope must not hide what the others found
        return [_defect(name, error)]


async def _awaited(
    name: str, work: asyncio.Task[list[Check]], advice: str = "check the network and try again"
) -> list[Check]:
    try:
        async with asyncio.timeout(NETWORK):
            return await work
    except TimeoutError:
        return [failure(name, f"did not finish within {NETWORK:g} s", advice)]
    except Exception as error:  # noqa: BLE001 - one check that cannot cope must not hide what the others found
        return [_defect(name, error)]


def _defect(name: str, error: Exception) -> Check:
    """A check that ended in an unexpected way. Its message is not shown: it may hold a secret."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    facts = f"the check itself failed: {type(error).__name__} in {Path(at.filename).name}, line {at.lineno}"
    return failure(name, facts, "check this part yourself, and report the defect with this line")
