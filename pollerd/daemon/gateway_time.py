"""How long was this machine stopped? What the gateways' `Date` headers say of it, beside the machine's own clocks.

A machine that sleeps counts the time itself. One that was stopped from outside (a paused virtual machine) or switched
off does not: only its wall clock, which may have been set wrong, and the gateway's show it. What both say has passed.

| wall clock | gateway's | what it was |
|---|---|---|
| moved | moved as far | the machine was stopped: the daemon's time moves on by the smaller of the two |
| moved | as before | the wall clock was set |
| as before | moved | the gateway's clock was set, or ours lags behind: wait for another word, for hours |
| moved | gives no date | the wall clock was set: the boot clock alone would not miss a sleep |

After a restart of the machine the boot clock says nothing, and something must be believed before long: first both, then
the gateway alone, then the wall clock alone; what one of them says alone ages no message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from statistics import median
from typing import Final, NamedTuple

from pollerd.base.anchor import TIME_NOTE, TOLERANCE, Anchor
from pollerd.base.retryafter import http_date
from pollerd.config import Config
from pollerd.core.ports import Batch, Store
from pollerd.daemon.clock import SystemClock

SETTLE: Final = 2.0
"""Seconds after a jump in which answers are not heard: they may have waited in the machine while it was stopped."""
HEARD: Final = 9
"""Dates that are remembered."""
ENOUGH: Final = 3
"""Dates that must agree: one may come from a cache."""
CREDIBLE: Final = 60.0
"""Seconds that a gateway's clock and the wall clock may differ for the former to be a witness later: they are set by
different people, and nothing but the right time makes them agree."""
SECOND_WITNESS_WAIT: Final = 120.0
"""Seconds to wait for a second clock after a restart of the machine; a wall clock without a battery is set by then."""
LONG: Final = 3600.0
"""Seconds after which clocks that contradict each other are taken as they are: time services check every half hour."""
WAITING: Final = 60.0
"""Seconds for which new messages wait at most until it is known what time it is."""
ASK_EVERY: Final = 60.0
"""Seconds between two questions for the date at most; from one second, they double once the first few brought none."""


class Correction(NamedTuple):
    """So many seconds have passed that no clock of this machine has counted; `doubted`: one clock alone says so."""

    seconds: float
    doubted: bool


class Heard(NamedTuple):
    """A date: at `at` (daemon's time) the clock of `host` was `ahead` of us by so many seconds; None: no date."""

    at: float
    host: str
    ahead: float | None


class Witness:
    """Weighs the clocks against each other. `decide` is to be asked once a second."""

    def __init__(self, clock: SystemClock, anchor: Anchor | None = None) -> None:
        self._clock = clock
        self._ahead = clock.wall() - clock.now() if anchor is None else anchor.ahead
        self._gateways = {} if anchor is None else dict(anchor.gateways)
        """How far the clocks of credible gateways are ahead of the daemon's, by host."""
        self._hosts: dict[str, float | None] = {}
        """The same of all, as last heard; None: never."""
        self._heard: deque[Heard] = deque(maxlen=HEARD)
        self._deaf_until = self._ask_at = clock.now()
        self._asked = 0
        self._open: float | None = None
        """Since when clocks disagree."""
        self._moved_at: float | None = None if clock.sure else clock.now()
        """Since when it may be that time has passed unseen; a gateway alone is no reason for it."""
        self.changed = True
        """Whether there is something to be stored that was not yet."""

    def gateway(self, host: str) -> GatewayDates:
        """What belongs to one gateway; only those asked for here are waited for."""
        self._hosts.setdefault(host, None)
        return GatewayDates(self, host)

    def hear(self, host: str, date: float | None) -> None:
        """An answer of `host` carries this date (UNIX seconds)."""
        now = self._clock.now()
        if now >= self._deaf_until:
            ahead = None if date is None else date - now
            self._heard.append(Heard(now, host, ahead))
            if self._moved_at is not None and self._moves():
                # Who answers does so again: the others that are needed come at once.
                self._ask_at = min(self._ask_at, now + 1.0)
            if ahead is not None and self._hosts.get(host) is None:
                # Better than nothing: what is worked out with it is worked out anew with the next answer.
                self._hosts[host] = ahead

    def ahead(self, host: str) -> float:
        """Seconds that the clock of `host` is ahead of the daemon's; the wall clock stands in where it is not known."""
        known = self._gateways.get(host, self._hosts.get(host))
        # The same number for hours on end, and none for mere drift: what is worked out with it is compared.
        seconds = round(self._clock.wall() - self._clock.now() if known is None else known)
        return float(seconds) if abs(seconds) > TOLERANCE else 0.0

    def jumped(self) -> None:
        """A clock of this machine has jumped: only what is heard from now on counts."""
        now = self._clock.now()
        self._heard.clear()
        self._deaf_until = self._ask_at = now + SETTLE
        self._asked = 0
        self._open = None
        self._moved_at = None if self._moved_at is None else now

    @property
    def undecided(self) -> bool:
        """Whether it may turn out in a moment that time has passed."""
        if not self._comparable():
            # No date can be compared, and the wall clock alone ages no message.
            return False
        now, since = self._clock.now(), self._moved_at
        # Asked between two calls of `decide` as well: what is planned in the meantime cannot be taken back.
        return self._moved(self._wall(now)) and (since is None or now - since < WAITING)

    @property
    def wants_date(self) -> bool:
        """Whether a gateway is to be asked for its date now."""
        return self._moved_at is not None and self._clock.now() >= self._ask_at and len(self._moves()) < ENOUGH

    def asked(self) -> None:
        """A gateway is asked for its date."""
        self._asked += 1
        vain = max(0, self._asked - ENOUGH)
        self._ask_at = self._clock.now() + min(ASK_EVERY, 2.0**vain)

    @property
    def wrong(self) -> float:
        """Seconds that the wall clock is ahead of the gateways' clocks; 0.0 where it is right, or unknown."""
        ahead = _agreed([heard.ahead for heard in self._heard if heard.ahead is not None])
        wrong = 0.0 if ahead is None else self._clock.wall() - self._clock.now() - ahead
        return wrong if abs(wrong) > CREDIBLE else 0.0

    def anchor(self) -> Anchor:
        """What is to be noted now."""
        self.changed = False
        return self._clock.anchor(self._ahead, self._gateways)

    def decide(self) -> Correction | None:
        """What the clocks agree upon, to be taken in by the clock."""
        now = self._clock.now()
        wall, gateway = self._wall(now), _agreed(self._moves())
        moved = self._moved(wall)
        if not moved:
            self._moved_at = None
        elif self._moved_at is None:
            self._moved_at = now
        if not moved and abs(gateway or 0.0) <= TOLERANCE:
            self._open = None
            self._learn(now)
            return None
        if self._open is None:
            self._open = now
        if gateway is not None and min(wall, gateway) > TOLERANCE and (self._clock.sure or wall > gateway - TOLERANCE):
            self.changed = True
            return Correction(min(wall, gateway), doubted=False)
        if (gateway is not None and abs(gateway) <= TOLERANCE) or (self._clock.sure and self._dateless()):
            self._ahead += wall
            self._clock.sure = self.changed = True
            return None
        return self._doubtful(wall, gateway, now - self._open)

    def _doubtful(self, wall: float, gateway: float | None, waited: float) -> Correction | None:
        """What is believed of clocks that do not agree for so long."""
        if waited < (LONG if self._clock.sure else SECOND_WITNESS_WAIT):
            return None
        correction = None
        if not self._clock.sure:
            passed = gateway if gateway is not None and gateway > TOLERANCE else max(0.0, wall)
            correction = Correction(passed, doubted=True)
            wall -= passed
        elif gateway is None:
            # No gateway answers; one that does later may still know.
            return None
        self._ahead += wall
        self._gateways.clear()
        self.changed = True
        return correction

    def _wall(self, now: float) -> float:
        """By how much further than ours the wall clock has moved."""
        return self._clock.wall() - now - self._ahead

    def _moved(self, wall: float) -> bool:
        """Whether that may mean that time has passed unseen."""
        return abs(wall) > TOLERANCE or not self._clock.sure

    def _moves(self) -> list[float]:
        """By how much further than ours each credible gateway's clock has moved, by what was heard of it."""
        known = self._gateways
        return [h.ahead - known[h.host] for h in self._heard if h.ahead is not None and h.host in known]

    def _comparable(self) -> set[str]:
        """The gateways whose dates can be compared with earlier ones."""
        return self._hosts.keys() & self._gateways.keys()

    def _dateless(self) -> bool:
        """Whether no gateway gives a date that could be compared."""
        known = self._comparable()
        heard = [heard.ahead for heard in self._heard if heard.host in known]
        return not known or (len(heard) >= ENOUGH and heard.count(None) == len(heard))

    def _learn(self, now: float) -> None:
        for host in {heard.host for heard in self._heard} - self._gateways.keys():
            ahead = _agreed([heard.ahead for heard in self._heard if heard.host == host and heard.ahead is not None])
            if ahead is None:
                continue
            self._hosts[host] = ahead
            if abs(now + ahead - self._clock.wall()) <= CREDIBLE:
                self._gateways[host] = ahead
                self.changed = True


class GatewayDates:
    """One gateway's clock. Fulfils `ports.GatewayTime`."""

    def __init__(self, witness: Witness, host: str) -> None:
        self._witness = witness
        self._host = host

    def heard(self, headers: Mapping[str, str]) -> None:
        """An answer came."""
        # What a cache kept is older than it says; how much older, its `Age` header says.
        date = None if "Age" in headers else _instant(headers.get("Date", ""))
        self._witness.hear(self._host, date)

    @property
    def ahead(self) -> float:
        """Seconds that its clock is ahead of the daemon's."""
        return self._witness.ahead(self._host)


def _agreed(values: list[float]) -> float | None:
    """The median, where enough of them, and most, say about the same."""
    if len(values) < ENOUGH:
        return None
    middle = median(values)
    near = sum(1 for value in values if abs(value - middle) <= TOLERANCE)
    return middle if near >= ENOUGH and 2 * near > len(values) else None


@lru_cache(maxsize=8)
def _instant(date: str) -> float | None:
    """UNIX seconds: the middle of the second that it names. Many answers a second carry the same one."""
    named = http_date(date)
    return None if named is None else named + 0.5


async def resume_time(store: Store, *, active: bool = True) -> tuple[SystemClock, Witness]:
    """The daemon's time as it goes on from the last run, noted before anything is planned by it. Raises StoreError.

    Not `active`: nothing is planned here, and nothing noted.
    """
    noted = Anchor.read(await store.note(TIME_NOTE))
    clock = SystemClock(noted)
    witness = Witness(clock, noted)
    if active:
        await store.commit(Batch(notes=[(TIME_NOTE, witness.anchor().written())], at=clock.now()))
    return clock, witness


def gateway_ahead(config: Config, witness: Witness) -> Callable[[str], float]:
    """By how many seconds the clock of an account's gateway is ahead of the daemon's."""
    hosts = {name: account.base_url for name, account in config.accounts.items()}
    return lambda account: witness.ahead(hosts.get(account, ""))
