"""`pollerd plan --replay`: this deployment's own messages, polled once more by other policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
import msgspec

from pollerd.base.errors import PollerdError
from pollerd.base.text import counted, duration
from pollerd.cli.plans.schedule import Yield
from pollerd.cli.terminal import screen

if TYPE_CHECKING:
    from pollerd.cli.plans.replay import Past
    from pollerd.config import Config

MOST_MESSAGES: Final = 3000
"""Messages that are replayed: those that ended last."""
_SEED: Final = 1  # Of the chance in a replay: the same table each time.
_NOTES: Final = {
    "made": "what this deployment really made of them",
    "adaptive": "begins with nothing learned, learns as it goes",
    "exponential": "as configured: factor, min_interval, first_poll_after",
    "exponential_equal": "exponential, set to the same number of polls",
}


class ReplayRow(msgspec.Struct, frozen=True):
    """What one policy costs and yields. `delay` None: not known."""

    policy: str
    polls: float
    delay: float | None


def show(config: Config, *, as_json: bool) -> int:
    """Print the comparison. Raises PollerdError when nothing can be replayed."""
    past, made = _past(config)
    rows = [ReplayRow("made", made, None), *_rows(config, past)]
    if as_json:
        screen.write_json({"messages": len(past), "rows": rows})
        return 0
    click.echo(f"{counted(len(past), 'message')} of this database, polled once more:")
    numbers = ("polls a message", "final state known after")
    table = screen.table("policy", *numbers, "", right=numbers)
    for row in rows:
        delay = "" if row.delay is None else duration(row.delay)
        screen.row(table, row.policy.replace("_", ", "), f"{row.polls:.2f}", delay, _NOTES[row.policy])
    screen.console().print(table)
    click.echo("Limits, holds and messages that have not ended are left out.")
    return 0


def _past(config: Config) -> tuple[list[Past], float]:
    from pollerd.cli.plans.replay import pasts
    from pollerd.core.model import State
    from pollerd.store.engine import engine_of

    with engine_of(config.store).view() as view:
        messages = view.messages(State.FINISHED, MOST_MESSAGES)
    past = pasts(messages)
    if not past:
        raise PollerdError(
            "no message with the times of its final states is in the database yet; try again when some have ended"
        )
    return past, sum(one.polls for one in past) / len(past)


def _rows(config: Config, past: list[Past]) -> list[ReplayRow]:
    from pollerd.backoff import Adaptive, Exponential
    from pollerd.cli.plans.replay import equal, replay
    from pollerd.config.policy import make_settings

    settings = make_settings(config)
    adaptive = replay(Adaptive(settings.polls_per_message, _SEED, settings=settings), past)
    found = [_row("adaptive", adaptive), _row("exponential", replay(Exponential(settings, _SEED), past))]
    rival = equal(past, adaptive.polls, settings, _SEED)
    return found if rival is None else [*found, _row("exponential_equal", rival)]


def _row(policy: str, found: Yield) -> ReplayRow:
    return ReplayRow(policy, round(found.polls, 3), round(found.delay, 3))
