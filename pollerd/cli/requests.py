"""`pollerd untrack`, `poll` and `retry`: requests to the owner of the database, done here when it has none."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from pollerd.cli import screen
from pollerd.cli.options import IDS_MAY_BE_NEGATIVE, config_option, json_option, load_config, refuse_options
from pollerd.cli.text import counted, shortened
from pollerd.errors import DatabaseBusyError, UnavailableError
from pollerd.ids import IdError, parse_id
from pollerd.model import State
from pollerd.ports import RequestKind

if TYPE_CHECKING:
    from pollerd.config import Config
    from pollerd.store.handover import Asked, Handover

PATIENCE: Final = 10.0
"""Seconds that the daemon gets to do what is asked."""
_LOOK: Final = 0.05

_ids = click.argument("ids", nargs=-1, metavar="ID...", type=click.UNPROCESSED)


class Verdict(NamedTuple):
    """What became of one id: a word for programs, a sentence for people, and whether it is a failure."""

    id: int | str
    result: str
    text: str
    failed: bool = False


class Wish(NamedTuple):
    """A kind of request: the states it makes sense in, and what to say about the others and after it."""

    kind: RequestKind
    sensible: frozenset[State]
    otherwise: Mapping[State, tuple[str, str, bool]]


_UNKNOWN: Final = ("not_followed", "is not followed", True)
_FINISHED: Final = ("already_finished", "has reached its final state already", False)
_OPEN: Final = frozenset({State.NEW, State.PENDING})

UNTRACK: Final = Wish(
    RequestKind.UNTRACK,
    _OPEN,
    {State.FINISHED: _FINISHED, State.GAVE_UP: ("already_given_up", "is not followed any more already", False)},
)
POLL: Final = Wish(
    RequestKind.POLL,
    _OPEN,
    {
        State.FINISHED: _FINISHED,
        State.GAVE_UP: ("given_up", "has been given up; take it up again with: pollerd retry", True),
    },
)
RETRY: Final = Wish(
    RequestKind.RETRY,
    frozenset({State.GAVE_UP}),
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
    """
    return _ask(UNTRACK, ids, load_config(config_path), as_json=as_json)


@click.command(context_settings=IDS_MAY_BE_NEGATIVE)
@_ids
@json_option
@config_option
def poll(*, ids: tuple[str, ...], as_json: bool, config_path: Path | None) -> int:
    """Poll messages now, ahead of schedule. The account's limits still hold.

    Without a daemon they become due at once, and are polled when it starts.
    """
    return _ask(POLL, ids, load_config(config_path), as_json=as_json)


@click.command(context_settings=IDS_MAY_BE_NEGATIVE)
@_ids
@click.option("--all", "everything", is_flag=True, help="Everything that was given up.")
@json_option
@config_option
def retry(*, ids: tuple[str, ...], everything: bool, as_json: bool, config_path: Path | None) -> int:
    """Take up again what was given up."""
    if everything == bool(ids):
        raise click.UsageError("Give ids, or --all.", click.get_current_context())
    config = load_config(config_path)
    return _retry_all(config, as_json=as_json) if everything else _ask(RETRY, ids, config, as_json=as_json)


def _ask(wish: Wish, arguments: Sequence[str], config: Config, *, as_json: bool) -> int:
    refuse_options(arguments)
    if not arguments:
        raise click.UsageError("Missing argument 'ID...'.", click.get_current_context())
    ids, verdicts = _parsed(arguments)
    before = _states(config, ids)
    wanted = [i for i in ids if before.get(i) in wish.sensible]
    runs = _settle(config, wish.kind, wanted) if wanted else None
    after = _states(config, wanted) if wanted else {}
    for message_id in ids:
        state = before.get(message_id)
        if state in wish.sensible:
            verdicts.append(_done(wish, message_id, after.get(message_id), runs=runs is True))
        else:
            word, text, failed = _UNKNOWN if state is None else wish.otherwise[state]
            verdicts.append(Verdict(message_id, word, text, failed))
    _tell(verdicts, as_json=as_json)
    return 1 if any(verdict.failed for verdict in verdicts) else 0


def _done(wish: Wish, message_id: int, state: State | None, *, runs: bool) -> Verdict:
    match wish.kind:
        case RequestKind.UNTRACK if state is State.FINISHED:
            return Verdict(message_id, *_FINISHED)
        case RequestKind.UNTRACK:
            return Verdict(message_id, "untracked", "is not followed any more")
        case RequestKind.POLL if runs:
            return Verdict(message_id, "polled", "is polled now")
        case RequestKind.POLL:
            return Verdict(message_id, "due", "is due at once; it is polled when the daemon runs (pollerd run)")
        case _ if state is State.GAVE_UP:
            text = "was not taken up: its account is not in the configuration, or it was given up again"
            return Verdict(message_id, "still_given_up", text, failed=True)
        case _:
            return Verdict(message_id, "taken_up", "is followed again")


def _parsed(arguments: Sequence[str]) -> tuple[list[int], list[Verdict]]:
    ids: dict[int, None] = {}
    refused: list[Verdict] = []
    for argument in arguments:
        text = os.fsencode(argument).decode("utf-8", "replace")
        try:
            ids[parse_id(text)] = None
        except IdError as error:
            refused.append(Verdict(shortened(text, 40), "refused", str(error), failed=True))
    return list(ids), refused


def _tell(verdicts: Sequence[Verdict], *, as_json: bool) -> None:
    if as_json:
        screen.write_json({"results": [{"id": v.id, "result": v.result, "failed": v.failed} for v in verdicts]})
        return
    for verdict in verdicts:
        if verdict.failed:
            screen.note(f"{verdict.id} {verdict.text}.")
        else:
            click.echo(f"{verdict.id} {verdict.text}.")


def _retry_all(config: Config, *, as_json: bool) -> int:
    before = _given_up(config)
    if before:
        _settle(config, RequestKind.RETRY_ALL, [None])
    left = _given_up(config) if before else 0
    if as_json:
        screen.write_json({"taken_up": max(0, before - left), "still_given_up": left})
    elif not before:
        click.echo("Nothing has been given up.")
    else:
        click.echo(f"{counted(max(0, before - left), 'message is', 'messages are')} followed again.")
    if left and not as_json:
        screen.note(f"{counted(left, 'message')} could not be taken up; look at: pollerd list --state gave_up")
    return 1 if left else 0


def _states(config: Config, ids: Sequence[int]) -> dict[int, State]:
    from pollerd.store.view import DatabaseMissingError, View

    try:
        with View.open(config.store.path) as view:
            found = {message_id: view.state(message_id) for message_id in ids}
    except DatabaseMissingError:
        return {}
    return {message_id: state for message_id, state in found.items() if state is not None}


def _given_up(config: Config) -> int:
    from pollerd.store.view import DatabaseMissingError, View

    try:
        with View.open(config.store.path) as view:
            return view.count_gave_up()
    except DatabaseMissingError:
        return 0


def _settle(config: Config, kind: RequestKind, ids: Sequence[int | None]) -> bool:
    """Ask and wait until it is done; whether a daemon runs. Raises UnavailableError when the daemon does not do it."""
    from pollerd.store.handover import Handover
    from pollerd.store.lock import owner_pid

    with Handover.open(config.store.path) as handover:
        asked = handover.ask(kind, ids)
        _wait(config, handover, asked)
    return owner_pid(config.store.path) is not None


def _wait(config: Config, handover: Handover, asked: Asked) -> None:
    from pollerd.store.lock import owner_pid

    deadline = time.monotonic() + PATIENCE
    while handover.waiting(asked):
        pid = owner_pid(config.store.path)
        if pid is None:
            _settle_ourselves(config)
        elif time.monotonic() >= deadline:
            raise UnavailableError(
                f"the daemon (process {pid}) has not done it within {PATIENCE:.0f} s. The request stays in the "
                "database and is done when the daemon gets to it; look at: pollerd status",
            )
        else:
            time.sleep(_LOOK)


def _settle_ourselves(config: Config) -> None:
    from pollerd.app import settle_requests

    try:
        asyncio.run(settle_requests(config))
    except DatabaseBusyError:
        # Somebody was faster: a daemon that has just started, or another command. It does our request as well.
        return
