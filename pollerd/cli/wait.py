"""`pollerd wait`: wait for final states, for shell scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from pollerd.base.duration import FORM, parse_duration
from pollerd.base.errors import PollerdError
from pollerd.base.text import counted
from pollerd.cli.group import unread_is_no_failure
from pollerd.cli.options import IDS_MAY_BE_NEGATIVE, config_option, json_option, load_running, refuse_options
from pollerd.cli.terminal import screen
from pollerd.core import lifecycle
from pollerd.core.ids import IdError, parse_id

if TYPE_CHECKING:
    from pollerd.client.source import Location
    from pollerd.client.values import FinalStates
    from pollerd.status.message import MessageDocument, RecipientDocument

DELIVERED: Final = 0  # Exit codes of the command.
ENDED_OTHERWISE: Final = 3  # Final, but not delivered; 1 and 2 are an error and a wrong use.
NOT_YET: Final = 4  # The time was over first.
_OF_FINAL_STATES: Final = frozenset({"id", "account", "userref", "state", "polls", "recipients"})
"""What a message that has not ended shows as well as one that has."""
_NAMED: Final = 5
"""Messages that are named when the time is over; the rest is counted."""


def duration_value(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """Callback of an option whose value is a duration, or a number of seconds."""
    text = value.strip()
    try:
        return parse_duration(f"{text}s" if text[-1:].isdigit() else text)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no duration; give {FORM}, or seconds.", context, parameter) from None


def wait_options(command: Any) -> Any:
    """`--timeout` and `--accepted`, which `wait` and `track --wait` share."""
    timeout = click.option(
        "--timeout",
        default="60",
        callback=duration_value,
        metavar="DURATION",
        help="How long to wait; 0 checks once.  [default: 60 seconds]",
    )
    accepted = click.option(
        "--accepted",
        is_flag=True,
        help="ACCEPTED counts as delivered: the network took it, and no phone confirms it.",
    )
    return timeout(accepted(command))


@click.command(context_settings=IDS_MAY_BE_NEGATIVE)
@click.argument("ids", nargs=-1, required=True, metavar="ID...", type=click.UNPROCESSED)
@wait_options
@click.option("--any", "any_", is_flag=True, help="Stop at the first message that ends.")
@click.option("--track", "track_", is_flag=True, help="Start to follow those that are not followed yet.")
@click.option("--account", help="With --track: the account that sent them.  [default: default, or the only one]")
@json_option
@config_option
def wait(
    *,
    ids: tuple[str, ...],
    timeout: float,
    accepted: bool,
    any_: bool,
    track_: bool,
    account: str | None,
    as_json: bool,
    config_path: Path | None,
) -> int:
    """Wait until messages have reached their final state, and print it.

    \b
    pollerd wait 421332671 --timeout 2m && echo "delivered"

    Exit code 0: all were delivered (--any: the first that ended was); 3: ended otherwise; 4: the time is over and not
    all have ended (--any: none has). 69: no daemon polls them; 1: not followed, set aside, or another failure. A daemon
    that is restarted meanwhile is waited for.
    """
    refuse_options(ids)
    if account is not None and not track_:
        raise click.UsageError("--account goes with --track: a message that is followed has its account.")
    numbers = list(dict.fromkeys(map(_parsed, ids)))
    config = load_running(config_path)
    from pollerd.client.source import Location
    from pollerd.store.engine import engine_of

    location = Location(engine_of(config.store), config.control.socket, tuple(config.accounts))
    if track_:
        from pollerd.client.source import hand_over
        from pollerd.core.particulars import NOTHING

        hand_over(location, numbers, account, NOTHING)
    from pollerd.client.values import NotFollowedError

    try:
        return wait_for(location, numbers, timeout, accepted=accepted, first=any_, as_json=as_json)
    except NotFollowedError as error:
        raise PollerdError(f"{error}, or wait with --track.") from error


def wait_for(
    location: Location,
    numbers: Sequence[int],
    timeout: float,
    *,
    accepted: bool,
    first: bool = False,
    as_json: bool = False,
) -> int:
    """Print how each message ends, as it does, and return the exit code."""
    from pollerd.client.waiting import Waiting

    waiting = Waiting(location, numbers)
    good = lifecycle.ARRIVED if accepted else lifecycle.ARRIVED - {lifecycle.ACCEPTED}
    code = DELIVERED
    for ended in waiting.ended(timeout):
        delivered = _delivered(ended, good)
        with unread_is_no_failure():
            _print(ended, delivered=delivered, as_json=as_json)
        code = code if delivered else ENDED_OTHERWISE
        if first:
            return code
    if not waiting.left:
        return code
    if as_json:
        with unread_is_no_failure():
            screen.write_lines(map(_pending, waiting.left.items()))
    _late(waiting.left, timeout, location)
    return NOT_YET


def _parsed(text: str) -> int:
    try:
        return parse_id(text)
    except IdError as error:
        raise click.BadParameter(f"{text!r} {error}.", param_hint="ID") from None


def _delivered(ended: FinalStates, good: frozenset[str]) -> bool:
    states = {each.counts_as or each.status for each in ended.recipients}
    return ended.state == "finished" and bool(states) and states <= good


def _print(ended: FinalStates, *, delivered: bool, as_json: bool) -> None:
    if as_json:
        screen.write_json({"delivered": delivered, **msgspec.to_builtins(ended)})
        return
    how = _states(ended.recipients) or "no recipient known"
    if ended.state == "gave_up":
        how = f"given up without a final state ({how}); why: pollerd show {ended.id}"
    click.echo(f"{ended.id} {how}")


def _states(recipients: Sequence[RecipientDocument]) -> str:
    if len(recipients) == 1:
        only = recipients[0]
        why = ": ".join(part for part in (only.code, only.meaning or only.error) if part)
        return f"{only.counts_as or only.status} ({why})" if why else only.counts_as or only.status
    states = Counter(each.counts_as or each.status for each in recipients)
    return ", ".join(f"{number:,} {state}" for state, number in states.most_common())


def _pending(entry: tuple[int, MessageDocument | None]) -> bytes:
    message_id, document = entry
    known = {"id": message_id, "state": "pending"} if document is None else msgspec.to_builtins(document)
    fields = {name: value for name, value in known.items() if name in _OF_FINAL_STATES}
    return msgspec.json.encode({"delivered": False, **fields}) + b"\n"


def _late(left: dict[int, MessageDocument | None], timeout: float, location: Location) -> None:
    named = [
        f"{message_id} ({_states(document.recipients) if document and document.recipients else 'no state known'})"
        for message_id, document in list(left.items())[:_NAMED]
    ]
    more = f" and {len(left) - _NAMED:,} more" if len(left) > _NAMED else ""
    screen.note(
        f"after {timeout:g} s {counted(len(left), 'message has', 'messages have')} no final state: "
        f"{', '.join(named)}{more}. When the next poll is due, and why: pollerd show {next(iter(left))}"
    )
    for line in _holds(left.values(), location):
        screen.note(line)


def _holds(documents: Iterable[MessageDocument | None], location: Location) -> Iterator[str]:
    """What keeps the accounts of these messages from being polled."""
    from pollerd.client.live import fetch_status
    from pollerd.core import phrases

    status = fetch_status(location.socket)
    concerned = {document.account for document in documents if document is not None}
    for account in () if status is None else status.accounts:
        if account.name in concerned and account.hold is not None:
            yield (
                f"the account {account.name} is held: {phrases.hold(account.hold.reason, account.hold.detail)}; "
                f"{account.advice or 'see pollerd status'}"
            )
