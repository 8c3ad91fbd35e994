"""An event in words."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pollerd import errorcodes, events
from pollerd.terminal import screen
from pollerd.terminal.text import counted

if TYPE_CHECKING:
    from rich.text import Text

_body = msgspec.json.Decoder(events.Body)


class Story(NamedTuple):
    """When an event was observed (UNIX seconds) and what it says."""

    at: float
    text: Text


def story(event: events.Event) -> Story:
    """The event for people. A type from a newer version is shown as it is."""
    try:
        body = _body.decode(event.body)
    except msgspec.ValidationError:
        return Story(0.0, screen.plain(event.body.decode("utf-8", "replace")))
    return Story(datetime.fromisoformat(body.observed_at).timestamp(), _words(body))


def _words(body: events.Body) -> Text:
    match body:
        case events.Status():
            return _status(body)
        case events.Completed():
            counts = ", ".join(f"{count} {status}" for status, count in body.counts.items())
            return screen.plain("complete", "bold").append_text(
                screen.plain(f": {counts}, {counted(body.polls, 'poll')}"),
            )
        case events.GaveUp():
            left = f"{counted(body.pending, 'recipient')} without a final state" if body.pending else "never seen"
            return screen.plain(f"gave up: {body.reason}, {left}", "red")
        case events.Held():
            until = f", until {body.until}" if body.until else ""
            return screen.plain(f"account {body.account} on hold: {body.reason} ({body.detail}){until}", "red")
        case events.Recovered():
            return screen.plain(f"account {body.account} goes on after: {body.reason}", "green")
        case events.CreditLow():
            return screen.plain(f"account {body.account} is low on credit: {body.credit:.2f} {body.currency}", "red")
        case events.CreditOk():
            return screen.plain(f"account {body.account} has credit again: {body.credit:.2f} {body.currency}", "green")


def _status(body: events.Status) -> Text:
    text = screen.plain(f"{body.msisdn} ")
    if body.previous is not None:
        text.append_text(screen.plain(f"{body.previous} → ", "dim"))
    text.append_text(screen.state(body.status))
    error = errorcodes.words(body.code) or body.error
    if body.code or error:
        text.append_text(screen.plain(" " + ": ".join(part for part in (body.code, error) if part), "yellow"))
    return text
