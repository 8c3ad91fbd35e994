"""`pollerd status`: the whole daemon at one look."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from pollerd.cli.options import config_option, json_option, load_config
from pollerd.cli.terminal import screen
from pollerd.client.remote import fetch_status
from pollerd.status import sentences
from pollerd.status.document import AccountDocument, OutputDocument
from pollerd.status.look import Look
from pollerd.status.message import moment

if TYPE_CHECKING:
    from types import FrameType

    from pollerd.config import Config

_EVERY: Final = 1.0


@click.command()
@click.option("--watch", is_flag=True, help="Keep it live, until Ctrl-C or q.")
@json_option
@config_option
def status(*, watch: bool, as_json: bool, config_path: Path | None) -> int:
    """Look at the whole daemon at once: what is pending and how old, what is late and why, when the backlog is gone,
    accounts and holds, outputs, and how messages fare by country.

    Due, late and not yet planned messages are counted up to 100,000. With so many not planned, the number of pending
    messages is the least there can be; in JSON "not_planned" is 100000 then.

    Exit code 69 when there is no database yet.
    """
    config = load_config(config_path)
    if watch:
        _watch(config, as_json=as_json)
        return 0
    look = _look(config, None)
    if as_json:
        screen.write_json(document(look, config))
    else:
        from pollerd.cli.dashboard import picture

        console = screen.console()
        console.print(picture(look, console.width))
    return 0


def _look(config: Config, before: Look | None) -> Look:
    now = time.time()
    live = fetch_status(config.control.socket)
    if live is not None:
        return Look(now, live, running=True, rate=sum(account.polls_per_second_10s for account in live.accounts))
    from pollerd.status import offline

    found = offline.look(config, now)
    rate = None
    if before is not None and now > before.now:
        rate = max(0, found.polls - before.document.polls) / (now - before.now)
    return Look(now, found, running=found.healthy, rate=rate)


def _watch(config: Config, *, as_json: bool) -> None:
    from pollerd.cli.dashboard import picture

    look = _look(config, None)
    if as_json or not (sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty()):
        while True:
            if as_json:
                screen.write_json(document(look, config))
            else:
                console = screen.console()
                console.print(picture(look, console.width))
            time.sleep(_EVERY)
            look = _look(config, look)
    from rich.live import Live

    console = screen.console()
    with (
        _interrupts() as interrupted,
        _keys(),
        Live(picture(look, console.width, console.height), console=console, screen=True, auto_refresh=False) as live,
    ):
        while not _quit_pressed(_EVERY, interrupted):
            look = _look(config, look)
            live.update(picture(look, console.width, console.height), refresh=True)


@contextmanager
def _interrupts() -> Iterator[int]:
    """A file descriptor that gets readable at Ctrl-C; a second Ctrl-C ends the process as usual.

    As an exception it could come while the terminal is being switched over, and leave it so.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def noted(_signal: int, _frame: FrameType | None) -> None:
        os.write(writing, b"!")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, noted)
    try:
        yield reading
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(reading)
        os.close(writing)


@contextmanager
def _keys() -> Iterator[None]:
    """Keys come at once and unseen inside the block."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quit_pressed(seconds: float, interrupted: int) -> bool:
    """Whether `q` or Ctrl-C is pressed within that time."""
    deadline = time.monotonic() + seconds
    while (rest := deadline - time.monotonic()) > 0:
        ready = select.select([sys.stdin, interrupted], [], [], rest)[0]
        if interrupted in ready:
            return True
        if not ready:
            return False
        keys = os.read(sys.stdin.fileno(), 64)
        if not keys or b"q" in keys.lower():
            return True
    return False


def document(look: Look, config: Config) -> dict[str, object]:
    """The look for programs. Instants are RFC 3339.

    Counts of due, late and not yet planned messages stop at 100,000; then `pending` is the least there can be.
    """
    seen = look.document
    return {
        "time": moment(look.now),
        "daemon": {"running": look.running, "pid": seen.pid or None},
        "messages": {
            "pending": seen.messages.pending + seen.messages.new,
            "not_planned": seen.messages.new,
            "finished": seen.messages.finished,
            "gave_up": seen.messages.gave_up,
            "overdue": seen.messages.overdue,
            "set_aside": seen.messages.set_aside,
            "oldest_pending_sent_at": seen.oldest_pending_sent_at,
            "by_age": msgspec.to_builtins(seen.ages),
        },
        "polls": {"total": seen.polls, "per_second": look.rate},
        "late": [sentence.text for sentence in sentences.late(seen, look.now)],
        "accounts": [_account_document(account, config, look.now) for account in seen.accounts],
        "outputs": [_output_document(output, look.now) for output in seen.outputs],
        "sources": msgspec.to_builtins(seen.sources),
        "undelivered": msgspec.to_builtins(seen.undelivered),
        "events": {"last_seq": seen.database.last_seq, "pruned_seq": seen.database.pruned_seq},
        "requests_waiting": seen.requests_waiting,
        "database": {"path": seen.database.path, "bytes": seen.database.size, "trouble": seen.database.trouble},
        "delivery": msgspec.to_builtins(seen.delivery),
        "backoff": msgspec.to_builtins(seen.backoff),
        "log": msgspec.to_builtins(seen.log),
    }


def _account_document(account: AccountDocument, config: Config, now: float) -> dict[str, object]:
    found = account.forecast
    return {
        "name": account.name,
        "configured": account.name in config.accounts,
        "due": account.due,
        "late": account.late,
        "next_poll_at": account.next_poll_at,
        "hold": msgspec.to_builtins(account.hold),
        "advice": sentences.advice(account),
        "rate": account.rate,
        "rate_limit": account.rate_limit,
        "connections_kept": account.connections_kept,
        "repeated_requests": account.repeated_requests,
        "forecast": None
        if found is None
        else {**msgspec.to_builtins(found), "text": sentences.outlook(found, now).text},
        "credit": account.credit,
        "currency": account.currency,
        "credit_low": account.credit_low,
    }


def _output_document(output: OutputDocument, now: float) -> dict[str, object]:
    since = sentences.at(output.behind_since)
    behind = None if since is None else max(0.0, now - since)
    return {
        "name": output.name,
        "seq": output.seq,
        "lag": output.lag,
        "lag_seconds": behind,
        "readers": output.readers,
        "trouble": output.trouble,
        "waiting": output.waiting,
        "parked": output.parked,
    }
