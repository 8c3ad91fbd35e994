"""`pollerd forget`: remove what is known of a telephone number, or of a message."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pollerd.base.text import counted
from pollerd.cli.options import config_option, json_option, load_config
from pollerd.cli.terminal import screen
from pollerd.core.ids import IdError, parse_id
from pollerd.core.ports.erasure import About, Known

if TYPE_CHECKING:
    from pollerd.cli.owner import Owner
    from pollerd.config import Config

_BETWEEN: Final = re.compile(r"[ ()./-]")
"""What people write between the digits of a telephone number."""
_MOST_DIGITS: Final = 15
"""Digits of a telephone number (ITU-T E.164)."""


@click.command()
@click.argument("what", metavar="MSISDN|ID")
@click.option(
    "--as", "kind", type=click.Choice(["msisdn", "id"]), help="Which of the two it is.  [default: by what is known]"
)
@click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
@json_option
@config_option
def forget(*, what: str, kind: str | None, yes: bool, as_json: bool, config_path: Path | None) -> int:
    """Remove what is known of a telephone number, or of a message.

    \b
    pollerd forget +4587654321
    pollerd forget 421332671

    It is removed from the database: the message or the recipient, its events, and what outputs have not delivered
    yet. Such an event keeps its number and becomes event.forgotten. A message to that number alone is no longer
    followed. One that is still polled and has other recipients stays, since the next answer would bring the number
    back: exit code 1.

    Asks first, on a terminal. What pollerd cannot reach is named: event files, other programs, logs, backups. A user
    who may not write the database asks the daemon, through its control socket.
    """
    from pollerd.cli.owner import ask_owner

    config = load_config(config_path)
    choices = _choices(what, kind)
    found = ask_owner(config, lambda owner: [(about, owner.known(about)) for about in choices])
    real = [(about, known) for about, known in found if known.anything or known.polled]
    if len(real) > 1:
        raise click.UsageError(
            f"{what} is the id of a message, and the number of a recipient; say which: --as id, or --as msisdn.",
            click.get_current_context(),
        )
    about, known = real[0] if real else found[0]
    if not as_json:
        _announce(what, known, config)
    if known.anything and not yes and not _agreed():
        click.echo("Nothing was removed.")
        return 1
    left = known
    if known.anything:
        left = ask_owner(config, lambda owner: _erased(owner, about))
    _tell(about, known, left, config, as_json=as_json)
    return 1 if left.anything or left.polled else 0


def _erased(owner: Owner, about: About) -> Known:
    owner.erase(about)
    return owner.known(about)


def _choices(what: str, kind: str | None) -> list[About]:
    """What may be meant, the likelier first. Raises click.BadParameter."""
    text = _BETWEEN.sub("", what.strip())
    number = re.fullmatch(rf"(\+|00)?([1-9][0-9]{{1,{_MOST_DIGITS - 1}}})", text, re.ASCII)
    choices: list[About] = []
    if kind != "msisdn" and not (number and number[1]):
        try:
            choices.append(About(message_id=parse_id(text)))
        except IdError as error:
            if kind == "id" or not number:
                raise click.BadParameter(f"{what!r} {error}.", param_hint="MSISDN|ID") from None
    if kind != "id" and number:
        choices.append(About(msisdn=int(number[2])))
    if not choices:
        raise click.BadParameter(f"{what!r} is neither a telephone number nor an id.", param_hint="MSISDN|ID")
    return choices


def _announce(what: str, known: Known, config: Config) -> None:
    if not known.anything:
        if not known.polled:
            click.echo(f"Nothing is known of {what}.")
        return
    click.echo(
        f"Known of {what}: {counted(known.messages, 'message')}, {counted(known.events, 'event')}, "
        f"{counted(known.undelivered, 'undelivered event')}."
    )
    click.echo("It stays, and you remove it there:")
    for place in _beyond(config):
        click.echo(f"  {place}")


def _beyond(config: Config) -> list[str]:
    """Where it may be as well, out of pollerd's reach."""
    outputs = config.outputs
    places = []
    if outputs.file is not None:
        places.append(f"the event file {outputs.file.path} and its rotated files")
    readers = [name for name in ("socket", "webhook", "exec") if getattr(outputs, name) is not None]
    readers += ["your databases"] if outputs.sqlite or outputs.sql else []
    if readers:
        places.append(f"what other programs have received ({', '.join(readers)})")
    places.append("the log, where [log] show_msisdn = true" if config.log.show_msisdn else "the log: ids of messages")
    places += ["the databases that ids are read from"] if config.sources.sqlite or config.sources.sql else []
    return [*places, "backups of the database", "the gateway itself"]


def _agreed() -> bool:
    """Ask on a terminal; elsewhere whoever calls has decided."""
    if sys.stdin is None or not sys.stdin.isatty():
        return True
    click.echo("Remove it for good? [y/N]: ", nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _tell(about: About, known: Known, left: Known, config: Config, *, as_json: bool) -> None:
    if as_json:
        screen.write_json(
            {
                "what": "id" if about.msisdn is None else "msisdn",
                "messages": known.messages - left.messages,
                "events": known.events - left.events,
                "undelivered": known.undelivered - left.undelivered,
                "still_polled": list(left.polled),
                "stays_in": _beyond(config),
            }
        )
    elif known.anything:
        click.echo("Removed.")
    if left.anything and not as_json:
        screen.note("more has come in meanwhile; run the command again.")
    if left.polled and not as_json:
        ids = ", ".join(map(str, left.polled))
        screen.note(
            f"{ids}: still polled, with other recipients, so the next answer would bring the number back. Run this "
            f"again when it has ended, or end it now: pollerd untrack {' '.join(map(str, left.polled))}"
        )
