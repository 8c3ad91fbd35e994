"""`pollerd check`, `config` and `schema`: what is configured, and the schema of events."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from pollerd.base.errors import PollerdError
from pollerd.base.text import counted
from pollerd.cli.options import config_option, json_option, load_config
from pollerd.cli.terminal import screen

if TYPE_CHECKING:
    from pollerd.config import Config, Service


@click.command()
@json_option
@config_option
def check(*, as_json: bool, config_path: Path | None) -> int:
    """Validate the configuration, its secrets included, and nothing else.

    Names every mistake at once. Exit code 78 when there is one. A credential that the installed service loads for this
    configuration counts as given; where only systemd may read it, a warning says so.
    """
    from pollerd.config import ConfigError, load

    try:
        config = load(config_path, secrets=True, service=installed_service)
    except ConfigError as error:
        if not as_json:
            raise
        screen.write_json({"ok": False, "problems": list(error.problems), "warnings": []})
        return 78
    from pollerd.cli import capacity

    if as_json:
        document = {"ok": True, "source": config.source, "problems": [], "warnings": config.warnings}
        screen.write_json(document)
        return 0
    for warning in config.warnings:
        screen.note(f"warning: {warning}")
    click.echo(f"The configuration is good: {_summary(config)}.")
    click.echo(f"Limits: {capacity.line(config)}. What your traffic asks for: pollerd plan --per-day N")
    return 0


def installed_service(configuration: Path) -> Service | None:
    """The service that uses this configuration, None when none does."""
    from pollerd.base.service import folders_of
    from pollerd.deployment.doctor.unit import Unit

    unit = Unit.find(folders_of(os.environ))
    return unit.service if unit is not None and unit.uses(configuration) else None


def _summary(config: Config) -> str:
    outputs = [name for name in config.outputs.__struct_fields__ if getattr(config.outputs, name)]
    accounts = f"{counted(len(config.accounts), 'account')} ({', '.join(config.accounts)})"
    return f"{config.source}, {accounts}, outputs {', '.join(outputs)}, database {config.store.where}"


@click.group()
def config() -> None:
    """Write a configuration, or print the effective one."""


@config.command()
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True), default="pollerd.toml")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
def init(*, path: Path, force: bool) -> int:
    """Write a commented configuration to PATH ("-": standard output).  [default: ./pollerd.toml]"""
    from pollerd.config.example import starter_toml

    text = starter_toml()
    if str(path) == "-":
        click.echo(text, nl=False)
        return 0
    try:
        _write(path, text, force=force)
    except FileExistsError:
        raise PollerdError(f"{path} is there already. Name another file, or replace it with --force.") from None
    except OSError as error:
        reason = f"{path} cannot be written: {error.strerror}"
        raise PollerdError(f"{reason}. Create its folder first, or name another file.") from error
    click.echo(f"Wrote {path}. Edit it, then try it with: pollerd check -c {path}")
    return 0


def _write(path: Path, text: str, *, force: bool) -> None:
    # A token may be written into it: no one else needs to read it.
    how = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    with os.fdopen(os.open(path, how, 0o640), "w", encoding="utf-8") as file:
        file.write(text)


@config.command()
@json_option
@config_option
def show(*, as_json: bool, config_path: Path | None) -> int:
    """Print the configuration in force as TOML; secrets are masked."""
    from pollerd.config.render import effective_toml

    text = effective_toml(load_config(config_path))
    if as_json:
        screen.write_json(tomllib.loads(text))
    else:
        click.echo(text, nl=False)
    return 0


@click.command()
@json_option
@config_option
def schema(*, as_json: bool, config_path: Path | None) -> int:
    """Print the JSON Schema of the events.

    It is JSON with and without --json, and the same for every configuration.
    """
    from pollerd.core.event import json_schema

    screen.write_lines([msgspec.json.format(msgspec.json.encode(json_schema()), indent=2) + b"\n"])
    return 0
