"""The addresses of this machine from which one account's connections are opened, and which of them can be used now.

The gateway counts connections by address, so each address has slots of its own. Requests are spread over them: the one
with the fewest under way is next. An address that the machine does not have, or from which the gateway cannot be used
while it can from another, is left out and named once; it is used again by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from math import inf
from typing import Final

from pollerd.base.text import duration
from pollerd.core.ports import SourceAddress
from pollerd.gateway.slots import Slots
from pollerd.gateway.transport import present

log: Final = logging.getLogger(__name__)

LOOK_EVERY: Final = 5.0
"""Seconds between two looks whether the machine has its addresses: soon for one that moves from machine to machine."""
FAILURES_BEFORE_ASIDE: Final = 3
"""Requests in a row that failed from one address and were answered from another: no chance any more."""
PAUSE: Final = 60.0
"""Seconds that an address is set aside at first. A firewall's rule is mended by a person, in minutes at the best."""
LONGEST_PAUSE: Final = 3600.0
"""Seconds that the pause grows to, doubled with each trial that fails: each costs one request more."""


class Source:
    """One address; None is the one that the system chooses. Times are on the monotonic clock."""

    __slots__ = ("_pause", "address", "aside_until", "failures", "slots", "there", "turn", "why")

    def __init__(self, address: str | None, slots: Slots) -> None:
        self.address = address
        self.slots = slots
        self.there = True
        self.turn = 0
        self.failures = 0
        self.aside_until = -inf
        self.why = ""
        self._pause = PAUSE

    def usable(self, now: float) -> bool:
        """Whether requests go out from here."""
        return self.there and now >= self.aside_until

    def set_aside(self, now: float, why: str) -> float:
        """Leave it out for the seconds that are returned; longer each time."""
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        self.aside_until, self.why = now + pause, why
        # One more failure is enough after that.
        self.failures = FAILURES_BEFORE_ASIDE - 1
        return pause

    def trust(self) -> None:
        """It was answered."""
        self.failures, self.aside_until, self.why, self._pause = 0, -inf, "", PAUSE


class Sources:
    """The addresses of one account. `changed` hears how many connections may be open now whenever that changes."""

    def __init__(
        self,
        account: str,
        addresses: Sequence[str | None],
        size: int,
        make: Callable[[str | None, int], Slots],
        now: Callable[[], float],
        has: Callable[[str], bool] = present,
    ) -> None:
        """`size` connections from each; `make` gives an address that many slots. `has` says whether this machine has an
        address."""
        self._account = account
        self._size = size
        self._make = make
        self._now = now
        self._has = has
        self._turns = count(1)
        self._all = [Source(address, make(address, size)) for address in addresses]
        self._retired: list[Source] = []
        self._look_at = -inf
        self._usable = self._all
        self.changed: Callable[[int], None] = lambda _: None
        self._look(now())

    @property
    def connections(self) -> int:
        """Connections that may be open now. Without any usable address, as many as from one: requests still fail."""
        return self._size * max(1, len(self._usable))

    @property
    def health(self) -> tuple[SourceAddress, ...]:
        """The configured addresses as they are now."""
        now = self._now()
        self._look(now)
        return tuple(
            SourceAddress(source.address, source.slots.busy, _trouble(source, now))
            for source in self._all
            if source.address is not None
        )

    def choose(self, other_than: Source | None = None) -> Source | None:
        """Where the next request goes out; None: from nowhere."""
        if len(self._all) == 1 and self._all[0].address is None:
            return self._all[0] if other_than is None else None
        self._look(self._now(), at_once=not self._usable)
        open_ones = [source for source in self._usable if source is not other_than]
        if not open_ones and other_than is None:
            # Set aside is still better than nowhere.
            open_ones = [source for source in self._all if source.there]
        if not open_ones:
            return None
        chosen = min(open_ones, key=lambda source: (source.slots.busy, source.turn))
        chosen.turn = next(self._turns)
        return chosen

    def lost(self, source: Source) -> bool:
        """Whether a connection could not be opened because the machine does not have the address any more."""
        if source.address is None or self._has(source.address):
            return False
        self._look(self._now(), at_once=True)
        return True

    def answered(self, source: Source) -> None:
        """A request from there was answered."""
        if source.failures:
            if source.why:
                text = "account %s: the gateway can be used from %s again"
                log.info(
                    text, self._account, source.address, extra={"event": "source_address_back", **self._about(source)}
                )
            source.trust()

    def failed(self, source: Source, why: str) -> None:
        """A request from there failed, and the same one was answered from another address."""
        source.failures += 1
        now = self._now()
        if source.failures < FAILURES_BEFORE_ASIDE or not source.usable(now):
            return
        first, pause = not source.why, source.set_aside(now, why)
        log.log(
            logging.WARNING if first else logging.INFO,
            "account %s: the gateway can be used from other addresses, but not from %s (%s): nothing goes out from "
            "there for %s, then it is tried again. Check that the network, the firewall and the gateway's list of "
            "allowed addresses let it pass",
            self._account,
            source.address,
            why,
            duration(pause),
            extra={"event": "source_address_set_aside", **self._about(source)},
        )
        self._look(now, at_once=True)

    def reconfigure(self, addresses: Sequence[str | None], size: int) -> None:
        """Other addresses and another number of connections from each. Requests under way are answered."""
        self._size = size
        known = {source.address: source for source in self._all}
        kept = [
            known.pop(address) if address in known else Source(address, self._make(address, size))
            for address in addresses
        ]
        for source in kept:
            source.slots.resize(size)
        for source in known.values():
            source.slots.resize(0)
            self._retired.append(source)
        self._all = kept
        self._look(self._now(), at_once=True)
        self.changed(self.connections)

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        for source in (*self._all, *self._retired):
            await source.slots.close()

    def _look(self, now: float, *, at_once: bool = False) -> None:
        """Find out which addresses can be used, and say what is new about them."""
        if now < self._look_at and not at_once:
            return
        self._look_at = now + LOOK_EVERY
        before = self.connections
        news = [source for source in self._all if self._moved(source)]
        self._usable = [source for source in self._all if source.usable(now)]
        for source in news:
            self._say(source)
        if self.connections != before:
            self.changed(self.connections)

    def _moved(self, source: Source) -> bool:
        if source.address is None:
            return False
        before, source.there = source.there, self._has(source.address)
        return before is not source.there

    def _say(self, source: Source) -> None:
        if source.there:
            text = "account %s: source address %s is on this machine again, and is used"
            log.info(text, self._account, source.address, extra={"event": "source_address_back", **self._about(source)})
            return
        others = ", ".join(_names(self._usable))
        log.warning(
            "account %s: source address %s is not on this machine: %s. Give it to an interface, or take it out of "
            "source_addresses; once it is there it is used by itself",
            self._account,
            source.address,
            f"its connections are left out, those from {others} go on" if others else "nothing can be polled",
            extra={"event": "source_address_missing", **self._about(source)},
        )

    def _about(self, source: Source) -> dict[str, object]:
        return {"account": self._account, "address": source.address}


def _names(sources: Iterable[Source]) -> list[str]:
    return [source.address for source in sources if source.address is not None]


def _trouble(source: Source, now: float) -> str:
    if not source.there:
        return "not on this machine"
    if source.usable(now):
        return ""
    return f"set aside for {duration(source.aside_until - now)}: {source.why}"
