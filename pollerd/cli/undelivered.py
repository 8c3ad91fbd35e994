"""`pollerd events --undelivered` and `pollerd retry --undelivered`: events that outputs could not deliver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from pollerd.base.errors import StoreForbiddenError
from pollerd.base.text import ago, counted, shortened
from pollerd.cli.owner import through_daemon
from pollerd.cli.terminal import screen
from pollerd.core.event import Event, instant
from pollerd.core.ports import Delivery, DeliveryState, Engine
from pollerd.store.engine import engine_of

if TYPE_CHECKING:
    from pollerd.config import Config

_BATCH: Final = 500  # Events read in one go.
_LAST: Final = "\U0010ffff"
"""Comes after the name of every output."""


def show_undelivered(engine: Engine, *, after: int, message_id: int | None, for_people: bool) -> None:
    """Print the events with `seq > after` that wait for another attempt or are parked."""
    found = (d for d in _all(engine, after) if message_id is None or d.message_id == message_id)
    if not for_people:
        for delivery in found:
            screen.write_lines([document(delivery)])
        return
    made = screen.table(
        "seq", "message", "event", "output", "attempts", "next", "last attempt", right=("seq", "attempts")
    )
    rows = 0
    for delivery in found:
        rows += 1
        screen.row(
            made,
            delivery.seq,
            delivery.message_id if delivery.message_id > 0 else "",
            _what(delivery),
            shortened(delivery.output, 40),
            delivery.attempts,
            _next(delivery, time.time()),
            shortened(delivery.error, 80),
        )
    if not rows:
        click.echo("Every event was taken, or has still to be delivered for the first time.")
        return
    screen.console().print(made)


def document(delivery: Delivery) -> bytes:
    """The event's line, with the output that it is for and where its delivery stands under `delivery`."""
    event = msgspec.json.decode(Event(delivery.seq, delivery.type, None, delivery.body).line)
    event["output"] = delivery.output
    event["delivery"] = {
        "state": delivery.state.name.lower(),
        "attempts": delivery.attempts,
        "next_at": None if delivery.next_at is None else instant(delivery.next_at),
        "error": delivery.error or None,
    }
    return msgspec.json.encode(event) + b"\n"


def retry_undelivered(config: Config, *, as_json: bool) -> int:
    """Take up again what was parked; the exit code."""
    try:
        nothing = config.store.url is None and _missing(config.store.path)
        taken_up = 0 if nothing else _retry(config)
    except StoreForbiddenError as error:
        taken_up = through_daemon(config, error, lambda remote: remote.retry_undelivered())
    databases = bool(config.outputs.sqlite or config.outputs.sql)
    if as_json:
        screen.write_json({"taken_up": taken_up})
    elif taken_up:
        again = "tried" if databases else "posted"
        click.echo(f"{counted(taken_up, 'event is', 'events are')} {again} again while the daemon runs.")
    else:
        click.echo("No event is parked." if databases else "No event was given up by the webhook.")
    if taken_up and config.outputs.webhook is None and not databases:
        screen.note("the configuration has no [outputs.webhook]; they wait until it has.")
    return 0


def _retry(config: Config) -> int:
    with engine_of(config.store).handover() as handover:
        return handover.retry_parked()


def _missing(path: Path) -> bool:
    """Whether there is certainly no file; a folder that may not be read proves nothing."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _all(engine: Engine, after: int) -> Iterator[Delivery]:
    # The same event may be kept for several outputs.
    output = _LAST
    with engine.view() as view:
        while batch := view.undelivered(after, output, _BATCH):
            yield from batch
            after, output = batch[-1].seq, batch[-1].output


def _what(delivery: Delivery) -> str:
    event = msgspec.json.decode(delivery.body)
    return str(event.get("status", delivery.type))


def _next(delivery: Delivery, now: float) -> str:
    if delivery.state is DeliveryState.PARKED:
        return "parked"
    if delivery.next_at is None:
        return "after the one before"
    return ago(delivery.next_at, now) if delivery.next_at > now else "now"
