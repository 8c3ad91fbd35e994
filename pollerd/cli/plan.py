"""`pollerd plan`: the backoff explained, with what this database has learned."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pollerd.cli.options import config_option, counting_number, json_option, load_config
from pollerd.store.view import DatabaseMissingError, View
from pollerd.terminal import screen
from pollerd.terminal.text import counted, duration

if TYPE_CHECKING:
    from pollerd.backoff import Plan, PlanRow, Policy
    from pollerd.config import Config

_SHOWN: Final = 30
_BAR: Final = 20


def age_value(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Callback: a duration as the configuration writes them, or seconds."""
    if value is None:
        return None
    from pollerd.config import parse_duration

    try:
        return parse_duration(value if value[-1:].isalpha() else f"{value}s")
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}.", context, parameter) from None


@click.command()
@click.option("--age", callback=age_value, metavar="AGE", help="Only the polls after this age, such as 90s or 2h.")
@click.option("--country", metavar="DK", help="For a recipient of this country.")
@click.option("--network", metavar="MCC/MNC", help="For a recipient of this network, such as 238/01.")
@click.option("--recipients", default=1, callback=counting_number, help="For a message with so many.  [default: 1]")
@json_option
@config_option
def plan(
    *,
    age: float | None,
    country: str | None,
    network: str | None,
    recipients: int,
    as_json: bool,
    config_path: Path | None,
) -> int:
    """Explain when a message would be polled, how often, and how soon its final state would be known."""
    if country and network:
        raise click.UsageError("Give --country or --network, not both.", click.get_current_context())
    config = load_config(config_path)
    key = network or (country.upper() if country else None)
    policy = _policy(config)
    made = policy.explain(key, k=recipients)
    rows = [row for row in made.rows if age is None or row.age > age]
    if as_json:
        screen.write_json({**asdict(made), "rows": [asdict(row) for row in rows]})
        return 0
    _show(made, rows, policy, age)
    return 0


def _policy(config: Config) -> Policy:
    from pollerd.wiring import MODEL, make_policy

    policy = make_policy(config, 0)
    try:
        with View.open(config.store.path) as view:
            learned = view.note(MODEL)
    except DatabaseMissingError:
        return policy
    if learned is not None:
        policy.restore(learned)
    return policy


def _show(made: Plan, rows: list[PlanRow], policy: Policy, age: float | None) -> None:
    console = screen.console()
    whom = "any recipient" if made.key is None else f"recipients of {made.key}"
    console.print(screen.plain(f"A fresh message to {whom}, policy {made.policy}", "bold"))
    if made.policy == "adaptive":
        learned = (
            f"learned from about {counted(round(made.events), 'final state')}"
            if made.events >= 1
            else "nothing learned yet: general experience"
        )
        console.print(screen.plain(learned, "dim"))
    if made.polls is not None:
        line = f"expected: {made.polls:.1f} polls a message"
        if made.delay is not None:
            line += f", a final state known {duration(made.delay)} after it is reached"
        console.print(screen.plain(line))
    for low, high in made.expiry:
        console.print(screen.plain(f"messages expire at the age of {duration(low)} to {duration(high)}"))
    if not rows:
        console.print(screen.plain(f"no poll is planned after the age of {duration(age or 0.0)}"))
        return
    console.print()
    console.print(_table(made, rows))
    if len(rows) > _SHOWN:
        console.print(
            screen.plain(f"... and {len(rows) - _SHOWN} more, the last at the age of {duration(rows[-1].age)}", "dim")
        )
    keys = ", ".join(str(info.key) for info in policy.keys()[:10] if info.key is not None)
    if made.key is None and keys:
        console.print(screen.plain(f"networks known: {keys}", "dim"))


def _table(made: Plan, rows: list[PlanRow]) -> object:
    numbers = {id(row): number for number, row in enumerate(made.rows, 1)}
    learned = any(row.survival is not None for row in rows)
    extra = ("still pending", "", "polls", "news told after") if learned else ()
    table = screen.table("poll", "at age", "after", *extra, right=("poll", "at age", "after", "still pending", "polls"))
    for row in rows[:_SHOWN]:
        cells: list[object] = [numbers[id(row)], duration(row.age), duration(row.delay)]
        if learned:
            share = row.survival or 0.0
            cells += [f"{share:.1%}", screen.plain("█" * round(share * _BAR), "cyan")]
            cells += ["" if row.polls is None else f"{row.polls:.2f}"]
            cells += ["" if row.expected_delay is None else duration(row.expected_delay)]
        screen.row(table, *cells)
    return table
