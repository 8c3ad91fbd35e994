"""An event, and a message with its timeline, as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from pollerd.base.text import ago, clock, counted, duration, shortened, zone
from pollerd.cli.terminal import screen
from pollerd.core import event as events
from pollerd.core import history, phrases
from pollerd.core.model import Message, Recipient, State
from pollerd.gateway.gatewayapi import errorcodes
from pollerd.status.message import STATE_NAMES
from pollerd.status.timeline import (
    TimelineEntry,
    advice,
    describe,
    error_text,
    exceptions,
    overdue_text,
    polls_not_kept,
    priority_text,
    scheduled,
    sms_facts,
    state_text,
    summary,
    timeline,
    who,
    without_number,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_SHOWN: Final = 20
"""Recipients that are shown one by one."""
_ENTRIES: Final = 40
"""Entries of the timeline that are shown without --all: a screenful."""
_TONES: Final = {"good": "green", "plain": "", "warn": "yellow", "bad": "red"}
_MARKS: Final = {"sent": "○", "poll": "·", "state": "●", "end": "■", "next": "▷"}

_body = msgspec.json.Decoder(events.Body)


class EventText(NamedTuple):
    """When an event was observed (by the wall clock) and what it says."""

    at: float
    text: Text


def event_text(event: events.Event) -> EventText:
    """The event for people. A type from a newer version is shown as it is."""
    try:
        body = _body.decode(event.body)
    except msgspec.ValidationError:
        return EventText(0.0, screen.plain(event.body.decode("utf-8", "replace")))
    return EventText(datetime.fromisoformat(body.observed_at).timestamp(), _body_text(body))


def _body_text(body: events.Body) -> Text:
    match body:
        case events.Status():
            return _status(body)
        case events.Completed():
            counts = ", ".join(f"{count} {status}" for status, count in body.counts.items())
            return screen.plain("complete", "bold").append_text(
                screen.plain(f": {counts}, {counted(body.polls, 'poll')}"),
            )
        case _:
            found = describe(body)
            return screen.plain(found.text, _TONES[found.tone])


def _status(body: events.Status) -> Text:
    text = screen.plain(f"{body.msisdn} ")
    if body.previous == body.status:
        text.append_text(screen.plain("still ", "dim")).append_text(screen.state(body.status))
        return text.append_text(screen.plain(f", charge {body.charge_status}"))
    if body.previous is not None:
        text.append_text(screen.plain(f"{body.previous} → ", "dim"))
    text.append_text(screen.state(body.status))
    error = errorcodes.words(body.code) or body.error
    if body.code or error:
        text.append_text(screen.plain(" " + ": ".join(part for part in (body.code, error) if part), "yellow"))
    return text


class MessageDetails(NamedTuple):
    """What is shown of a message at `now` (by the wall clock): `next_poll` is when it comes, `notes` stand in its way,
    `then` is what would happen at it.
    """

    message: Message
    events: Sequence[events.Event]
    now: float
    everything: bool
    next_poll: str
    notes: list[tuple[str, str]]
    then: list[str]


def print_message(details: MessageDetails, console: Console) -> None:
    """Print it."""
    message = details.message
    name = STATE_NAMES[message.state]
    shown = screen.plain(phrases.label(name), screen.STATE_STYLES.get(name, ""))
    console.print(screen.plain(f"Message {message.id}: ", "bold").append_text(shown))
    for label, value in [*_facts(details), *details.notes]:
        if value:
            console.print(screen.plain(f"  {label:<14}", "dim").append_text(screen.plain(shortened(value, 300))))
    _recipients(details, console)
    console.print()
    _timeline(details, console)


def _facts(details: MessageDetails) -> list[tuple[str, str | None]]:
    message, now = details.message, details.now
    facts: list[tuple[str, str | None]] = [("account", message.account), ("userref", message.userref)]
    facts.append(("sent", f"{clock(message.sent_at)} ({ago(message.sent_at, now)})"))
    if (planned := scheduled(message)) is not None:
        facts.append(("scheduled for", f"{clock(planned)} ({ago(planned, now)})"))
    polled = counted(message.polls, "time")
    if message.last_poll_at is not None:
        polled += f", last {ago(message.last_poll_at, now)}: {phrases.answer(message.last_answer)}"
    tried = history.polls(message.trail)
    never = f"not answered yet, last tried {ago(tried[-1].at, now)}" if tried else "not yet"
    facts.append(("polled", polled if message.polls else never))
    facts += sms_facts(message.recipients)
    facts.append(("without number", without_number(message.recipients)))
    facts.append(("priority", priority_text(message)))
    if (wait := overdue_text(message, now)) is not None:
        facts.append(("overdue", wait))
    if message.finished_at is not None:
        facts.append(("ended", f"{clock(message.finished_at)} ({ago(message.finished_at, now)})"))
    if message.state in (State.GAVE_UP, State.SET_ASIDE):
        facts.append(("take up again", f"pollerd retry {message.id}"))
    return facts


def _recipients(details: MessageDetails, console: Console) -> None:
    shown: Sequence[Recipient] = details.message.recipients
    if not shown:
        return
    console.print()
    if len(shown) > _SHOWN:
        console.print(screen.plain(f"{len(shown):,} recipients: {summary(shown)}", "bold"))
    if len(shown) > _SHOWN and not details.everything:
        odd = exceptions(shown)
        if not odd:
            console.print(screen.plain("all delivered; each of them: --all", "dim"))
            return
        more = f" (the first {_SHOWN} of {len(odd):,}; all recipients: --all)" if len(odd) > _SHOWN else ""
        console.print(screen.plain(f"Those without a final state, and those that failed{more}:", "dim"))
        shown = odd[:_SHOWN]
    made = screen.table("recipient", "country", "network", "state", "since", "error")
    for item in shown:
        network = f"{item.mcc}/{item.mnc}" if item.mcc and item.mnc else ""
        since = "" if item.time is None else clock(item.time)
        state = screen.plain(state_text(item), screen.STATE_STYLES.get(item.status, ""))
        screen.row(made, who(item), item.country, network, state, since, shortened(error_text(item), 80))
    console.print(made)
    for line in advice(shown):
        console.print(screen.plain(line, "dim"))


def _timeline(details: MessageDetails, console: Console) -> None:
    message = details.message
    entries = timeline(message, details.events)
    left_out = 0 if details.everything else max(0, len(entries) - _ENTRIES)
    at = f"at ({zone(message.sent_at)})"
    made = screen.table("age", at, "", "what", right=("age",), whole=(at,))
    for number, entry in enumerate(entries):
        if 0 < number <= left_out:
            continue
        _row(made, entry, message.sent_at)
        if number == 0:
            _gaps(made, left_out, polls_not_kept(message))
    if message.state is State.NEW:
        screen.row(made, "", "", _MARKS["next"], "not planned yet")
    elif message.state is State.PENDING:
        reason = f": {message.next_reason}" if message.next_reason else ""
        text = f"next poll {details.next_poll}{reason}"
        _row(made, TimelineEntry(message.next_poll_at, "next", text, state=None), message.sent_at)
    for text in details.then:
        screen.row(made, "", "", "", screen.plain(shortened(text, 200), "dim"))
    console.print(made)


def _moment(when: float, sent_at: float) -> str:
    """By the clock; the day, and the offset that the head names, only where they are not those of sending."""
    day, moment = clock(when).removesuffix(zone(sent_at)).split()
    return moment if when != sent_at and day == clock(sent_at).split()[0] else f"{day} {moment}"


def _gaps(made: Table, left_out: int, polls: int) -> None:
    if left_out:
        screen.row(made, "", "", "", screen.plain(f"... {left_out:,} more entries: --all", "dim"))
    if polls:
        screen.row(
            made, "", "", "", screen.plain(f"... answers of {counted(polls, 'earlier poll')} are not kept", "dim")
        )


def _row(made: Table, entry: TimelineEntry, sent_at: float) -> None:
    style = _TONES[entry.tone]
    age = duration(max(0.0, entry.at - sent_at))
    text = screen.plain(shortened(entry.text, 200), "bold cyan" if entry.kind == "next" else style)
    screen.row(made, age, _moment(entry.at, sent_at), screen.plain(_MARKS.get(entry.kind, " "), style), text)
