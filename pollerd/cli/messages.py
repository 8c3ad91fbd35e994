"""`pollerd list` and `pollerd show`: messages as they stand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from pollerd import errorcodes, lifecycle
from pollerd.cli.options import config_option, counting_number, id_value, json_option, load_config
from pollerd.cli.story import story
from pollerd.documents import STATE_NAMES, message_document
from pollerd.model import Message, Recipient, State
from pollerd.terminal import screen
from pollerd.terminal.text import ago, brief, counted, duration, shortened

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pollerd.store.view import View

_STATES: Final = {"pending": State.PENDING, "finished": State.FINISHED, "gave_up": State.GAVE_UP}
_SHOWN: Final = 20
"""Recipients of one message that are shown one by one."""


@click.command("list")
@click.option("--state", type=click.Choice(list(_STATES)), help="Only messages in this state.")
@click.option("--limit", default=50, show_default=True, callback=counting_number, help="At most so many.")
@json_option
@config_option
def list_(*, state: str | None, limit: int, as_json: bool, config_path: Path | None) -> int:
    """List messages.

    Pending ones come in the order of their next poll, finished ones the latest first, all others the highest id first.
    """
    from pollerd.store.view import View

    config = load_config(config_path)
    with View.open(config.store.path) as view:
        found = view.messages(_STATES.get(state or ""), limit + 1)
    more, found = len(found) > limit, found[:limit]
    if as_json:
        screen.write_lines(msgspec.json.encode(message_document(message)) + b"\n" for message in found)
        return 0
    if not found:
        click.echo("No messages." if state is None else f"No messages in state {state}.")
        return 0
    screen.console().print(_table(found, tuple(config.accounts)))
    if more:
        screen.note(f"there are more; see them with --limit {limit * 10}")
    return 0


def _table(found: list[Message], accounts: tuple[str, ...]) -> Table:
    """The messages as rows; columns that would say the same everywhere are left away."""
    named = any(message.userref for message in found)
    several = {message.account for message in found} | set(accounts) != set(accounts[:1])
    extra = (*(("userref",) if named else ()), *(("account",) if several else ()))
    columns = ("id", "state", "recipients", "age", "polls", "next poll", *extra)
    made = screen.table(*columns, right=("id", "age", "polls"), whole=("state", "next poll"))
    now = time.time()
    for message in found:
        cells = [
            message.id,
            screen.state(STATE_NAMES[message.state]),
            shortened(_summary(message)),
            brief(now - message.sent_at),
            message.polls,
            _next(message, now, brief),
        ]
        cells += [shortened(message.userref or "", 40)] if named else []
        cells += [shortened(message.account, 40)] if several else []
        screen.row(made, *cells)
    return made


@click.command()
@click.argument("message_id", metavar="ID", callback=id_value)
@json_option
@config_option
def show(*, message_id: int, as_json: bool, config_path: Path | None) -> int:
    """Show one message: its recipients, its history, the next poll and why then."""
    from pollerd.store.view import View

    config = load_config(config_path)
    with View.open(config.store.path) as view:
        message = view.message(message_id)
        if message is None:
            screen.note(f"{message_id} is not followed; follow it with: pollerd track {message_id}")
            return 1
        if as_json:
            history = [msgspec.Raw(event.line.rstrip()) for event in view.events(0, 100_000, message_id)]
            document = msgspec.to_builtins(message_document(message))
            screen.write_json({**document, "events": history})
            return 0
        _show(message, view)
    return 0


def _show(message: Message, view: View) -> None:
    console, now = screen.console(), time.time()
    name = STATE_NAMES[message.state]
    console.print(screen.plain(f"Message {message.id}: ", "bold").append_text(screen.state(name)))
    facts = [("account", message.account), ("userref", message.userref)]
    facts.append(("sent", f"{_clock(message.sent_at)} ({ago(message.sent_at, now)})"))
    if message.sendtime:
        facts.append(("scheduled for", f"{_clock(message.sendtime)} ({ago(message.sendtime, now)})"))
    facts += _polling(message, view, now)
    for label, value in facts:
        if value:
            console.print(screen.plain(f"  {label:<14}", "dim").append_text(screen.plain(shortened(value, 300))))
    _recipients(console, message)
    _history(console, message, view)


def _polling(message: Message, view: View, now: float) -> list[tuple[str, str | None]]:
    polled = f"{counted(message.polls, 'time')}"
    if message.last_poll_at is not None:
        polled += f", last {ago(message.last_poll_at, now)}: {_answer(message)}"
    facts: list[tuple[str, str | None]] = [("polled", polled if message.polls else "not yet")]
    if message.finished_at is not None:
        facts.append(("ended", f"{_clock(message.finished_at)} ({ago(message.finished_at, now)})"))
    if message.state is State.GAVE_UP:
        facts.append(("take up again", f"pollerd retry {message.id}"))
    if message.state not in (State.NEW, State.PENDING):
        return facts
    if message.state is State.NEW:
        facts.append(("next poll", "not planned yet"))
    else:
        reason = f" ({message.next_reason})" if message.next_reason else ""
        facts.append(("next poll", f"{_clock(message.next_poll_at)}, {_next(message, now)}{reason}"))
    hold = view.hold(message.account)
    if hold is not None and hold.held_reason:
        until = "" if hold.held_until is None else f", tried again {ago(hold.held_until, now)}"
        facts.append(("on hold", f"polling of account {hold.name} is paused: {hold.held_reason}{until}"))
    if view.daemon is None:
        facts.append(("daemon", "does not run; polling goes on with: pollerd run"))
    return facts


def _answer(message: Message) -> str:
    match message.last_answer:
        case "200":
            return "answered"
        case "404":
            return "404, not known to the gateway (yet)"
        case other:
            return other


def _recipients(console: Console, message: Message) -> None:
    if not message.recipients:
        return
    console.print()
    shown = list(message.recipients)
    if len(shown) > _SHOWN:
        console.print(screen.plain(f"{len(shown):,} recipients: {_summary(message)}"))
        # The exceptions are what one looks for: first those without a final state, then those that failed.
        shown = sorted(shown, key=_oddness)[:_SHOWN]
        console.print(screen.plain(f"The first {_SHOWN}, those that are not delivered before the others:", "dim"))
    made = screen.table("recipient", "country", "network", "state", "since", "error")
    for item in shown:
        network = f"{item.mcc}/{item.mnc}" if item.mcc and item.mnc else ""
        since = "" if item.time is None else _clock(item.time)
        screen.row(made, item.msisdn, item.country, network, screen.state(item.status), since, _error(item))
    console.print(made)


def _oddness(item: Recipient) -> int:
    if not lifecycle.is_final(item.status):
        return 0
    return 2 if item.status in (lifecycle.DELIVERED, "ACCEPTED") else 1


def _error(item: Recipient) -> str:
    meaning = errorcodes.words(item.code)
    parts = [item.code, meaning or item.error]
    return shortened(": ".join(part for part in parts if part), 80)


def _history(console: Console, message: Message, view: View) -> None:
    found = view.events(0, 1000, message.id)
    if not found:
        return
    console.print()
    made = screen.table("seq", "told at", "age", "what", right=("seq",))
    for event in found[-_SHOWN * 2 :]:
        told = story(event)
        screen.row(made, event.seq, _clock(told.at), duration(max(0.0, told.at - message.sent_at)), told.text)
    console.print(made)


def _summary(message: Message) -> str:
    counts = Counter(recipient.status for recipient in message.recipients)
    if len(message.recipients) == 1:
        return message.recipients[0].status
    return ", ".join(f"{count:,} {status}" for status, count in counts.most_common()) or "not seen yet"


def _next(message: Message, now: float, words: Callable[[float], str] = duration) -> str:
    wait = message.next_poll_at - now
    match message.state:
        case State.NEW:
            return "not planned yet"
        case State.PENDING:
            return f"in {words(wait)}" if wait > 0 else f"due for {words(-wait)}"
        case _:
            return ""


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
