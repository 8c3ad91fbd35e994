"""One verdict on the status document, as monitoring systems want it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from pollerd.base.service import start_command
from pollerd.base.text import counted, duration
from pollerd.core import phrases
from pollerd.core.model import HoldReason
from pollerd.status.document import AccountDocument, OutputDocument, StatusDocument
from pollerd.status.sentences import at, count, set_aside


class HealthLevel(IntEnum):
    """The exit codes of the monitoring plugins' convention."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Limits(NamedTuple):
    """From which value on something is a warning, and critical; None: never."""

    warning: float | None
    critical: float | None

    def level(self, value: float) -> HealthLevel:
        """What `value` is."""
        if self.critical is not None and value >= self.critical:
            return HealthLevel.CRITICAL
        return HealthLevel.WARNING if self.warning is not None and value >= self.warning else HealthLevel.OK


class Thresholds(NamedTuple):
    """Seconds that polls, outputs and holds may be late, events that may be parked, ids that may be unknown, the
    percentage of the disk that may be used, and the seconds in which an id must come in.
    """

    late: Limits = Limits(60.0, 900.0)
    behind: Limits = Limits(60.0, 900.0)
    held: Limits = Limits(0.0, 900.0)
    parked: Limits = Limits(1, 1000)
    unknown: Limits = Limits(10, None)
    disk: Limits = Limits(90.0, 97.0)
    silence: Limits = Limits(None, None)


class Finding(NamedTuple):
    """Something that is not well."""

    level: HealthLevel
    text: str


class Number(NamedTuple):
    """One figure of the performance data. `unit`: s, % or nothing."""

    label: str
    value: float
    unit: str = ""
    limits: Limits = Limits(None, None)

    def __str__(self) -> str:
        bounds = ";".join("" if bound is None else _plain(bound) for bound in self.limits)
        return f"'{_UNUSUAL.sub('_', self.label)}'={_plain(self.value)}{self.unit};{bounds};0"


def _plain(value: float) -> str:
    """Without an exponent, which the convention does not know."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9_.-]+")
"""The convention forbids quotes and `=` in labels; an output's name may hold a path."""


_AT_ONCE: Final = frozenset({HoldReason.UNAUTHORIZED, HoldReason.FORBIDDEN, HoldReason.REFUSING})
"""Holds that end only when somebody acts."""


def alive(document: StatusDocument) -> list[Finding]:
    """What a restart might help: no daemon runs, or something in it does not move."""
    return [each for each in _daemon(document) if each.level is HealthLevel.CRITICAL]


def findings(document: StatusDocument, disk: float, limits: Thresholds) -> list[Finding]:
    """What is not well, the worst first. `disk` is the percentage of the database's disk that is used."""
    found = [*_daemon(document), *_intake(document, limits)]
    for account in document.accounts:
        found += _account(account, document.now, limits)
    for output in document.outputs:
        found += _output(output, limits)
    if limits.disk.level(disk):
        found.append(Finding(limits.disk.level(disk), f"the disk of the database is {disk:.0f} % full"))
    return sorted((each for each in found if each.level), key=lambda each: -each.level)


def _daemon(document: StatusDocument) -> Iterator[Finding]:
    if not document.daemon.running:
        yield Finding(HealthLevel.CRITICAL, f"no daemon runs: {start_command()}")
    elif document.problem:
        yield Finding(HealthLevel.CRITICAL, document.problem)
    elif document.database.trouble:
        yield Finding(HealthLevel.CRITICAL, document.database.trouble)
    if document.cluster is not None and document.cluster.unfit:
        yield Finding(HealthLevel.WARNING, document.cluster.unfit)
    if text := set_aside(document.messages):
        yield Finding(HealthLevel.WARNING, text)


def _intake(document: StatusDocument, limits: Thresholds) -> Iterator[Finding]:
    silence = silent_for(document)
    if silence is not None and (level := limits.silence.level(silence)):
        yield Finding(level, f"no id has come in for {duration(silence)}")
    for source in document.sources:
        if source.trouble:
            yield Finding(HealthLevel.WARNING, f"source {source.name}: {source.trouble}")
        if source.refused:
            yield Finding(HealthLevel.WARNING, f"source {source.name}: {counted(source.refused, 'id')} cannot be used")


def _account(account: AccountDocument, now: float, limits: Thresholds) -> Iterator[Finding]:
    if account.state == "unconfigured":
        waiting = f"messages wait for the account {account.name}, which the configuration does not name"
        yield Finding(HealthLevel.WARNING, waiting)
    if account.hold is not None:
        since = at(account.hold.since)
        level = limits.held.level(0.0 if since is None else now - since)
        if account.hold.reason in _AT_ONCE:
            level = HealthLevel.CRITICAL
        yield Finding(
            level, f"account {account.name} is held: {phrases.hold(account.hold.reason, account.hold.detail)}"
        )
    late = late_by(account, now)
    if limits.late.level(late):
        found = f"account {account.name}: polls are late by {duration(late)}"
        yield Finding(limits.late.level(late), found)
    if limits.unknown.level(account.unknown):
        text = f"account {account.name}: the gateway has never shown {counted(account.unknown, 'id')}"
        yield Finding(limits.unknown.level(account.unknown), text)
    if account.credit_low:
        yield Finding(HealthLevel.WARNING, f"account {account.name}: {account.credit:,.2f} {account.currency} left")


def _output(output: OutputDocument, limits: Thresholds) -> Iterator[Finding]:
    behind = output.lag_seconds or 0.0
    level = limits.behind.level(behind)
    if output.trouble:
        yield Finding(max(level, HealthLevel.WARNING), f"output {output.name}: {output.trouble}")
    elif level:
        yield Finding(level, f"output {output.name} is {counted(output.lag, 'event')} behind, for {duration(behind)}")
    if limits.parked.level(output.parked):
        text = f"output {output.name}: {count(output.parked)} events are parked: pollerd events --undelivered"
        yield Finding(limits.parked.level(output.parked), text)


def late_by(account: AccountDocument, now: float) -> float:
    """Seconds by which the polls of an account that is polled are late."""
    due = at(account.next_poll_at)
    return max(0.0, now - due) if account.state == "polling" and due is not None else 0.0


def silent_for(document: StatusDocument) -> float | None:
    """Seconds since the last id came in, or since the start where none ever has; None when neither is known."""
    last = at(document.messages.last_handed_over_at) or at(document.since)
    return None if last is None else max(0.0, document.now - last)


def summary(document: StatusDocument) -> str:
    """What is said when all is well."""
    held = "" if document.messages.pending else ", nothing to poll"
    return f"{document.messages.pending:,} pending, polls on time, events delivered{held}"


def numbers(document: StatusDocument, disk: float, limits: Thresholds) -> Iterator[Number]:
    """The performance data. Labels never change."""
    yield Number("pending", document.messages.pending)
    late = max((late_by(account, document.now) for account in document.accounts), default=0.0)
    yield Number("late", round(late, 1), "s", limits.late)
    yield Number("polls_per_second", document.polls.per_second or 0.0)
    yield Number("held", sum(account.hold is not None for account in document.accounts))
    yield Number("overdue", document.messages.overdue)
    yield Number("unknown", sum(account.unknown for account in document.accounts), "", limits.unknown)
    yield Number("parked", sum(output.parked for output in document.outputs), "", limits.parked)
    for output in document.outputs:
        yield Number(f"behind_{output.name}", round(output.lag_seconds or 0.0, 1), "s", limits.behind)
    yield Number("disk_used", round(disk, 1), "%", limits.disk)
    if (silence := silent_for(document)) is not None:
        yield Number("since_last_id", round(silence), "s", limits.silence)
