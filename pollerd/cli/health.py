"""`pollerd health`: one line and an exit code for monitoring systems and containers."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from pollerd.base.duration import parse_duration
from pollerd.base.errors import DatabaseMissingError, PollerdError
from pollerd.base.service import JOIN
from pollerd.base.text import printable
from pollerd.cli.group import unread_is_no_failure
from pollerd.cli.options import config_option, json_option, load_running
from pollerd.cli.terminal import screen
from pollerd.client.live import fetch_status
from pollerd.status.document import StatusDocument
from pollerd.status.health import Finding, HealthLevel, Limits, Thresholds, alive, findings, numbers, summary

_SHOWN: Final = 3
"""Findings named in the line; the rest is counted, so that it fits a pager's message."""


class PluginCommand(click.Command):
    """A command in the monitoring plugins' convention: whatever keeps it from a verdict is UNKNOWN, exit code 3."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        # The parser takes words out of the list.
        as_json = "--json" in arguments[1]
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            _print(HealthLevel.UNKNOWN, error.format_message(), as_json=as_json)
            raise click.exceptions.Exit(HealthLevel.UNKNOWN) from error

    def invoke(self, ctx: click.Context) -> Any:
        from pollerd.config import ConfigError

        try:
            return super().invoke(ctx)
        except (PollerdError, ConfigError, OSError) as error:
            text = "; ".join(str(error).splitlines())
        except Exception as error:  # noqa: BLE001 - a traceback would end with 1, which is WARNING
            text = f"a defect of pollerd: {type(error).__name__}; please report it"
        return _print(HealthLevel.UNKNOWN, text, as_json=ctx.params.get("as_json", False))


def _seconds(text: str) -> float:
    return parse_duration(f"{text}s" if text[-1:].isdigit() else text)


def _limits(read: Callable[[str], float]) -> Callable[[click.Context, click.Parameter, str | None], Limits | None]:
    """A callback that reads `WARNING,CRITICAL`; either may be left empty for never."""

    def value(context: click.Context, parameter: click.Parameter, text: str | None) -> Limits | None:
        if text is None:
            return None
        bounds = [part.strip() for part in text.split(",", 1)]
        try:
            given = [read(bound) for bound in bounds if bound]
        except ValueError:
            given = [math.nan]
        if all(math.isfinite(bound) and bound >= 0 for bound in given) and given == sorted(given):
            warning, critical = (read(bound) if bound else None for bound in (*bounds, "")[:2])
            return Limits(warning, critical)
        right = 'give WARNING,CRITICAL, the smaller first, such as "1m,15m" for times; empty: never'
        raise click.BadParameter(f"{text!r} cannot be used; {right}.", context, parameter)

    return value


def _option(name: str, read: Callable[[str], float], text: str, default: str) -> Callable[[Any], Any]:
    shown = f"{text}  [default: {default}]"
    return click.option(f"--{name}", callback=_limits(read), metavar="WARNING,CRITICAL", help=shown)


@click.command(cls=PluginCommand)
@_option("late", _seconds, "How late polls may be.", "1m,15m")
@_option("behind", _seconds, "How far outputs may be behind.", "1m,15m")
@_option("held", _seconds, "How long an account may be held. One that waits for a person is critical at once.", "0,15m")
@_option("parked", float, "Events that no output could deliver.", "1,1000")
@_option("unknown", float, "Ids of an account that the gateway has never shown.", "10,")
@_option("disk", float, "How full the database's disk may be, in percent.", "90,97")
@_option("silence", _seconds, "How long no id may come in: a dead man's switch for what hands over ids.", "never")
@click.option(
    "--alive", "only_alive", is_flag=True, help="For probes that restart: only whether a daemon runs and moves."
)
@json_option
@config_option
def health(*, only_alive: bool, as_json: bool, config_path: Path | None, **given: Limits | None) -> int:
    """Say in one line whether all is well, for Nagios, Icinga, Checkmk, Zabbix and containers.

    Exit code 0: OK, 1: WARNING, 2: CRITICAL, 3: UNKNOWN (no verdict is possible, as with a bad configuration).
    Performance data follows after "|". Each threshold is WARNING,CRITICAL; left empty, it is never reached.

    A container's health check or a pod's probe uses --alive: it restarts what is unhealthy, and a restart does not help
    when the gateway is away or the disk fills up.
    """
    limits = Thresholds()._replace(**{name: value for name, value in given.items() if value is not None})
    config = load_running(config_path)
    document = fetch_status(config.control.socket)
    silent: list[Finding] = []
    if document is None:
        from pollerd.status import builder

        try:
            document = builder.from_database(config, time.time())
        except DatabaseMissingError as error:
            return _print(HealthLevel.CRITICAL, str(error), as_json=as_json)
        silent = [*_silent(document, config.control.socket)]
    disk = _used(config.store.path)
    found = [*silent, *(alive(document) if only_alive else findings(document, disk, limits))]
    level = found[0].level if found else HealthLevel.OK
    data = [str(number) for number in numbers(document, disk, limits)]
    return _print(level, _said(found) or summary(document), data, found, as_json=as_json)


def _silent(document: StatusDocument, socket: Path | None) -> Iterator[Finding]:
    """A daemon that runs and does not answer: what the database says is what it wrote before it stood still."""
    if not document.daemon.running or socket is None or not os.path.exists(socket):
        return
    if not os.access(socket, os.W_OK):
        yield Finding(HealthLevel.UNKNOWN, f"this user may not ask the daemon at {socket}: join the group ({JOIN})")
    else:
        text = f"the daemon (process {document.pid or '?'}) does not answer at {socket}: systemctl restart pollerd"
        yield Finding(HealthLevel.CRITICAL, text)


def _said(found: list[Finding]) -> str:
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(each.text for each in found[:_SHOWN]) + more if found else ""


def _print(
    level: HealthLevel,
    text: str,
    data: list[str] | None = None,
    found: list[Finding] | None = None,
    *,
    as_json: bool = False,
) -> int:
    with unread_is_no_failure():
        if as_json:
            shown = [{"level": each.level.name, "text": each.text} for each in found or []]
            screen.write_json({"level": level.name, "text": text, "findings": shown, "performance": data or []})
        else:
            # "|" begins the performance data, and a second line would be another field.
            line = " ".join(printable(text).replace("|", "/").split())
            click.echo(f"POLLERD {level.name} - {line}" + (f" | {' '.join(data)}" if data else ""))
    return int(level)


def _used(database: Path) -> float:
    """How full its disk is for this user, in percent."""
    disk = os.statvfs(next(folder for folder in database.parents if folder.exists()))
    usable = disk.f_blocks - disk.f_bfree + disk.f_bavail
    return 100.0 * (1 - disk.f_bavail / usable) if usable else 100.0
