"""How many messages the configured limits carry: what `plan --per-day` and `check` say beforehand."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final

import click

from pollerd.cli.terminal import screen
from pollerd.status.forecast import HEADROOM

if TYPE_CHECKING:
    from pollerd.config import Config

DAY: Final = 86400.0
"""Seconds."""
WORKING_HOURS: Final = 10.0
"""Most senders do not send at night: their messages come within so many hours."""


def line(config: Config) -> str:
    """One line about each account's limit, for `check`."""
    polls = config.backoff.polls_per_message
    parts = []
    for name, account in config.accounts.items():
        rate = account.limits.requests_per_second
        day, hours = _messages(rate, polls, DAY), _messages(rate, polls, WORKING_HOURS * 3600.0)
        parts.append(
            f"{name}: {rate:g} requests a second carry about {day:,} messages a day spread evenly, {hours:,} within "
            f"{WORKING_HOURS:g} hours ({polls:g} polls each)"
        )
    return "; ".join(parts)


def show(config: Config, per_day: int, *, as_json: bool) -> int:
    """What `per_day` messages ask of every account's limit."""
    from pollerd.backoff import wanted_polls
    from pollerd.config.policy import make_settings

    polls = wanted_polls(make_settings(config), per_day / DAY)
    limits = {name: account.limits.requests_per_second for name, account in config.accounts.items()}
    found = [_account(name, rate, polls, per_day) for name, rate in limits.items()]
    if as_json:
        screen.write_json({"per_day": per_day, "polls": polls, "accounts": found})
        return 0
    click.echo(f"{per_day:,} messages a day at {polls:.1f} polls each are {per_day * polls:,.0f} polls a day.")
    for row in found:
        click.echo(_words(row))
    return 0


def _account(name: str, rate: float, polls: float, per_day: int) -> dict[str, Any]:
    spans = {"day": DAY, "ten_hours": WORKING_HOURS * 3600.0}
    needed = {span: per_day * polls / seconds for span, seconds in spans.items()}
    return {
        "account": name,
        "requests_per_second": rate,
        "needed": needed,
        "carried": {span: _messages(rate, polls, seconds) for span, seconds in spans.items()},
        "enough": {span: rate >= value for span, value in needed.items()},
        "recommended": float(max(1, ceil(needed["ten_hours"] * HEADROOM))),
    }


def _words(row: dict[str, Any]) -> str:
    needed, name = row["needed"], row["account"]
    text = (
        f"Account {name}: that takes {needed['day']:.1f} requests a second if they come evenly over the day, "
        f"{needed['ten_hours']:.1f} if they come within {WORKING_HOURS:g} hours. "
    )
    limit = f"requests_per_second = {row['requests_per_second']:g}"
    if row["enough"]["ten_hours"]:
        return f"{text}{limit} is enough."
    when = "within ten hours" if row["enough"]["day"] else "even if they come evenly"
    return f"{text}{limit} is not enough {when}: raise it to {row['recommended']:g}, or polls come late."


def _messages(rate: float, polls: float, seconds: float) -> int:
    """How many messages may come in so many seconds, rounded down to what is worth saying."""
    number = int(rate * seconds / polls)
    step = int(10 ** max(len(str(number)) - 2, 0))
    return number - number % step
