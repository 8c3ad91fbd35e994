"""`pollerd list` and `pollerd show`: messages as they stand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from pollerd.base.service import start_command
from pollerd.base.text import ago, brief, clock, duration, shortened
from pollerd.cli.options import config_option, counting_number, id_value, json_option, load_running
from pollerd.cli.terminal import screen
from pollerd.core import history, phrases, refusals
from pollerd.core.model import FILTERS, Filter, Message, State
from pollerd.status.message import message_document, moment, standing
from pollerd.status.timeline import deadline, next_poll, summary

if TYPE_CHECKING:
    from rich.table import Table

    from pollerd.config import Config
    from pollerd.core.ports.view import AccountView, View

_NUMBERS: Final = ("id", "age", "polls")
_PAGE: Final = 1000
"""Messages read at a time: some 2 MB in memory, however long the list."""


@click.command("list")
@click.option("--state", type=click.Choice(list(FILTERS)), help="Only messages in this state.")
@click.option("--limit", default=50, show_default=True, callback=counting_number, help="At most so many.")
@json_option
@config_option
def list_(*, state: str | None, limit: int, as_json: bool, config_path: Path | None) -> int:
    """List messages.

    Pending ones come in the order of their next poll, those not planned yet first; overdue ones (pending, and reported
    as message.overdue) the longest first; finished ones the latest first, all others the highest id first. One that is
    polled while a long list is printed may come twice.
    """
    from pollerd.store.engine import engine_of

    config = load_running(config_path)
    wanted = FILTERS.get(state or "")
    with engine_of(config.store).view() as view:
        if as_json:
            listed = _listed(view, wanted, limit)
            screen.write_lines(msgspec.json.encode(message_document(message)) + b"\n" for message in listed)
            return 0
        found = list(_listed(view, wanted, limit + 1))
        held = {name: hold for name in {m.account for m in found} if (hold := _hold(name, view)) is not None}
    more, found = len(found) > limit, found[:limit]
    if not found:
        click.echo("No messages." if state is None else f"No messages in state {state}.")
        return 0
    _print(_table(found, tuple(config.accounts), held))
    if more:
        screen.note(f"there are more; see them with --limit {limit * 10}")
    return 0


def _listed(view: View, state: Filter | None, limit: int) -> Iterator[Message]:
    """At most `limit` messages, no more than a page of them in memory."""
    cursor: str | None = None
    while limit > 0:
        page = view.page(state, cursor, min(limit, _PAGE))
        yield from page.messages
        limit -= len(page.messages)
        cursor = page.next
        if cursor is None:
            return


def _print(table: Table) -> None:
    console = screen.console()
    left_out = screen.fit(table, console.width)
    # An id is printed whole even where the terminal is narrower than that.
    console.print(table, crop=False)
    if left_out:
        screen.note(f"no room for: {', '.join(left_out)}; widen the terminal, or use --json")


def _table(found: list[Message], accounts: tuple[str, ...], held: Mapping[str, AccountView]) -> Table:
    """The messages as rows; columns that would say the same everywhere are left away."""
    named = any(message.userref for message in found)
    several = {message.account for message in found} | set(accounts) != set(accounts[:1])
    extra = (*(("userref",) if named else ()), *(("account",) if several else ()))
    columns = ("id", "state", "recipients", "age", "polls", "next poll", *extra)
    made = screen.table(*columns, right=_NUMBERS, whole=("state", "next poll"), short=("userref", "account"))
    now = time.time()
    for message in found:
        cells = [
            message.id,
            screen.state(standing(message)),
            shortened(summary(message.recipients)),
            duration(max(0.0, now - message.sent_at)),
            message.polls,
            _next(message, now, held.get(message.account)),
        ]
        cells += [shortened(message.userref or "", 40)] if named else []
        cells += [shortened(message.account, 40)] if several else []
        screen.row(made, *cells)
    return made


@click.command()
@click.argument("message_id", metavar="ID", callback=id_value)
@click.option("--all", "everything", is_flag=True, help="Every recipient and every event, however many.")
@json_option
@config_option
def show(*, message_id: int, everything: bool, as_json: bool, config_path: Path | None) -> int:
    """Show one message: its recipients, its timeline, the next poll and why then.

    Of many recipients the exceptions alone are shown: without a final state, or failed.
    """
    from pollerd.store.engine import engine_of

    config = load_running(config_path)
    with engine_of(config.store).view() as view:
        message = view.message(message_id)
        if message is None:
            screen.note(f"{message_id} is not followed; follow it with: pollerd track {message_id}")
            return 1
        if as_json:
            events = [msgspec.Raw(event.line.rstrip()) for event in view.events(0, 100_000, message_id)]
            document = msgspec.to_builtins(message_document(message))
            kept = [{"at": moment(poll.at), "answer": poll.answer, "pending": poll.pending} for poll in _polls(message)]
            screen.write_json({**document, "trail": kept, "events": events})
            return 0
        from pollerd.cli.message_life import MessageDetails, print_message

        now = time.time()
        details = MessageDetails(
            message=message,
            events=view.events(0, 100_000, message_id),
            now=now,
            everything=everything,
            next_poll=_next(message, now, _hold(message.account, view)),
            notes=_obstacles(message, view, now),
            then=_then(message, view, config),
        )
    print_message(details, screen.console())
    return 0


def _polls(message: Message) -> list[history.Poll]:
    return history.polls(message.trail)


def _obstacles(message: Message, view: View, now: float) -> list[tuple[str, str]]:
    """What stands in the way of the next poll."""
    if message.state is State.SET_ASIDE:
        return [("set aside", f"not polled any more: {message.next_reason}")]
    if message.state not in (State.NEW, State.PENDING):
        return []
    found = []
    if (hold := _hold(message.account, view)) is not None:
        until = "" if hold.held_until is None else f" until {clock(hold.held_until)} ({ago(hold.held_until, now)})"
        why = phrases.hold(hold.held_reason or "", hold.held_detail)
        found.append(("on hold", f"account {hold.name} is held{until}: {why}"))
    if message.strikes:
        times = f"{message.strikes} of {refusals.MAX_STRIKES} times"
        found.append(("refused", f"{times}, then given up as rejected_request"))
    if view.daemon is None:
        found.append(("daemon", f"does not run; polling goes on with: {start_command()}"))
    return found


def _hold(account: str, view: View) -> AccountView | None:
    """The account when it is on hold."""
    found = view.hold(account)
    return found if found is not None and found.held_reason else None


def _then(message: Message, view: View, config: Config) -> list[str]:
    """What would happen at the next poll, should the message still be pending then."""
    ends = deadline(message, config.backoff.give_up_after, config.backoff.scheduled_horizon)
    if ends is None:
        return []
    from pollerd.config.policy import MODEL, make_policy
    from pollerd.core import diff
    from pollerd.core.learning import following

    found = []
    policy = make_policy(config, 0)
    if message.state is State.PENDING and message.seen_at is not None:
        if (learned := view.note(MODEL)) is not None:
            policy.restore(learned)
        at = max(message.next_poll_at, time.time())
        decision = following(policy, message, at, diff.waiting(message.recipients))
        found.append(f"still pending then: polled again about {brief(decision.delay)} later ({decision.reason})")
    elif message.state is State.PENDING and message.misses:
        at = max(message.next_poll_at, time.time())
        decision = policy.not_visible(at, max(message.sent_at, message.sendtime or 0.0), message.misses + 1)
        found.append(f"still 404 then: polled again about {brief(decision.delay)} later ({decision.reason})")
    found.append(f"without a final state it is given up at {clock(ends)}; time on hold does not count")
    return found


def _next(message: Message, now: float, hold: AccountView | None) -> str:
    pending = message.state is State.PENDING
    if pending and hold is not None and message.next_poll_at <= (hold.held_until or now):
        return "after the hold"
    return next_poll(message, now)
