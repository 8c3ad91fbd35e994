"""`pollerd events`: the event log, once or as it grows."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from pollerd.base.text import clock
from pollerd.cli.message_life import event_text
from pollerd.cli.options import config_option, id_value, json_option, load_running
from pollerd.cli.terminal import screen
from pollerd.cli.undelivered import show_undelivered
from pollerd.core import event as kinds
from pollerd.core.ports import Engine, View
from pollerd.store.engine import engine_of

_BATCH: Final = 500  # Events read in one go.
_CHECK_EVERY: Final = 0.2
"""Seconds between two checks for new events."""
_LATEST: Final = 20
"""What a person at a terminal sees who asks for nothing in particular."""


def after_value(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Callback: a sequence number, or -1 for "now"."""
    if value is None:
        return None
    if value == "now":
        return -1
    if value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    raise click.BadParameter(f'{value!r} is no sequence number; give 0 or more, or "now".', context, parameter)


@click.command()
@click.option(
    "--after", callback=after_value, metavar="SEQ", help='Only events with a larger seq; "now": only new ones.'
)
@click.option("--follow", "-f", is_flag=True, help="Wait for more.")
@click.option("--id", "message_id", callback=id_value, metavar="ID", help="Only events of this message.")
@click.option("--type", "kind", type=click.Choice(kinds.TYPES), metavar="TYPE", help="Only events of this type.")
@click.option("--undelivered", is_flag=True, help="Only events that an output could not deliver yet.")
@json_option
@config_option
def events(
    *,
    after: int | None,
    follow: bool,
    message_id: int | None,
    kind: str | None,
    undelivered: bool,
    as_json: bool,
    config_path: Path | None,
) -> int:
    """Print the event log, or follow it.

    NDJSON when standard output is not a terminal, or with --json: all events that are kept, or those after SEQ. At a
    terminal without --after: the latest ones. With --undelivered each event says which output has it still to take (the
    webhook or a database) and where its delivery stands; "parked" are those whose last attempt failed (deliver them
    again: pollerd retry --undelivered).
    """
    config = load_running(config_path)
    for_people = sys.stdout.isatty() and not as_json
    if undelivered:
        if follow or kind is not None:
            raise click.UsageError("--undelivered goes with --after and --id alone.", click.get_current_context())
        show_undelivered(
            engine_of(config.store), after=max(0, after or 0), message_id=message_id, for_people=for_people
        )
        return 0
    wanted = kinds.EventFilter(message_id, kind)
    engine = engine_of(config.store)
    with engine.view() as view:
        start = _start(view, after, wanted, for_people=for_people)
    show = _printer() if for_people else _write
    for batch in _tail(engine, start, wanted, gap_shown=after is None, follow=follow):
        show(batch)
    return 0


def _start(view: View, after: int | None, wanted: kinds.EventFilter, *, for_people: bool) -> int:
    last = view.last_seq
    if after is not None:
        if after > last:
            screen.note(f"the log ends at {last}, before {after}; was the database replaced?")
        return last if after < 0 else after
    if for_people and wanted == kinds.EventFilter() and last > _LATEST:
        screen.note(f"the latest {_LATEST} events; see all with --after 0")
        return last - _LATEST
    return 0


def _tail(
    engine: Engine, start: int, wanted: kinds.EventFilter, *, gap_shown: bool, follow: bool
) -> Iterator[list[kinds.Event]]:
    """Batches of events after `start`, then, with `follow`, what comes: across a restart or a replaced database too."""
    after = start
    while True:
        with engine.view() as view:
            while not view.replaced:
                if view.changed():
                    if not gap_shown and after < (pruned := view.pruned_seq):
                        screen.note(f"the events {after + 1} to {pruned} are not kept any more.")
                    gap_shown = False
                    last = view.last_seq
                    while found := view.events(after, _BATCH, *wanted):
                        if wanted == kinds.EventFilter():
                            _note_left_out(after, found)
                        yield found
                        after = found[-1].seq
                    # What was searched need not be searched again.
                    after = max(after, last)
                if not follow:
                    return
                _pause()


def _note_left_out(after: int, events: list[kinds.Event]) -> None:
    for event in events:
        if after and kinds.left_out(after, event.seq):
            screen.note(
                f"event {after} is followed by {event.seq}: a failover of PostgreSQL may have lost numbers in between; "
                "what had them is reported again."
            )
        after = event.seq


def _pause() -> None:
    """Wait a moment. Raises BrokenPipeError when the reader of our output has gone."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    if any(flags & (select.POLLERR | select.POLLNVAL) for _, flags in watch.poll(_CHECK_EVERY * 1000)):
        raise BrokenPipeError


def _write(batch: list[kinds.Event]) -> None:
    screen.write_lines(event.line for event in batch)


def _printer() -> Callable[[list[kinds.Event]], None]:
    console = screen.console()

    def show(batch: list[kinds.Event]) -> None:
        for event in batch:
            shown = event_text(event)
            line = screen.plain(f"{event.seq:>8} ", "dim")
            line.append_text(screen.plain(f"{clock(shown.at)} ", "dim"))
            if event.message_id is not None:
                line.append_text(screen.plain(f"{event.message_id} ", "bold"))
            console.print(line.append_text(shown.text), soft_wrap=True)

    return show
