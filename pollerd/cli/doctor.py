"""`pollerd doctor`: tries everything that a deployment needs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pollerd.base.text import counted, duration
from pollerd.cli.options import config_option, json_option
from pollerd.cli.terminal import screen
from pollerd.deployment.doctor.check import Level

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pollerd.deployment.doctor.runner import Report

_STYLES = {Level.OK: "green", Level.WARNING: "bold yellow", Level.FAILURE: "bold red"}


@click.command()
@json_option
@config_option
def doctor(*, as_json: bool, config_path: Path | None) -> int:
    """Try everything that a deployment needs, and say what to do about what is wrong.

    Configuration, rights, database, disk, outputs, rotation, DNS, proxy, TLS, clock, token, balance, daemon and
    service. Changes nothing, and may be run at any time. Exit code 1 when something fails, 78 when the configuration
    is bad, else 0: warnings alone are no failure.
    """
    from pollerd.deployment.doctor.runner import examine

    report = asyncio.run(examine(config_path, os.environ, Path.cwd()))
    if as_json:
        screen.write_json(document(report))
    else:
        console = screen.console()
        with console.capture() as captured:
            console.print(picture(report))
        # A grid fills its last column with blanks, which make a mess of a log or a mail.
        click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
    return report.exit_code


def document(report: Report) -> dict[str, object]:
    """The report for programs."""
    return {
        "ok": report.exit_code == 0,
        "exit_code": report.exit_code,
        "failures": report.count(Level.FAILURE),
        "warnings": report.count(Level.WARNING),
        "seconds": round(report.seconds, 3),
        "checks": [
            {
                "name": check.name,
                "level": check.level.value,
                "evidence": check.evidence,
                "next_step": check.next_step or None,
            }
            for check in report.checks
        ],
    }


def picture(report: Report) -> RenderableType:
    """The report for people: failures first, each with its next step below it."""
    from rich.console import Group
    from rich.table import Table

    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for check in report.checks:
        evidence = screen.plain(check.evidence)
        if check.next_step:
            evidence.append("\n").append_text(screen.plain(f"-> {check.next_step}", "bold"))
        screen.row(made, screen.plain(check.level.value, _STYLES[check.level]), check.name, evidence)
    return Group(made, screen.plain(""), screen.plain(_verdict(report)))


def _verdict(report: Report) -> str:
    failures, warnings = report.count(Level.FAILURE), report.count(Level.WARNING)
    parts = [counted(failures, "failure")] if failures else []
    parts += [counted(warnings, "warning")] if warnings else []
    what = " and ".join(parts) if parts else "All is well"
    return f"{what}: {counted(len(report.checks), 'check')} in {duration(report.seconds)}."
