"""`pollerd health`: one line and an exit code for monitoring systems and containers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from pollerd.base.duration import parse_duration
from pollerd.base.errors import DatabaseMissingError, PollerdError
from pollerd.base.text import printable
from pollerd.cli.options import config_option, json_option, load_running
from pollerd.cli.terminal import screen
from pollerd.client.live import fetch_status
from pollerd.status.health import Finding, HealthLevel, Limits, Thresholds, findings, numbers, summary

_SHOWN: Final = 3
"""Findings named in the line; the rest is counted, so that it fits a pager's message."""


class PluginCommand(click.Command):
    """A command in the monitoring plugins' convention: whatever keeps it from a verdict is UNKNOWN, exit code 3."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            _print(HealthLevel.UNKNOWN, error.format_message())
            raise click.exceptions.Exit(HealthLevel.UNKNOWN) from error

    def invoke(self, ctx: click.Context) -> Any:
        from pollerd.config import ConfigError

        try:
            return super().invoke(ctx)
        except (PollerdError, ConfigError, OSError) as error:
            _print(HealthLevel.UNKNOWN, str(error))
            return int(HealthLevel.UNKNOWN)


def _seconds(text: str) -> float:
    return parse_duration(f"{text}s" if text[-1:].isdigit() else text)


def _limits(read: Callable[[str], float]) -> Callable[[click.Context, click.Parameter, str | None], Limits | None]:
    """A callback that reads `WARNING,CRITICAL`; either may be left empty for never."""

    def value(context: click.Context, parameter: click.Parameter, text: str | None) -> Limits | None:
        if text is None:
            return None
        try:
            warning, _, critical = (part.strip() for part in text.partition(","))
            return Limits(read(warning) if warning else None, read(critical) if critical else None)
        except ValueError:
            right = 'give WARNING,CRITICAL, such as "1m,15m" for times and "10,100" for numbers; empty: never'
            raise click.BadParameter(f"{text!r} cannot be used; {right}.", context, parameter) from None

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
@json_option
@config_option
def health(*, as_json: bool, config_path: Path | None, **given: Limits | None) -> int:
    """Say in one line whether all is well, for Nagios, Icinga, Checkmk, Zabbix and containers.

    Exit code 0: OK, 1: WARNING, 2: CRITICAL, 3: UNKNOWN (no verdict is possible, as with a bad configuration).
    Performance data follows after "|". Each threshold is WARNING,CRITICAL; left empty, it is never reached.
    """
    limits = Thresholds()._replace(**{name: value for name, value in given.items() if value is not None})
    config = load_running(config_path)
    document = fetch_status(config.control.socket)
    if document is None:
        from pollerd.status import builder

        try:
            document = builder.from_database(config, time.time())
        except DatabaseMissingError as error:
            return _print(HealthLevel.CRITICAL, str(error), as_json=as_json)
    disk = _used(config.store.path)
    found = findings(document, disk, limits)
    level = found[0].level if found else HealthLevel.OK
    data = [str(number) for number in numbers(document, disk, limits)]
    return _print(level, _said(found) or summary(document), data, found, as_json=as_json)


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
    disk = os.statvfs(database.parent)
    usable = disk.f_blocks - disk.f_bfree + disk.f_bavail
    return 100.0 * (1 - disk.f_bavail / usable) if usable else 100.0
