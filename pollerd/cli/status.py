"""`pollerd status`: the whole daemon at one look."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from pollerd.terminal import screen
from pollerd.cli.options import config_option, json_option, load_config
from pollerd.terminal.text import ago, counted, duration, shortened, size
from pollerd.documents import moment
from pollerd.store.view import CAP, AccountView, OutputView, Overview, View

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from pollerd.config import Config

_EVERY: Final = 1.0


class Look(NamedTuple):
    """One look at the daemon: at `now` (UNIX seconds); `rate` is polls a second since the look before, if any."""

    now: float
    overview: Overview
    rate: float | None


@click.command()
@click.option("--watch", is_flag=True, help="Keep it live, until Ctrl-C.")
@json_option
@config_option
def status(*, watch: bool, as_json: bool, config_path: Path | None) -> int:
    """Look at the whole daemon at once: messages, polls, accounts, outputs.

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
        screen.console().print(picture(look, config))
    return 0


def _look(config: Config, before: Look | None) -> Look:
    with View.open(config.store.path) as view:
        now = time.time()
        overview = view.overview(now)
    rate = None
    if before is not None and now > before.now:
        rate = max(0, overview.polls - before.overview.polls) / (now - before.now)
    return Look(now, overview, rate)


def _watch(config: Config, *, as_json: bool) -> None:
    look = _look(config, None)
    if as_json or not sys.stdout.isatty():
        while True:
            if as_json:
                screen.write_json(document(look, config))
            else:
                screen.console().print(picture(look, config))
            time.sleep(_EVERY)
            look = _look(config, look)
    from rich.live import Live

    with Live(picture(look, config), console=screen.console(), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(_EVERY)
            look = _look(config, look)
            live.update(picture(look, config), refresh=True)


def document(look: Look, config: Config) -> dict[str, object]:
    """The look for programs. Instants are RFC 3339; counts of due, late and new messages stop at 100,000."""
    seen = look.overview
    return {
        "time": moment(look.now),
        "daemon": {"running": seen.daemon is not None, "pid": seen.daemon or None},
        "messages": {
            "pending": seen.pending + seen.new,
            "not_planned": seen.new,
            "finished": seen.finished,
            "gave_up": seen.gave_up,
            "oldest_pending_sent_at": moment(seen.oldest_sent_at),
        },
        "polls": {"total": seen.polls, "per_second": look.rate},
        "accounts": [_account_document(account, config) for account in _accounts(seen, config)],
        "outputs": [_output_document(output, look.now) for output in seen.outputs],
        "events": {"last_seq": seen.last_seq, "pruned_seq": seen.pruned_seq},
        "requests_waiting": seen.requests,
        "database": {"path": str(config.store.path), "bytes": seen.size},
    }


def _account_document(account: AccountView, config: Config) -> dict[str, object]:
    hold = {
        "reason": account.held_reason,
        "detail": account.held_detail,
        "since": moment(account.held_since),
        "until": moment(account.held_until),
    }
    return {
        "name": account.name,
        "configured": account.name in config.accounts,
        "due": account.due,
        "late": account.late,
        "next_poll_at": moment(account.next_poll_at),
        "hold": hold if account.held_reason else None,
        "credit": account.credit,
        "currency": account.currency,
        "credit_low": account.credit_low,
    }


def _output_document(output: OutputView, now: float) -> dict[str, object]:
    behind = None if output.behind_since is None else max(0.0, now - output.behind_since)
    return {"name": output.name, "seq": output.seq, "lag": output.lag, "lag_seconds": behind}


def _accounts(seen: Overview, config: Config) -> list[AccountView]:
    known = {account.name: account for account in seen.accounts}
    names = [*config.accounts, *sorted(known.keys() - config.accounts.keys())]
    return [known.get(name) or AccountView(name) for name in names]


def picture(look: Look, config: Config) -> RenderableType:
    """The look for people."""
    from rich.console import Group

    parts: list[RenderableType] = [_headline(look, config), screen.plain("")]
    parts += [_messages(look), screen.plain(""), _accounts_table(look, config)]
    if look.overview.outputs:
        parts += [screen.plain(""), _outputs_table(look)]
    return Group(*parts)


def _headline(look: Look, config: Config) -> Text:
    seen = look.overview
    if seen.daemon is None:
        line = screen.plain("The daemon does not run", "bold red").append(" (start it with: pollerd run)")
    else:
        line = screen.plain("The daemon runs", "bold green")
        if seen.daemon:
            line.append(f" (process {seen.daemon})")
    where = f"{config.store.path}, {size(seen.size)}, {counted(seen.last_seq, 'event')}"
    return line.append("\n").append_text(screen.plain(where, "dim"))


def _messages(look: Look) -> RenderableType:
    seen = look.overview
    made = screen.table("messages", "number", "", right=("number",))
    waiting = f"{_capped(seen.new)} not planned yet" if seen.new else ""
    if seen.oldest_sent_at is not None:
        waiting = ", ".join(part for part in (waiting, f"the oldest sent {ago(seen.oldest_sent_at, look.now)}") if part)
    screen.row(made, screen.state("pending"), f"{seen.pending + seen.new:,}", waiting)
    screen.row(made, screen.state("finished"), f"{seen.finished:,}", "")
    again = "take up again with: pollerd retry --all" if seen.gave_up else ""
    screen.row(made, screen.state("gave_up"), f"{seen.gave_up:,}", again)
    ended = seen.finished + seen.gave_up
    share = f"{seen.polls / (ended + seen.pending):.1f} a message" if ended + seen.pending else ""
    if look.rate is not None:
        share = ", ".join(part for part in (f"{look.rate:.1f} a second", share) if part)
    screen.row(made, "polls", f"{seen.polls:,}", share)
    return made


def _accounts_table(look: Look, config: Config) -> RenderableType:
    made = screen.table("account", "polling", "due", "late", "next poll", "credit", right=("due", "late", "credit"))
    for account in _accounts(look.overview, config):
        screen.row(
            made,
            shortened(account.name, 40),
            _polling(account, look, config),
            _capped(account.due),
            screen.plain(_capped(account.late), "yellow" if account.late else ""),
            "" if account.next_poll_at is None else _next(account.next_poll_at, look.now),
            _credit(account),
        )
    return made


def _polling(account: AccountView, look: Look, config: Config) -> Text:
    if account.name not in config.accounts:
        return screen.plain("not in the configuration: its messages wait", "red")
    if account.held_reason is None:
        return screen.plain("goes on" if look.overview.daemon is not None else "stopped")
    since = "" if account.held_since is None else f" for {duration(look.now - account.held_since)}"
    until = "" if account.held_until is None else f", tried again {ago(account.held_until, look.now)}"
    detail = f" ({shortened(account.held_detail, 80)})" if account.held_detail else ""
    return screen.plain(f"on hold{since}: {account.held_reason}{detail}{until}", "red")


def _credit(account: AccountView) -> Text:
    if account.credit is None:
        return screen.plain("")
    text = f"{account.credit:,.2f} {account.currency or ''}".strip()
    return screen.plain(text, "red" if account.credit_low else "")


def _next(when: float, now: float) -> str:
    return "now" if when <= now else ago(when, now)


def _outputs_table(look: Look) -> RenderableType:
    made = screen.table("output", "told up to", "behind", right=("told up to",))
    for output in look.overview.outputs:
        behind = screen.plain("nothing", "green")
        if output.lag:
            waited = "" if output.behind_since is None else f", for {duration(look.now - output.behind_since)}"
            behind = screen.plain(f"{counted(output.lag, 'event')}{waited}", "yellow")
        screen.row(made, output.name, f"{output.seq:,}", behind)
    return made


def _capped(count: int) -> str:
    return f"over {CAP:,}" if count >= CAP else f"{count:,}"
