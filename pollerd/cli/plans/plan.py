"""`pollerd plan`: the backoff explained, with what this database has learned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec.structs import asdict

from pollerd.base.errors import DatabaseMissingError
from pollerd.base.text import counted, duration
from pollerd.cli import capacity
from pollerd.cli.options import config_option, counting_number, json_option, load_config
from pollerd.cli.plans import schedule
from pollerd.cli.terminal import screen
from pollerd.cli.terminal.plot import Axis, area, marks
from pollerd.store.engine import engine_of

if TYPE_CHECKING:
    from rich.console import Console

    from pollerd.backoff import Plan, PlanRow, Policy
    from pollerd.config import Config

_NETWORK: Final = re.compile(r"[0-9]{3}/[0-9]{1,3}")
EVERY: Final = "*"
"""What `--forget` means without a value."""
_ROWS: Final = 12  # Rows of the plan at most.
_LEAST_ROWS: Final = 4  # Rows of it at least, however low the terminal.
_FIXED: Final = 22
"""Lines that are not rows of tables."""
_HEIGHT: Final = 6  # Lines, and
_WIDTH: Final = 66  # columns of the plot.
_LEFT_AT: Final = (10.0, 60.0, 600.0, 3600.0, 86400.0)
"""Seconds of age for which it is said how many of several recipients are left."""
_EDGE: Final = 6  # Columns of its axis.
_KEYS: Final = 8  # Networks listed at most.
_MOST_RECIPIENTS: Final = 10_000
"""Of one message. Source: the vendor's documentation of the sending call."""
_LATEST: Final = 0.999
"""The axis ends where this share of those that ever will have reached a final state."""


def age_value(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Callback: a duration as the configuration writes them, or seconds."""
    if value is None:
        return None
    from pollerd.base.duration import parse_duration

    try:
        return parse_duration(value if value[-1:].isalpha() else f"{value}s")
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}.", context, parameter) from None


def recipients_value(context: click.Context, parameter: click.Parameter, value: int) -> int:
    """Callback: how many recipients a message may have."""
    counting_number(context, parameter, value)
    if value > _MOST_RECIPIENTS:
        text = f"{value} is too many; a message has {_MOST_RECIPIENTS:,} recipients at most."
        raise click.BadParameter(text, context, parameter)
    return value


def country_value(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Callback of an option whose value is a country's two letters (ISO 3166)."""
    if value is None or (len(value) == 2 and value.isascii() and value.isalpha()):
        return value and value.upper()
    raise click.BadParameter(f"{value!r} is no country; give its two letters, such as DK.", context, parameter)


def network_value(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Callback of an option whose value is a network's country code and its own."""
    if value is None or _NETWORK.fullmatch(value):
        return value
    right = "give its MCC and MNC in digits, such as 238/01"
    raise click.BadParameter(f"{value!r} is no network; {right}.", context, parameter)


@click.command()
@click.option("--age", callback=age_value, metavar="AGE", help="What would happen to a message of this age (90s, 2h).")
@click.option("--country", callback=country_value, metavar="DK", help="For a recipient of this country.")
@click.option(
    "--network",
    callback=network_value,
    metavar="MCC/MNC",
    help="For a recipient of this network, such as 238/01.",
)
@click.option(
    "--recipients",
    default=1,
    callback=recipients_value,
    help="For a message with so many, 10,000 at most.  [default: 1]",
)
@click.option("--all", "everything", is_flag=True, help="Every poll and every network, not one screen of them.")
@click.option(
    "--per-day",
    type=int,
    callback=counting_number,
    metavar="N",
    help="What so many messages a day ask of requests_per_second.",
)
@click.option(
    "--forget",
    is_flag=False,
    flag_value=EVERY,
    metavar="[NETWORK]",
    help="Forget what was learned about a network (238/01, or DK), or about all of them, and start anew.",
)
@click.option("--replay", is_flag=True, help="Poll this deployment's own past messages once more, by other policies.")
@json_option
@config_option
def plan(
    *,
    age: float | None,
    country: str | None,
    network: str | None,
    recipients: int,
    everything: bool,
    per_day: int | None,
    forget: str | None,
    replay: bool,
    as_json: bool,
    config_path: Path | None,
) -> int:
    """Explain when a message would be polled, how often, and how soon its final state would be known."""
    if country and network:
        raise click.UsageError("Give --country or --network, not both.", click.get_current_context())
    if replay and (country or network or age is not None or recipients != 1):
        raise click.UsageError("--replay covers all messages; give it alone.", click.get_current_context())
    if forget is not None and (replay or per_day or country or network or age is not None or recipients != 1):
        raise click.UsageError("--forget changes what is known; give it alone.", click.get_current_context())
    config = load_config(config_path)
    if forget is not None:
        return _forget(config, forget, as_json=as_json)
    if replay:
        from pollerd.cli.plans.replay_table import show

        return show(config, as_json=as_json)
    key = network or country
    policy = _policy(config)
    made = policy.explain(key, k=recipients)
    rows = [row for row in made.rows if age is None or row.age > age]
    rival = _rival(made, config) if recipients == 1 else None
    if per_day is not None:
        return capacity.show(config, per_day, as_json=as_json)
    if as_json:
        screen.write_json(_document(made, rows, rival, policy))
        return 0
    _Paper(made, rows, policy, config, recipients=recipients, everything=everything).print(age, rival)
    return 0


def _forget(config: Config, network: str, *, as_json: bool) -> int:
    from pollerd.cli.owner import ask_owner

    key = None if network == EVERY else network.upper()
    if key is not None and not (_NETWORK.fullmatch(key) or (len(key) == 2 and key.isascii() and key.isalpha())):
        right = "give a network such as 238/01, or a country such as DK; without a value all is forgotten"
        raise click.BadParameter(f"{network!r} is no network; {right}.", click.get_current_context(), None, "--forget")
    ask_owner(config, lambda owner: owner.forget(key))
    if as_json:
        screen.write_json({"forgotten": key})
    else:
        whom = "all networks" if key is None else key
        click.echo(f"What was learned about {whom} is forgotten; the backoff starts anew there. See: pollerd plan")
    return 0


def _policy(config: Config) -> Policy:
    from pollerd.config.policy import MODEL, make_policy

    policy = make_policy(config, 0)
    try:
        with engine_of(config.store).view() as view:
            learned = view.note(MODEL)
    except DatabaseMissingError:
        return policy
    if learned is not None:
        policy.restore(learned)
    return policy


def _rival(made: Plan, config: Config) -> tuple[schedule.Yield, schedule.Rival] | None:
    """This plan and the exponential backoff of the same cost, both worked out on the curve that was learned."""
    ages = [row.age for row in made.rows]
    if made.policy != "adaptive" or not made.curve or not ages:
        return None
    own = schedule.expected(made.curve, ages)
    bounds = config.backoff
    other = schedule.rival(made.curve, own.polls, schedule.Bounds(bounds.min_interval, bounds.max_interval, ages[-1]))
    return None if other is None else (own, other)


def _document(
    made: Plan, rows: list[PlanRow], rival: tuple[schedule.Yield, schedule.Rival] | None, policy: Policy
) -> dict[str, Any]:
    found: dict[str, Any] = {**asdict(made), "rows": [asdict(row) for row in rows], "compared": None}
    if rival is not None:
        own, other = rival
        found["compared"] = {
            "polls": own.polls,
            "delay": own.delay,
            "exponential": {
                "first": other.first,
                "factor": other.factor,
                "polls": other.expected.polls,
                "delay": other.expected.delay,
            },
        }
    learned = policy.keys()
    found["known"] = [{"key": info.key, "events": info.events, "down": info.down} for info in learned]
    return found


_OVER: Final = 1.5
"""From so many times the budget on it is said why."""


def _some(count: float) -> str:
    """An expected number of recipients."""
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


class _Paper:
    """What is printed."""

    def __init__(
        self,
        made: Plan,
        rows: list[PlanRow],
        policy: Policy,
        config: Config,
        *,
        recipients: int = 1,
        everything: bool,
    ) -> None:
        self._made = made
        self._rows = rows
        self._policy = policy
        self._config = config
        self._recipients = recipients
        self._everything = everything
        self._console: Console = screen.console()
        # What is left of the screen for tables; a file has room for both.
        self._room = self._console.height - _FIXED if self._console.is_terminal else _ROWS + _KEYS + 5

    def print(self, age: float | None, rival: tuple[schedule.Yield, schedule.Rival] | None) -> None:
        """Everything, in order."""
        self._head()
        self._compare(rival)
        if age is not None:
            self._at_age(age)
        if self._made.curve:
            self._curve()
        if self._rows:
            self._console.print()
            self._table()
        self._known()

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(screen.plain(text, style))

    def _head(self) -> None:
        made = self._made
        whom = "any recipient" if made.key is None else f"recipients of {made.key}"
        if self._recipients > 1:
            whom = f"{self._recipients} recipients" + ("" if made.key is None else f" of {made.key}")
        self._say(f"A fresh message to {whom}, policy {made.policy}", "bold")
        if made.policy == "adaptive":
            if made.events >= 1:
                self._say(f"learned from about {counted(round(made.events), 'final state')}", "dim")
            else:
                self._say("nothing learned yet: general experience", "dim")
        if made.polls is not None:
            line = f"expected: {made.polls:.1f} polls a message"
            if made.delay is not None:
                line += f", a final state known {duration(made.delay)} after it is reached"
            self._say(line)
            if self._recipients == 1:
                self._budget(made.polls, made.budget)
            else:
                self._group()
        if made.railed:
            self._say(
                "by its own figures what was learned is no better than exponential backoff, which is used instead; "
                "if it stays so, start anew with: pollerd plan --forget",
                "yellow",
            )
        for low, high in made.expiry:
            self._say(f"messages expire at the age of {duration(low)} to {duration(high)}")

    def _group(self) -> None:
        """Why a message with many recipients is polled as it is."""
        made, k = self._made, self._recipients
        if made.policy != "adaptive" or made.budget is None:
            self._say("the policy is the same however many recipients a message has", "dim")
            return
        self._say(
            f"one poll shows all {k}, and polling goes on while any is pending; the budget of so many is "
            f"{made.budget:.1f} polls, {made.budget / self._config.backoff.polls_per_message:.1f} times "
            "polls_per_message",
            "dim",
        )
        if made.polls is not None and made.polls > _OVER * made.budget:
            self._say(
                "more polls are expected than that: max_interval = "
                f"{duration(self._config.backoff.max_interval)} bounds how long the last ones may wait, whatever is "
                "learned; raise it to save polls",
                "yellow",
            )
        left = ((age, k * schedule.alive(made.curve, age)) for age in _LEFT_AT)
        self._say("pending by then: " + ", ".join(f"{_some(n)} after {duration(age)}" for age, n in left))
        self._say("each answer shows how many really are: the next poll is chosen by those", "dim")

    def _budget(self, polls: float, aimed_at: float | None) -> None:
        bounds = self._config.backoff
        if aimed_at is not None and aimed_at > 1.05 * bounds.polls_per_message:
            self._say(
                f"few messages come, so each may take {aimed_at:.0f} polls instead of polls_per_message = "
                f"{bounds.polls_per_message:g}: together a hundredth of requests_per_second at most",
                "dim",
            )
        elif self._made.policy == "adaptive" and polls > _OVER * bounds.polls_per_message:
            self._say(
                f"that is more than polls_per_message = {bounds.polls_per_message:g}: with max_interval = "
                f"{duration(bounds.max_interval)} messages that stay pending are polled so often whatever is learned; "
                "raise max_interval to save polls",
                "yellow",
            )

    def _compare(self, rival: tuple[schedule.Yield, schedule.Rival] | None) -> None:
        if rival is None:
            return
        own, other = rival
        times = other.expected.delay / own.delay if own.delay > 0 else 0.0
        self._say(
            f"plain exponential backoff ({duration(other.first)} x {other.factor:.2g}) at equal polls "
            f"({other.expected.polls:.1f}): known after {duration(other.expected.delay)}"
            + (f", {times:.1f} times as late" if times >= 1.05 else "")
        )

    def _at_age(self, age: float) -> None:
        made = self._made
        if not self._rows:
            self._say(f"no poll is planned after the age of {duration(age)}")
            return
        coming = self._rows[0]
        line = f"at the age of {duration(age)}: next poll at the age of {duration(coming.age)}"
        if made.curve:
            still = schedule.alive(made.curve, age)
            then = schedule.alive(made.curve, coming.age)
            line += f"; {still:.1%} of all messages are pending by now"
            if still > 0:
                line += f", and {1 - then / still:.0%} of these will have ended by then"
        self._say(line, "bold")

    def _curve(self) -> None:
        made = self._made
        prior = self._prior()
        floor = made.curve[-1][1]
        end = next((a for a, s in made.curve if s <= floor + (1 - floor) * (1 - _LATEST)), made.curve[-1][0])
        axis = Axis(1.0, max(60.0, min(end * 2, made.curve[-1][0])), min(_WIDTH, self._console.width - _EDGE - 10))
        self._console.print()
        names = ["100 % ", "      ", "      ", "      ", "      ", "  0 % "]
        for name, line in zip(names, area(axis, lambda age: schedule.alive(made.curve, age), _HEIGHT), strict=True):
            self._console.print(screen.plain(name, "dim").append_text(screen.plain(line, "cyan")))
        polls = marks(axis, [row.age for row in made.rows])
        self._console.print(screen.plain("polls ", "dim").append_text(screen.plain(polls, "yellow")))
        self._say(" " * _EDGE + axis.labels(), "dim")
        self._say(" " * _EDGE + "still pending, by the age of the message", "dim")
        if prior is not None:
            ages = (10.0, 60.0, 3600.0)
            both = (
                f"{duration(age)}: {schedule.alive(made.curve, age):.0%} ({schedule.alive(prior, age):.0%})"
                for age in ages
            )
            self._say(f"{' ' * _EDGE}learned (and before) at {', '.join(both)}", "dim")

    def _prior(self) -> tuple[tuple[float, float], ...] | None:
        from pollerd.config.policy import make_policy

        return make_policy(self._config, 0).explain(self._made.key).curve if self._made.events >= 1 else None

    def _table(self) -> None:
        made, rows = self._made, self._rows
        most = len(rows) if self._everything else max(_LEAST_ROWS, min(_ROWS, self._room - _LEAST_ROWS - 5))
        numbers = {id(row): number for number, row in enumerate(made.rows, 1)}
        learned = any(row.survival is not None for row in rows)
        extra = ("still pending", "polls", "reported after") if learned else ()
        table = screen.table("poll", "at age", "after", *extra, right=("poll", "at age", "after", *extra))
        for row in rows[:most]:
            cells: list[object] = [numbers[id(row)], duration(row.age), duration(row.delay)]
            if learned:
                cells += [f"{row.survival or 0.0:.1%}", "" if row.polls is None else f"{row.polls:.2f}"]
                cells += ["" if row.expected_delay is None else duration(row.expected_delay)]
            screen.row(table, *cells)
        self._console.print(table)
        if len(rows) > most:
            last = duration(rows[-1].age)
            self._say(f"... and {len(rows) - most} more, the last at the age of {last} (all of them: --all)", "dim")

    def _known(self) -> None:
        learned = self._policy.keys()
        known = [info for info in learned if info.key is not None]
        if self._made.key is not None or not known:
            return
        rows = min(len(self._rows), max(_LEAST_ROWS, min(_ROWS, self._room - _LEAST_ROWS - 5)))
        most = len(known) if self._everything else min(_KEYS, self._room - rows - 5)
        if most < 1:
            self._say(f"{counted(len(known), 'network')} known (--all); one alone: --network {known[0].key}", "dim")
            return
        self._console.print()
        numbers = ("learned from", "polls", "known after", "pending at 10 s", "at 1 min")
        table = screen.table("network", *numbers, right=numbers)
        for info in known[:most]:
            own = self._policy.explain(info.key)
            screen.row(
                table,
                f"{info.key}{' (stalled)' if info.down else ''}",
                f"{info.events:,.0f}",
                "" if own.polls is None else f"{own.polls:.1f}",
                "" if own.delay is None else duration(own.delay),
                *(f"{schedule.alive(own.curve, age):.0%}" if own.curve else "" for age in (10.0, 60.0)),
            )
        self._console.print(table)
        if len(known) > most:
            self._say(f"... and {len(known) - most} networks more (--all); one alone: --network 238/01", "dim")
