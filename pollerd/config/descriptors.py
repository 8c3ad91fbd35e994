"""How many file descriptors a configuration may need."""

from __future__ import annotations

from typing import Final, Self

import msgspec

from pollerd.base.descriptors import CONTROL, EVENTS, METRICS, OWN, PAGE, PER_CONNECTION, PLACES, total_of
from pollerd.config.tables import Config

_TO_WEBHOOK: Final = 4  # Descriptors of a receiver.
_TO_DATABASE: Final = 6  # Descriptors of a database.
_TO_PROGRAM: Final = 8
"""Descriptors that an output or a source takes: connections to a receiver, a database with its side files, twice while
it is opened anew, and a program's pipes while it starts."""


class Need(msgspec.Struct, frozen=True):
    """`reserve` descriptors are for polling, the database, outputs and sources; `places` are the connections that
    others may open where the limit of open files allows it.
    """

    reserve: int
    places: dict[str, int]

    @property
    def total(self) -> int:
        """Descriptors with which nothing runs short."""
        return self.reserve + total_of(self.places)

    @classmethod
    def of(cls, config: Config) -> Self:
        """What `config` may need."""
        outputs = config.outputs
        there = {
            CONTROL: config.control.socket,
            PAGE: config.web,
            METRICS: config.metrics,
            EVENTS: outputs.socket,
        }
        reserve = OWN + PER_CONNECTION * sum(each.connections for each in config.accounts.values())
        reserve += _TO_DATABASE * sum(
            map(len, (outputs.sqlite, outputs.sql, config.sources.sqlite, config.sources.sql))
        )
        reserve += 0 if outputs.exec is None else _TO_PROGRAM
        reserve += 0 if outputs.webhook is None else _TO_WEBHOOK * (1 + len(outputs.webhook.routes))
        return cls(reserve, {name: most for name, most in PLACES.items() if there[name] is not None})
