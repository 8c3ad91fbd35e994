"""The list of messages, and what a search found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from pollerd.base.text import brief, counted, shortened
from pollerd.core import phrases
from pollerd.core.model import FILTERS, OVERDUE, Message
from pollerd.core.ports.view import SearchPage
from pollerd.server.pages.html import Html, Part, table, tag
from pollerd.status.message import standing
from pollerd.status.timeline import next_poll, summary, who

_STATES: Final = (("", "all"), *((name, phrases.label(name)) for name in FILTERS))
_TONES: Final = {"finished": "good", "gave_up": "bad", "pending": "info", "overdue": "warn", "set_aside": "bad"}


class ListQuery(NamedTuple):
    """What was asked for: the search, the state (empty: all), and whether it is a page further on."""

    wanted: str
    state: str
    further: bool


def content(found: SearchPage, query: ListQuery, older: str | None, now: float, number: Callable[[int], str]) -> Html:
    """The page; `older` leads to the next one, `number` writes a telephone number."""
    title = f"Messages with “{query.wanted}”" if query.wanted else "Messages"
    parts: list[Part] = [tag("h1", title), _form(query)]
    if query.wanted:
        end = "" if older else ", and there are no more"
        parts.append(tag("p", f"{counted(found.searched, 'message')} searched{end}.", class_="dim"))
    heads = ("id", "state", "recipient", "delivery", "userref", "age", "polls", "next poll")
    if found.messages:
        rows = [_row(message, now, number) for message in found.messages]
        parts.append(table(_order(query), heads, rows, numbers=(5, 6)))
    else:
        parts.append(tag("p", "No message here." if older else "No message."))
    if older is not None:
        text = "Search older messages" if query.wanted else "More"
        parts.append(tag("p", tag("a", text, href=older, rel="next", class_="more")))
    return tag("div", parts)


def _form(query: ListQuery) -> Html:
    choices = [
        tag("option", name, value=value, selected="" if value == query.state else None) for value, name in _STATES
    ]
    return tag(
        "form",
        tag(
            "label",
            "id, a piece of the userref, or a whole number ",
            tag("input", type="search", name="q", value=query.wanted),
        ),
        tag("label", "state ", tag("select", choices, name="state")),
        tag("button", "Show"),
        action="/messages",
        class_="filter",
    )


def _order(query: ListQuery) -> str:
    if query.state == "pending" and not query.wanted:
        return "What is polled next comes first"
    if query.state == OVERDUE and not query.wanted:
        return "The longest overdue comes first"
    return "The latest end comes first" if query.state == "finished" and not query.wanted else "The highest id first"


def _row(message: Message, now: float, number: Callable[[int], str]) -> tuple[Part, ...]:
    name = standing(message)
    shown = message.recipients
    recipient = who(shown[0], number) if len(shown) == 1 else f"{len(shown):,} recipients" if shown else ""
    return (
        tag("a", message.id, href=f"/messages/{message.id}"),
        tag("span", phrases.label(name), class_=f"badge {_TONES[name]}"),
        recipient,
        shortened(summary(shown)),
        shortened(message.userref or "", 40),
        brief(max(0.0, now - message.sent_at)),
        message.polls,
        next_poll(message, now, brief),
    )
