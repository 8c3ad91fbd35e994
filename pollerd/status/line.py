"""The daemon in one line, for `systemctl status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pollerd.base.text import clock
from pollerd.core import phrases
from pollerd.core.ports import AccountState, Clock, OutputHealth

if TYPE_CHECKING:
    from pollerd.polling.poller import Poller


class StatusLine:
    """Puts the line together; polls a second are counted from one line to the next."""

    def __init__(self, pollers: Mapping[str, Poller], clock: Clock) -> None:
        self._pollers = pollers
        self._clock = clock
        self._polls = self._total()
        self._at = clock.monotonic()

    def line(self, pending: int, database: str, outputs: Sequence[OutputHealth], notice: str = "") -> str:
        """`pending` messages in the store, `database` the trouble with it; `notice` comes first (empty: none)."""
        due = sum(poller.window.backlog for poller in self._pollers.values())
        parts = [f"{pending:,} pending", f"{due:,} due", f"{self._rate():.1f} polls/s"]
        if notice:
            parts.insert(0, notice)
        if database:
            parts.insert(0, "the database cannot be written")
        parts += self._holds()
        parts += [f"output {output.name} in trouble: {output.trouble}" for output in outputs if output.trouble]
        return ", ".join(parts)

    def _rate(self) -> float:
        polls, now = self._total(), self._clock.monotonic()
        rate = (polls - self._polls) / (now - self._at) if now > self._at else 0.0
        self._polls, self._at = polls, now
        return rate

    def _total(self) -> int:
        return sum(poller.polls for poller in self._pollers.values())

    def _holds(self) -> list[str]:
        held = [state for poller in self._pollers.values() if (state := poller.limiter.held) is not None]
        if not held:
            return []
        if len(held) == 1:
            return [f"1 account held: {_hold(held[0])}"]
        return [f"{len(held)} accounts held: " + "; ".join(f"{state.name} {_hold(state)}" for state in held)]


def _hold(state: AccountState) -> str:
    reason = phrases.label(state.held_reason or "held")
    if state.held_until is None:
        return reason
    return f"{reason} until {clock(state.held_until)}"
