"""`pollerd untrack`, `poll` and `retry`: requests to the owner of the database, and what became of them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from pollerd.base.service import start_command
from pollerd.base.text import clock, counted, shortened
from pollerd.cli.options import IDS_MAY_BE_NEGATIVE, config_option, json_option, load_running, refuse_options
from pollerd.cli.terminal import screen
from pollerd.core import phrases
from pollerd.core.ids import IdError, parse_id
from pollerd.core.model import State
from pollerd.core.ports import RequestKind
from pollerd.status.message import moment

if TYPE_CHECKING:
    from pollerd.cli.owner import AccountHold, Owner
    from pollerd.config import Config
    from pollerd.core.ports.view import Standing

_ids = click.argument("ids", nargs=-1, metavar="ID...", type=click.UNPROCESSED)


class RequestResult(NamedTuple):
    """What became of one id: a word for programs, a sentence for people, and whether it is a failure."""

    id: int | str
    result: str
    text: str
    failed: bool = False
    held: AccountHold | None = None
    """The hold of its account that a poll waits for."""


class Wish(NamedTuple):
    """A kind of request: the states it makes sense in, and what to say about the others and after it."""

    kind: RequestKind
    sensible: frozenset[State]
    otherwise: Mapping[State, tuple[str, str, bool]]


_FINISHED: Final = ("already_finished", "has reached its final state already", False)
_OPEN: Final = frozenset({State.NEW, State.PENDING})
_SET_ASIDE: Final = (
    "set_aside",
    "is set aside, since its row cannot be used; pollerd retry {id} takes it up again",
    True,
)

UNTRACK: Final = Wish(
    RequestKind.UNTRACK,
    _OPEN | {State.SET_ASIDE},
    {State.FINISHED: _FINISHED, State.GAVE_UP: ("already_given_up", "is already no longer followed", False)},
)
POLL: Final = Wish(
    RequestKind.POLL,
    _OPEN,
    {
        State.FINISHED: _FINISHED,
        State.GAVE_UP: ("given_up", "has been given up; pollerd retry {id} takes it up again", True),
        State.SET_ASIDE: _SET_ASIDE,
    },
)
RETRY: Final = Wish(
    RequestKind.RETRY,
    frozenset({State.GAVE_UP, State.SET_ASIDE}),
    {
        State.FINISHED: _FINISHED,
        State.NEW: ("already_followed", "is being followed already", False),
        State.PENDING: ("already_followed", "is being followed already", False),
    },
)


@click.command(context_settings=IDS_MAY_BE_NEGATIVE)
@_ids
@json_option
@config_option
def untrack(*, ids: tuple[str, ...], as_json: bool, config_path: Path | None) -> int:
    """Stop following messages.

    Each ends with the event message.gave_up, reason "untracked". Exit code 1 when one was not followed at all.
    A user who may not write the database asks the daemon, through its control socket.
    """
    return _ask(UNTRACK, ids, load_running(config_path), as_json=as_json)


@click.command(context_settings=IDS_MAY_BE_NEGATIVE)
@_ids
@json_option
@config_option
def poll(*, ids: tuple[str, ...], as_json: bool, config_path: Path | None) -> int:
    """Poll messages now, ahead of schedule. The account's limits still hold.

    Without a daemon they become due at once, and are polled when it starts. A user who may not write the database asks
    the daemon, through its control socket.
    """
    return _ask(POLL, ids, load_running(config_path), as_json=as_json)


@click.command(context_settings=IDS_MAY_BE_NEGATIVE)
@_ids
@click.option("--all", "everything", is_flag=True, help="Everything that was given up.")
@click.option(
    "--undelivered",
    "--webhook",
    "undelivered",
    is_flag=True,
    help="Every event that is parked, by the webhook and by outputs into databases.",
)
@click.option("--resume", "account", metavar="ACCOUNT", help='End the account\'s hold for "refusing".')
@json_option
@config_option
def retry(
    *,
    ids: tuple[str, ...],
    everything: bool,
    undelivered: bool,
    account: str | None,
    as_json: bool,
    config_path: Path | None,
) -> int:
    """Take up again what was given up: messages, or with --undelivered events.

    An event that a later state of the same recipient has overtaken is never delivered again.

    With --resume it is the polling of an account that is held because the gateway refuses messages which it answered
    before. Say so when they really are gone there: what is refused from then on is believed, and ends after the usual
    tries, until the gateway answers something again.

    A user who may not write the database asks the daemon, through its control socket.
    """
    if everything + undelivered + bool(ids) + (account is not None) != 1:
        raise click.UsageError(
            "Give ids, or --all, or --undelivered, or --resume ACCOUNT.", click.get_current_context()
        )
    config = load_running(config_path)
    if account is not None:
        from pollerd.cli.resume import resume

        return resume(config, account, as_json=as_json)
    if undelivered:
        from pollerd.cli.undelivered import retry_undelivered

        return retry_undelivered(config, as_json=as_json)
    return _retry_all(config, as_json=as_json) if everything else _ask(RETRY, ids, config, as_json=as_json)


def _ask(wish: Wish, arguments: Sequence[str], config: Config, *, as_json: bool) -> int:
    refuse_options(arguments)
    if not arguments:
        raise click.UsageError("Missing argument 'ID...'.", click.get_current_context())
    from pollerd.cli.owner import ask_owner

    ids, verdicts = _parsed(arguments)
    verdicts += ask_owner(config, lambda owner: _asked(owner, wish, ids, config))
    _tell(verdicts, as_json=as_json)
    return 1 if any(verdict.failed for verdict in verdicts) else 0


def _asked(owner: Owner, wish: Wish, ids: Sequence[int], config: Config) -> list[RequestResult]:
    before = owner.standings(ids)
    found = {message_id: _at_once(wish, message_id, before.get(message_id), config) for message_id in ids}
    verdicts = [verdict for verdict in found.values() if verdict is not None]
    wanted = [message_id for message_id, verdict in found.items() if verdict is None]
    if wanted:
        runs = owner.settle(wish.kind, wanted)
        after = owner.standings(wanted)
        polled = wish.kind is RequestKind.POLL
        accounts = {standing.account for standing in after.values()} if polled else set()
        held = {account: owner.hold(account) for account in accounts}
        for message_id in wanted:
            standing = after.get(message_id)
            verdict = _done(wish, message_id, standing, runs=runs)
            verdicts.append(verdict if standing is None else _waiting(verdict, held.get(standing.account)))
    return verdicts


def _at_once(wish: Wish, message_id: int, found: Standing | None, config: Config) -> RequestResult | None:
    """What can be said without asking anybody; None when the owner of the database has to do something."""
    if found is None:
        return RequestResult(message_id, "not_followed", "is not followed", failed=True)
    if found.state not in wish.sensible:
        result, text, failed = wish.otherwise[found.state]
        return RequestResult(message_id, result, text.format(id=message_id), failed)
    if wish.kind is not RequestKind.UNTRACK and found.account not in config.accounts:
        text = f"belongs to the account {found.account!r}, which is not in the configuration"
        return RequestResult(message_id, "account_not_configured", text, failed=True)
    return None


def _done(wish: Wish, message_id: int, found: Standing | None, *, runs: bool) -> RequestResult:
    state = None if found is None else found.state
    match wish.kind:
        case RequestKind.UNTRACK if state is State.FINISHED:
            return RequestResult(message_id, *_FINISHED)
        case RequestKind.UNTRACK:
            return RequestResult(message_id, "untracked", "is not followed any more")
        case RequestKind.POLL if runs:
            return RequestResult(message_id, "polled", "is due now; it is polled as soon as its account's limits allow")
        case RequestKind.POLL:
            return RequestResult(
                message_id, "due", f"is due at once; it is polled when the daemon runs ({start_command()})"
            )
        case _ if state is State.GAVE_UP:
            text = f"was given up again at once; pollerd show {message_id} says why"
            return RequestResult(message_id, "given_up_again", text, failed=True)
        case _:
            return RequestResult(message_id, "taken_up", "is followed again")


def _waiting(verdict: RequestResult, held: AccountHold | None) -> RequestResult:
    """The verdict of a poll whose account is on hold: the request stands, nothing is polled before the hold ends."""
    if held is None or verdict.failed:
        return verdict
    now = time.time()
    again = "" if held.until is None else f", tried again {'now' if held.until <= now else 'at ' + clock(held.until)}"
    needs = "" if verdict.result == "polled" else f" and the daemon runs ({start_command()})"
    why = f"account {held.account}: {phrases.label(held.reason)}{again}"
    text = f"is due now; it is polled as soon as its account's hold is over{needs} ({why})"
    return verdict._replace(text=text, held=held)


def _parsed(arguments: Sequence[str]) -> tuple[list[int], list[RequestResult]]:
    ids: dict[int, None] = {}
    refused: list[RequestResult] = []
    for argument in arguments:
        text = os.fsencode(argument).decode("utf-8", "replace")
        try:
            ids[parse_id(text)] = None
        except IdError as error:
            refused.append(RequestResult(shortened(text, 40), "refused", str(error), failed=True))
    return list(ids), refused


def _tell(verdicts: Sequence[RequestResult], *, as_json: bool) -> None:
    if as_json:
        screen.write_json({"results": [_document(verdict) for verdict in verdicts]})
        return
    for verdict in verdicts:
        if verdict.failed:
            screen.note(f"{verdict.id} {verdict.text}.")
        else:
            click.echo(f"{verdict.id} {verdict.text}.")


def _document(verdict: RequestResult) -> dict[str, object]:
    found: dict[str, object] = {"id": verdict.id, "result": verdict.result, "failed": verdict.failed}
    if (held := verdict.held) is not None:
        found["held"] = {"account": held.account, "reason": held.reason, "until": moment(held.until)}
    return found


def _retry_all(config: Config, *, as_json: bool) -> int:
    from pollerd.cli.owner import ask_owner

    before, left = ask_owner(config, _retried)
    if as_json:
        screen.write_json({"taken_up": max(0, before - left), "still_given_up": left})
    elif not before:
        click.echo("Nothing has been given up.")
    elif before > left:
        click.echo(f"{counted(before - left, 'message is', 'messages are')} followed again.")
    if left and not as_json:
        screen.note(f"{counted(left, 'message')} could not be taken up; see: pollerd list --state gave_up")
    return 1 if left else 0


def _retried(owner: Owner) -> tuple[int, int]:
    """How many were given up before and are still."""
    before = owner.given_up()
    if not before:
        return 0, 0
    owner.retry_all()
    return before, owner.given_up()
