"""`pollerd retry --resume`: somebody's word that a gateway which refuses everything is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pollerd.cli.owner import ask_owner
from pollerd.cli.terminal import screen
from pollerd.core import phrases
from pollerd.core.model import HoldReason
from pollerd.status.message import moment

if TYPE_CHECKING:
    from pollerd.cli.owner import AccountHold, Owner
    from pollerd.config import Config


def resume(config: Config, account: str, *, as_json: bool) -> int:
    """End the account's hold for `refusing`; the exit code. Raises as `Owner.settle`."""
    if account not in config.accounts:
        known = ", ".join(config.accounts)
        raise click.BadParameter(
            f"there is no account {account!r} in the configuration; there is {known}.", param_hint="--resume"
        )
    before, after = ask_owner(config, lambda owner: _resumed(owner, account))
    if as_json:
        held = None if after is None else {"reason": after.reason, "until": moment(after.until)}
        screen.write_json({"account": account, "resumed": before is not None and after is None, "held": held})
    elif after is not None:
        screen.note(f"{account} is held: {phrases.label(after.reason)}, which no command ends; see pollerd doctor.")
    elif before is None:
        click.echo(f"{account} is not on hold.")
    else:
        click.echo(f"{account} is polled again; what the gateway refuses from now on is believed.")
    return 1 if after is not None else 0


def _resumed(owner: Owner, account: str) -> tuple[AccountHold | None, AccountHold | None]:
    """The hold before and after."""
    before = owner.hold(account)
    if before is None or before.reason != HoldReason.REFUSING:
        return before, before
    owner.resume(account)
    return before, owner.hold(account)
