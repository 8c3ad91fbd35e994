"""One message and its timeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from pollerd.base.text import ago, clock, counted, duration
from pollerd.core import lifecycle, phrases
from pollerd.core.model import Message, Recipient, State
from pollerd.server.pages.html import Html, Part, table, tag
from pollerd.server.pages.status_page import badge
from pollerd.status.message import STATE_NAMES
from pollerd.status.timeline import (
    TimelineEntry,
    advice,
    deadline,
    error_text,
    exceptions,
    next_poll,
    overdue_text,
    polls_not_kept,
    priority_text,
    sms_facts,
    summary,
    who,
    without_number,
)

_RECIPIENTS: Final = 50
"""Recipients shown one by one; of more, those that matter."""


class MessageView(NamedTuple):
    """The message, its timeline, the instant that is shown, and after how many seconds it is given up."""

    message: Message
    timeline: list[TimelineEntry]
    now: float
    give_up_after: float
    scheduled_horizon: float


def content(shown: MessageView, number: Callable[[int], str]) -> Html:
    """The page; `number` writes a telephone number."""
    message = shown.message
    name = phrases.label(STATE_NAMES[message.state])
    facts = [tag("div", tag("dt", label), tag("dd", value)) for label, value in _facts(shown) if value]
    parts: list[Part] = [tag("h1", f"Message {message.id}: {name}"), tag("dl", facts)]
    parts += _recipients(message.recipients, number)
    parts.append(tag("h2", "Its life"))
    if gone := polls_not_kept(message):
        parts.append(tag("p", f"{counted(gone, 'earlier poll')} are not kept.", class_="dim"))
    rows = [
        (clock(entry.at), duration(max(0.0, entry.at - message.sent_at)), tag("span", entry.text, class_=entry.tone))
        for entry in [*shown.timeline, *_next(shown)]
    ]
    parts.append(table("In order of time; what is to come is last", ("at", "age", "what"), rows, numbers=(1,)))
    return tag("div", parts)


def _facts(shown: MessageView) -> list[tuple[str, str]]:
    message, now = shown.message, shown.now
    ends = deadline(message, shown.give_up_after, shown.scheduled_horizon)
    return [
        ("account", message.account),
        ("userref", message.userref or ""),
        ("sent", f"{clock(message.sent_at)} ({ago(message.sent_at, now)})"),
        ("recipients", summary(message.recipients)),
        *sms_facts(message.recipients),
        ("without number", without_number(message.recipients)),
        ("polls", str(message.polls)),
        ("priority", priority_text(message) or ""),
        ("overdue", overdue_text(message, now) or ""),
        ("ended", "" if message.finished_at is None else clock(message.finished_at)),
        ("set aside", message.next_reason if message.state is State.SET_ASIDE else ""),
        (
            "take up again",
            f"pollerd retry {message.id}" if message.state in (State.GAVE_UP, State.SET_ASIDE) else "",
        ),
        ("given up", "" if ends is None else f"{clock(ends)} ({ago(ends, now)}), unless it ends before"),
    ]


def _next(shown: MessageView) -> list[TimelineEntry]:
    message = shown.message
    if message.state is State.NEW:
        return [TimelineEntry(shown.now, "next", next_poll(message, shown.now))]
    if message.state is not State.PENDING:
        return []
    reason = f", because: {message.next_reason}" if message.next_reason else ""
    return [TimelineEntry(message.next_poll_at, "next", f"next poll {next_poll(message, shown.now)}{reason}")]


def _recipients(recipients: tuple[Recipient, ...], number: Callable[[int], str]) -> list[Part]:
    if not recipients:
        return []
    listed: list[Recipient] = list(recipients)
    caption = "Recipients"
    if len(listed) > _RECIPIENTS:
        odd = exceptions(recipients)
        listed = (odd or listed)[:_RECIPIENTS]
        caption = f"{len(listed):,} of {len(odd) or len(recipients):,}, those without a final state first"
    rows = [
        (
            who(item, number),
            [badge(lifecycle.name(item.status)), f" {item.charge_status}" if item.charge_status else None],
            "" if item.time is None else clock(item.time),
            item.country,
            f"{item.mcc}/{item.mnc}" if item.mcc and item.mnc else "",
            error_text(item),
        )
        for item in listed
    ]
    notes = [tag("p", line) for line in advice(listed)]
    return [table(caption, ("recipient", "state", "since", "country", "network", "error"), rows), *notes]
