"""`pollerd track`: start to follow messages."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pollerd.base.service import start_command
from pollerd.base.text import counted, quoted, shortened
from pollerd.cli.options import IDS_MAY_BE_NEGATIVE, config_option, json_option, load_running, refuse_options
from pollerd.cli.terminal import screen
from pollerd.cli.wait import wait_for, wait_options
from pollerd.core import instants, particulars
from pollerd.core.ids import IdError, parse_id
from pollerd.core.model import Priority
from pollerd.intake.stream import BLOCK, Chunk, IdStream, Refusal

if TYPE_CHECKING:
    from pollerd.config import Config
    from pollerd.core.ports import TrackResult

NAMED: Final = 20
"""Refused ids listed one by one; the rest is counted."""
_EMPTY: Final = (
    "Standard input held no id, so none was handed over from it; give one a line, or the send call's answer."
)


def instant_value(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Callback of an option whose value is UNIX seconds or RFC 3339."""
    try:
        return None if value is None else instants.instant(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", context, parameter) from None


def priority_value(context: click.Context, parameter: click.Parameter, value: str | None) -> Priority | None:
    """Callback of an option whose value is a priority by its name."""
    try:
        return None if value is None else particulars.priority(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", context, parameter) from None


def overdue_value(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Callback of an option whose value is `overdue_after`: seconds, or a duration with its unit."""
    try:
        return None if value is None else particulars.overdue_after(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", context, parameter) from None


class TrackReport:
    """What became of everything that was handed over."""

    def __init__(self) -> None:
        self.tracked = 0
        self.followed = 0
        self.gave_up = 0
        self.refused = 0
        self.refusals: list[Refusal] = []
        self._last: int | None = None

    def take(self, ids: Sequence[int], done: TrackResult) -> None:
        self.refuse([Refusal(None, str(other.id), other.reason) for other in done.refused])
        self.tracked += done.new
        self.followed += done.known
        self.gave_up += done.gave_up
        self._last = ids[-1] if ids else self._last

    def refuse(self, refusals: list[Refusal]) -> None:
        self.refused += len(refusals)
        self.refusals += refusals[: NAMED - len(self.refusals)]

    def document(self) -> dict[str, object]:
        refusals = [{"line": item.line, "text": item.text, "reason": item.reason} for item in self.refusals]
        return {
            "tracked": self.tracked,
            "already_followed": self.followed,
            "of_those_given_up": self.gave_up,
            "refused": self.refused,
            "refusals": refusals,
        }

    def sentence(self) -> str:
        parts = [f"tracked {self.tracked:,}"]
        if self.followed:
            parts.append(f"already followed {self.followed:,}")
        if self.refused:
            parts.append(f"refused {self.refused:,}")
        return ", ".join(parts) + "."

    def advice(self) -> str:
        """What to do about those that had been given up: which ones they are is known of a single id alone."""
        if self.tracked + self.followed == 1:
            return f"It had been given up; take it up again with: pollerd retry {self._last}"
        were = "one had" if self.gave_up == 1 else f"{self.gave_up:,} had"
        return f"Of those already followed {were} been given up; take up all that was with: pollerd retry --all"


@click.command(context_settings=IDS_MAY_BE_NEGATIVE)
@click.argument("ids", nargs=-1, required=True, metavar="ID... | -", type=click.UNPROCESSED)
@click.option("--account", help="The account that sent them.  [default: default, or the only one]")
@click.option("--userref", help="Your own reference, given back with every event.")
@click.option("--sent-at", callback=instant_value, metavar="TIME", help="When they were sent.  [default: now]")
@click.option(
    "--sendtime",
    callback=instant_value,
    metavar="TIME",
    help="When they are to be sent, as in the send call.  [default: at once]",
)
@click.option(
    "--priority",
    callback=priority_value,
    metavar="|".join(Priority.__members__),
    help="As in the send call: the more urgent are polled first.  [default: as the gateway says]",
)
@click.option(
    "--overdue-after",
    callback=overdue_value,
    metavar="DURATION",
    help="Report message.overdue if no final state is known so long after sending; 0: never.  [default: the account's]",
)
@click.option(
    "--wait", "wait_", is_flag=True, help="Wait for the final states, as `pollerd wait` does; its exit codes."
)
@wait_options
@json_option
@config_option
def track(
    *,
    ids: tuple[str, ...],
    account: str | None,
    userref: str | None,
    sent_at: float | None,
    sendtime: float | None,
    priority: Priority | None,
    overdue_after: float | None,
    wait_: bool,
    timeout: float,
    accepted: bool,
    as_json: bool,
    config_path: Path | None,
) -> int:
    """Start to follow messages.

    \b
    pollerd track 421332671 --sendtime 2026-11-24T08:00:00+01:00
    curl -s https://gatewayapi.com/rest/mtsms ... | pollerd track -
    curl -s https://gatewayapi.com/rest/mtsms ... | pollerd track - --wait && echo "delivered"

    Give --sendtime for what the send call is to send later: the gateway does not know such a message before, and
    it is asked about from then on. An alarm that somebody must answer: --priority URGENT --overdue-after 5m.

    IDs are the numbers that the send call answered. "-" reads them from standard input: one a line (blank lines and
    lines with # are skipped), or the send call's own JSON answers, {"ids": [...]}. An id that is followed already is
    no error; one that cannot be an id, or is followed for another account, is refused by name while the rest is taken,
    and the exit code is 1. Exit code 2 when "-" is all that is given and no id comes.

    A user who may not write the database hands them to the daemon, through its control socket. Messages that people
    send to you (MO) need no hand-over: see [accounts.NAME.incoming].
    """
    refuse_options(ids)
    if not wait_ and (spare := [name for name in ("timeout", "accepted") if _is_given(name)]):
        raise click.UsageError(f"--{spare[0]} goes with --wait.")
    config = load_running(config_path)
    account = _account(account, tuple(config.accounts))
    if userref is not None and not _storable(userref):
        raise click.BadParameter("it is not UTF-8 text.", param_hint="--userref")
    known = particulars.Particulars(
        userref=userref or None,
        sent_at=sent_at,
        sendtime=sendtime,
        priority=priority,
        overdue_after=overdue_after,
    )
    report = TrackReport()
    from pollerd.cli.owner import Tracker

    waited: dict[int, None] = {}
    with Tracker(config) as tracker:
        for chunk in _chunks(ids):
            if wait_:
                waited.update(dict.fromkeys(chunk.ids))
            done = tracker.track(chunk.ids, account, known)
            report.take(chunk.ids, done)
            report.refuse(chunk.refused)
    if wait_ and as_json:
        # Standard output is for the messages alone, each a document of one shape.
        _name_refusals(report)
    else:
        _tell(report, as_json=as_json)
    if report.tracked and not as_json and not tracker.by_daemon:
        _tell_if_nobody_polls(config)
    if waited:
        from pollerd.client.source import Location
        from pollerd.store.engine import engine_of

        location = Location(engine_of(config.store), config.control.socket, tuple(config.accounts))
        code = wait_for(location, list(waited), timeout, accepted=accepted, as_json=as_json)
        return code if not report.refused else 1
    return 1 if report.refused else 0


def _account(name: str | None, known: tuple[str, ...]) -> str:
    if name is None:
        return known[0] if len(known) == 1 else "default"
    if name in known:
        return name
    raise click.BadParameter(
        f"there is no account {name!r} in the configuration; there is {', '.join(known)}.",
        param_hint="--account",
    )


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _storable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _chunks(arguments: tuple[str, ...]) -> Iterator[Chunk]:
    given = Chunk([], [])
    for argument in arguments:
        if argument == "-":
            continue
        text = os.fsencode(argument).decode("utf-8", "replace")
        try:
            given.ids.append(parse_id(text))
        except IdError as error:
            given.refused.append(Refusal(None, quoted(shortened(text, 40)), str(error)))
    yield given
    if "-" in arguments:
        if sys.stdin is None:
            raise click.UsageError("Standard input is closed; give ids as arguments or through a pipe.")
        if sys.stdin.isatty():
            screen.note("reading ids from the terminal, one a line; end with Ctrl-D.")
        found = False
        for chunk in IdStream(_reader()).chunks():
            found = found or bool(chunk.ids or chunk.refused)
            yield chunk
        if found:
            return
        if len(arguments) == arguments.count("-"):
            raise click.UsageError(_EMPTY)
        screen.note(_EMPTY)


def _reader() -> Callable[[], bytes]:
    """Blocks as large as what is there by now: a file comes in large ones, a trickle is handed over at once."""
    source = sys.stdin.fileno()

    def read() -> bytes:
        block = os.read(source, BLOCK)
        while block and len(block) < BLOCK and select.select([source], [], [], 0)[0]:
            more = os.read(source, BLOCK - len(block))
            if not more:
                break
            block += more
        return block

    return read


def _tell(report: TrackReport, *, as_json: bool) -> None:
    if as_json:
        screen.write_json(report.document())
        return
    _name_refusals(report)
    click.echo(report.sentence())
    if report.gave_up:
        click.echo(report.advice())


def _name_refusals(report: TrackReport) -> None:
    for refusal in report.refusals:
        screen.note(str(refusal))
    if report.refused > len(report.refusals):
        screen.note(f"and {counted(report.refused - len(report.refusals), 'more refusal')}.")


def _tell_if_nobody_polls(config: Config) -> None:
    from pollerd.store.engine import engine_of

    if engine_of(config.store).owner() is None:
        click.echo(f"No daemon runs on this database; polling starts with: {start_command()}")
