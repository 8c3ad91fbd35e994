"""The gateway of one account, and the pace at which it may be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from pollerd.core.incoming import IncomingPage
from pollerd.core.model import Message, Outcome, Trouble
from pollerd.core.ports.accounts import AccountState, Balance, Transition


class SourceAddress(msgspec.Struct, frozen=True):
    """An address of this machine from which requests go out. `asking` are under way from there; `trouble` says why none
    go out (empty: they do).
    """

    address: str
    asking: int
    trouble: str


class Gateway(Protocol):
    """Asks the gateway for one account. Every failure is a value; only cancellation is raised."""

    async def read(self, message_id: int, known: Message | None = None) -> Outcome:
        """Ask once for the status of a message; bounded in time and size. `known`: the message, where it is at hand."""
        ...

    async def balance(self) -> Balance | Trouble:
        """Ask once for the account's credit."""
        ...

    def reload_credentials(self) -> bool:
        """Read the secret's source again; True when it gave another secret, used from the next request on."""
        ...

    @property
    def source_addresses(self) -> Sequence[SourceAddress]:
        """The addresses that are configured for the account; none: the system chooses one."""
        ...

    async def close(self) -> None:
        """Close all connections. Requests under way fail."""
        ...


class Limiter(Protocol):
    """Pace and holds of one account: decides when the next request may go out.

    Every `take()` is followed by one `report()` or one `abandon()`.
    """

    def delay(self) -> float:
        """Seconds until a request may go out, 0 for now.

        While a probe is under way: the seconds until it counts as lost. `changed()` returns as soon as it is answered.
        """
        ...

    def take(self) -> None:
        """A request goes out now (call only when `delay()` is 0)."""
        ...

    async def turn(self) -> bool:
        """Wait until a request that is no poll may go out, ahead of all others, and take it. False: none went out,
        since the account is held.
        """
        ...

    async def again(self, *, forgotten: bool = True) -> bool:
        """Wait until a request may go out a second time, ahead of all others, and count it. False: it may not.

        `forgotten`: the first one met a connection that the other side had forgotten.
        """
        ...

    def report(self, outcome: Outcome | IncomingPage) -> Transition | None:
        """What the request met. Returns what is to be committed: a hold that begins, goes on or ends by it."""
        ...

    def abandon(self) -> None:
        """A request that went out will never report (it was cancelled), or what it met decides nothing."""
        ...

    def refuse(self, refusal: str, detail: str) -> Transition | None:
        """The gateway refuses what it has answered before (`refusal` is as in `Message.last_answer`). Returns the hold
        that begins, None where one is in force.
        """
        ...

    def resume(self) -> Transition | None:
        """End a hold for `refusing` by a command: refusals are believed until something is answered again."""
        ...

    def expire_hold(self) -> Transition | None:
        """End a hold for `refusing` that has lasted for too long; None in all other cases."""
        ...

    def credentials_changed(self) -> None:
        """The account's secret was replaced: a hold for want of rights is probed at once."""
        ...

    @property
    def held(self) -> AccountState | None:
        """The hold in force, None when polling goes on."""
        ...

    @property
    def refusing(self) -> bool:
        """Whether the account is held because the gateway refuses what it has answered before."""
        ...

    @property
    def trusting(self) -> bool:
        """Whether refusals are believed as they come: see `AccountState`."""
        ...

    @property
    def held_total(self) -> float:
        """Seconds the account has been held so far, the current hold included; ages no message."""
        ...

    @property
    def rate(self) -> float:
        """Requests a second in force (the configured rate, or less after throttling)."""
        ...

    @property
    def keeps_connections(self) -> bool:
        """Whether connections are kept between requests."""
        ...

    @property
    def repeats(self) -> int:
        """Requests that went out a second time so far."""
        ...

    async def changed(self) -> None:
        """Return when something other than time may have changed `delay()` (hold over, credentials replaced)."""
        ...
