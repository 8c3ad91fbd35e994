"""The options of `pollerd simulate`, as data: the command is a loop over them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, TypeVar

from pollerd.simulator.config import (
    DEMO_CREDENTIAL,
    AnswerStyle,
    Credentials,
    InboxStyle,
    Population,
    SimulatorConfig,
)
from pollerd.simulator.fate import Mix
from pollerd.simulator.faults import parse_fault

Choice = TypeVar("Choice", bound=str)
Value = str | int | float | bool | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class SimulateOption:
    """One option: its name without dashes, type, default, help, and the choices if there are few.

    The key in `config_from_options` is the name with `_` for `-`. `multiple` options hold a tuple of texts;
    an option of type bool is a flag.
    """

    name: str
    type: type[str] | type[int] | type[float] | type[bool]
    default: Value
    help: str
    choices: tuple[str, ...] = ()
    multiple: bool = False
    bounds: tuple[int, int] | None = None
    """The least and the largest whole number that is possible."""

    @property
    def key(self) -> str:
        """The name as a Python identifier."""
        return self.name.replace("-", "_")


SIMULATE_OPTIONS: Final[tuple[SimulateOption, ...]] = (
    SimulateOption("host", str, "127.0.0.1", "Address to listen on."),
    SimulateOption("port", int, 8600, "Port to listen on; 0 takes a free one.", bounds=(0, 65535)),
    SimulateOption("speed", float, 1.0, "How many times faster than life messages fare."),
    SimulateOption("seed", int, 1, "The same seed gives the same fates."),
    SimulateOption("token", str, (), f"Accepted API token (default {DEMO_CREDENTIAL}).", multiple=True),
    SimulateOption("user", str, (), "Accepted USER:PASSWORD for HTTP Basic.", multiple=True),
    SimulateOption("oauth", str, (), "Accepted KEY:SECRET for OAuth 1.0a.", multiple=True),
    SimulateOption("anyone", bool, False, "Let every request in."),
    SimulateOption("any-id", bool, False, "Every message id exists, from the first time it is asked for."),
    SimulateOption("ids", str, (), "FROM-TO: ids that exist although they were not sent.", multiple=True),
    SimulateOption("recipients", str, "1", "N or FROM-TO: recipients of messages that were not sent."),
    SimulateOption("mix", str, "", "Weights of fates, such as delivered=90,never=5,undeliverable=5."),
    SimulateOption("validity", float, 48 * 3600.0, "Seconds (before speed-up) until a message expires."),
    SimulateOption("tail", float, 1.0, "Factor on retries and switched-off phones; below 1 shortens the tail."),
    SimulateOption("visibility", float, 1.0, "Median seconds (before speed-up) of 404 after sending."),
    SimulateOption("shape", str, "list", "Form of the answer.", choices=("list", "object", "alternating")),
    SimulateOption("scheduled", str, "hidden", "Scheduled messages.", choices=("hidden", "shown")),
    SimulateOption("late-transient", float, 0.0, "Share of answers with a transient state after a final one."),
    SimulateOption("read", float, 0.0, "Share of delivered recipients that go on to READ."),
    SimulateOption("shuffle", bool, False, "Recipients in another order in each answer."),
    SimulateOption("null-times", bool, False, "No dsntime in any answer."),
    SimulateOption("replies", float, 0.0, "Share of delivered recipients that answer (GET /rest/mosms)."),
    SimulateOption(
        "incoming-order", str, "newest", "Order of incoming messages.", choices=("newest", "oldest", "mixed")
    ),
    SimulateOption("incoming-zone", float, 0.0, "Hours ahead of UTC in which a day of incoming messages begins."),
    SimulateOption("fault", str, (), "KIND[:PROBABILITY][:KEY=VALUE]..., such as 500:0.05.", multiple=True),
    SimulateOption("connection-limit", int, 40, "Open connections allowed from one address."),
    SimulateOption("over-limit", str, "close", "What a surplus one meets.", choices=("close", "503")),
    SimulateOption("keep-alive", float, 75.0, "Seconds until an unused connection is closed."),
    SimulateOption("requests-per-second", float, None, "Answer 429 above this rate (default: never)."),
    SimulateOption("credit", float, 1000.0, "The account's balance."),
)
"""Every option of `pollerd simulate`."""


def config_from_options(values: Mapping[str, object]) -> SimulatorConfig:
    """The configuration for option values by key; missing ones take their default.

    ValueError says which value is wrong and what would be right.
    """
    unknown = set(values) - {option.key for option in SIMULATE_OPTIONS}
    if unknown:
        raise ValueError(f"unknown simulator options: {', '.join(sorted(unknown))}")
    given = {option.key: values.get(option.key, option.default) for option in SIMULATE_OPTIONS}
    return _OptionReader(given).config()


class _OptionReader:
    """Option values with their types restored."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def config(self) -> SimulatorConfig:
        population = Population(
            mix=parse_mix(self._text("mix")),
            validity=self._number("validity"),
            tail=self._number("tail"),
            visibility_median=self._number("visibility"),
            any_id=self._flag("any_id"),
            id_ranges=tuple(parse_range(text, "ids") for text in self._texts("ids")),
            recipients=parse_range(self._text("recipients"), "recipients"),
        )
        answers = AnswerStyle(
            shape=_one_of(self._text("shape"), "list", "object", "alternating"),
            scheduled=_one_of(self._text("scheduled"), "hidden", "shown"),
            late_transient=self._number("late_transient"),
            read=self._number("read"),
            shuffle=self._flag("shuffle"),
            null_times=self._flag("null_times"),
        )
        inbox = InboxStyle(
            order=_one_of(self._text("incoming_order"), "newest", "oldest", "mixed"),
            zone=self._number("incoming_zone"),
            replies=self._number("replies"),
        )
        rate = self._values["requests_per_second"]
        return SimulatorConfig(
            host=self._text("host"),
            port=int(self._number("port")),
            seed=int(self._number("seed")),
            speed=self._positive("speed"),
            credentials=self._credentials(),
            population=population,
            answers=answers,
            inbox=inbox,
            faults=tuple(parse_fault(text) for text in self._texts("fault")),
            connection_limit=int(self._number("connection_limit")),
            over_limit=_one_of(self._text("over_limit"), "close", "503"),
            keep_alive=self._positive("keep_alive"),
            requests_per_second=None if rate is None else self._positive("requests_per_second"),
            credit=self._number("credit"),
        )

    def _credentials(self) -> Credentials:
        return Credentials(
            tokens=frozenset(self._texts("token")) or frozenset({DEMO_CREDENTIAL}),
            users=tuple(_pair(text, "user") for text in self._texts("user")),
            oauth=tuple(_pair(text, "oauth") for text in self._texts("oauth")),
            anyone=self._flag("anyone"),
        )

    def _text(self, key: str) -> str:
        return str(self._values[key])

    def _number(self, key: str) -> float:
        try:
            number = float(self._text(key))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{key} is {self._values[key]!r}; give a number")
        return number

    def _positive(self, key: str) -> float:
        number = self._number(key)
        if number <= 0:
            raise ValueError(f"{key} is {self._values[key]!r}; give a number above 0")
        return number

    def _flag(self, key: str) -> bool:
        return bool(self._values[key])

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self._values[key]
        return tuple(str(part) for part in value) if isinstance(value, tuple | list) else (str(value),)


def _one_of(value: str, *choices: Choice) -> Choice:
    for choice in choices:
        if choice == value:
            return choice
    raise ValueError(f"{value!r} is not one of {', '.join(choices)}")


def parse_mix(text: str) -> Mix:
    """Weights such as `delivered=90,never=5`; what is not named has weight 0. Nothing: the default mix."""
    if not text:
        return Mix()
    names = [field.name for field in fields(Mix)]
    weights = dict.fromkeys(names, 0.0)
    for part in text.split(","):
        name, _, weight = part.strip().partition("=")
        try:
            number = float(weight)
        except ValueError:
            number = -1.0
        if name not in weights or number < 0:
            raise ValueError(f"mix: {part!r}; write NAME=WEIGHT, names are {', '.join(names)}")
        weights[name] = number
    return replace(Mix(), **weights)


def parse_range(text: str, name: str) -> tuple[int, int]:
    """`N` or `FROM-TO`, both ends included."""
    low, _, high = text.partition("-")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise ValueError(f"{name} is {text!r}; give N or FROM-TO") from None


def _pair(text: str, name: str) -> tuple[str, str]:
    first, colon, second = text.partition(":")
    if not (first and colon):
        # The text is not repeated: its second half is a secret.
        raise ValueError(f"{name}: no colon found; write it as NAME:SECRET")
    return first, second
