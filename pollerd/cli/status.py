"""`pollerd status`: the state of the whole daemon."""

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

from pollerd.base.errors import UnavailableError
from pollerd.cli.options import config_option, json_option, load_running
from pollerd.cli.terminal import screen
from pollerd.client.live import fetch_status

if TYPE_CHECKING:
    from types import FrameType

    from pollerd.config import Config
    from pollerd.status.document import StatusDocument

_EVERY: Final = 1.0
"""Seconds from one picture of `--watch` to the next."""
_LEAVE: Final = "q or Ctrl-C leaves"


@click.command()
@click.option("--watch", is_flag=True, help="Keep it live, until Ctrl-C or q.")
@json_option
@config_option
def status(*, watch: bool, as_json: bool, config_path: Path | None) -> int:
    """Show the state of the whole daemon: what is pending and how old, what is late and why, when the backlog is gone,
    accounts and holds, outputs, and how messages fare by country.

    With --json it is the document of GET /status. Due, late and not yet planned messages are counted up to 100,000.
    With so many not planned, the number of pending messages is the least there can be; in JSON "not_planned" is 100000
    then.

    Exit code 69 when no daemon runs, with what the database says all the same, and when there is no database yet.
    """
    config = load_running(config_path)
    if watch:
        _watch(config, as_json=as_json)
        return 0
    document = _document(config, None)
    _print(document, as_json=as_json)
    return 0 if document.daemon.running else UnavailableError.exit_code


def _document(config: Config, before: StatusDocument | None) -> StatusDocument:
    """The daemon's own document, else the database's; the latter measures polls a second since the one `before`."""
    live = fetch_status(config.control.socket)
    if live is not None:
        return live
    from pollerd.status import builder

    found = builder.from_database(config, time.time())
    if before is None or found.now <= before.now:
        return found
    rate = max(0, found.polls.total - before.polls.total) / (found.now - before.now)
    return msgspec.structs.replace(found, polls=msgspec.structs.replace(found.polls, per_second=rate))


def _print(document: StatusDocument, *, as_json: bool) -> None:
    if as_json:
        screen.write_json(document)
        return
    from pollerd.cli.dashboard import picture

    console = screen.console()
    console.print(picture(document, console.width))


def _watch(config: Config, *, as_json: bool) -> None:
    document = _document(config, None)
    if as_json or not (sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty()):
        while True:
            _print(document, as_json=as_json)
            time.sleep(_EVERY)
            document = _document(config, document)
    from rich.live import Live

    from pollerd.cli.dashboard import picture

    console = screen.console()
    shown = picture(document, console.width, console.height, _LEAVE)
    with (
        _interrupts() as interrupted,
        _keys(),
        Live(shown, console=console, screen=True, auto_refresh=False) as live,
    ):
        while not _quit_pressed(_EVERY, interrupted):
            document = _document(config, document)
            live.update(picture(document, console.width, console.height, _LEAVE), refresh=True)


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
