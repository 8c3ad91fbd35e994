"""`pollerd service install` and `uninstall`: the systemd service, put in place and taken away."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pollerd.base.errors import PollerdError
from pollerd.cli.config import installed_service
from pollerd.cli.options import store_url

if TYPE_CHECKING:
    from pollerd.deployment.service.layout import Layout
    from pollerd.deployment.service.plan import ServicePlan

F = TypeVar("F", bound=Callable[..., Any])


def _shared(command: F) -> F:
    for option in (
        click.option(
            "--root",
            type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
            default=Path("/"),
            metavar="DIR",
            help="Work on the file system below DIR instead of the running one.",
        ),
        click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and do nothing."),
        click.option("-y", "--yes", is_flag=True, help="Do it without asking."),
    ):
        command = option(command)
    return command


@click.group()
def service() -> None:
    """Put the systemd service in place, or take it away."""


@service.command()
@_shared
@click.option(
    "--program",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The command that the unit starts.  [default: the one that runs now]",
)
@click.option(
    "--group-writes",
    is_flag=True,
    help="Let members of the group pollerd write the database with plain SQL ([store] group_writes). They can then "
    "change all that is in it.",
)
@click.option(
    "--store",
    metavar="URL",
    help="Keep the store in PostgreSQL ([store] url). The password goes into a file that only root reads.",
)
def install(
    *, root: Path, dry_run: bool, yes: bool, program: Path | None, group_writes: bool, store: str | None
) -> int:
    """Put the systemd service in place: unit, user, folders, rotation and a first configuration.

    Shows what it will do, and asks. May be run again at any time: it does what is missing, and never touches a
    configuration or a token that is there. Undo it with: pollerd service uninstall
    """
    from pollerd.deployment.service.install import install_plan
    from pollerd.deployment.service.layout import Layout
    from pollerd.deployment.service.program import refuse_hidden, running

    if store is not None and group_writes:
        raise click.UsageError("--group-writes is about the file of a store in SQLite; leave one of them out.")
    url = store and store_url(store, "--store", "it goes into /etc/pollerd/database-password")
    layout = Layout(root)
    chosen = program if program is not None else running()
    if not chosen.is_absolute():
        raise click.UsageError(f"--program {chosen} must be an absolute path: a unit knows no other.")
    if layout.live and not dry_run:
        refuse_hidden(chosen)
    plan = install_plan(layout, chosen, _lacks(layout), group_writes=group_writes, url=url.text if url else None)
    done = _done(plan, "The service is in place already.", dry_run=dry_run, yes=yes)
    if layout.live and dry_run:
        refuse_hidden(chosen)
    if not done:
        return 0
    click.echo("\nNext:")
    for number, step in enumerate(plan.next_steps, 1):
        click.echo(f"  {number}. {step}")
    return 0


def _lacks(layout: Layout) -> str | None:
    """What keeps the service from starting with the configuration that is there, as `pollerd check` says it."""
    from pollerd.config import ConfigError, Service, load
    from pollerd.config.store_url import PASSWORD_CREDENTIAL

    files = {name: layout.settings / name for name in ("token", "password", "secret", PASSWORD_CREDENTIAL)}
    loaded = installed_service(layout.configuration) if layout.live else None
    try:
        load(
            layout.configuration,
            env={},
            secrets=True,
            service=lambda _: loaded or Service(layout.unit, files),
        )
    except ConfigError as error:
        return str(error.problems[0])
    return None


@service.command()
@_shared
@click.option("--purge", is_flag=True, help="Remove database, events, configuration, token and user as well.")
def uninstall(*, root: Path, dry_run: bool, yes: bool, purge: bool) -> int:
    """Take the systemd service away. Database and configuration stay, unless --purge is given.

    Shows what it will do, and asks.
    """
    from pollerd.deployment.service.layout import Layout
    from pollerd.deployment.service.uninstall import uninstall_plan

    plan = uninstall_plan(Layout(root), purge=purge)
    if _done(plan, "There is no service to remove.", dry_run=dry_run, yes=yes) and plan.actions:
        click.echo("The service is gone." + (" What is left:" if plan.stays else ""))
        for step in plan.stays:
            click.echo(f"  - {step.what}")
    return 0


def _done(plan: ServicePlan, nothing: str, *, dry_run: bool, yes: bool) -> bool:
    """Show the plan, ask, carry it out; whether it was carried out. Raises PollerdError, and ends with 1 after a no."""
    from pollerd.deployment.service.plan import carry_out

    if not plan.actions:
        click.echo(nothing)
    else:
        click.echo("Will do:")
    for action in plan.actions:
        click.echo(f"  {action.what}")
        for line in action.lines:
            click.echo(f"      {line}")
    for step in plan.stays:
        click.echo(f"  - {step.what}")
    if dry_run:
        return False
    if plan.actions:
        if os.geteuid() != 0:
            raise PollerdError("this needs root. Run it again with sudo, or see what it would do with --dry-run.")
        if not yes and not _agreed():
            click.echo("Nothing was changed.")
            raise click.exceptions.Exit(1)
        click.echo("")
        carry_out(plan, lambda what: click.echo(f"{what} ..."))
    return True


def _agreed() -> bool:
    """Ask. Without a terminal the answer is no; Ctrl-C ends the command as everywhere."""
    click.echo("\nGo on? [y/N]: ", nl=False)
    answer = "" if sys.stdin is None else sys.stdin.readline()
    if not answer.endswith("\n"):
        click.echo("")
    return answer.strip().lower() in ("y", "yes")
