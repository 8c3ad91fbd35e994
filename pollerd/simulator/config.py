"""What can be set about a simulator. Every value has a default that makes a realistic gateway."""

import ssl
from dataclasses import dataclass, field
from typing import Literal

from pollerd.simulator.fate import Mix
from pollerd.simulator.faults import Fault

DEMO_CREDENTIAL = "simulator-demo"
"""The API token a simulator accepts by default."""

TEXT_MARKER = "SIMULATED-SMS-TEXT-b7c41e"
"""Part of every message text the simulator makes up: a leak of the text can be searched for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who may come in: tokens, user and password pairs, OAuth 1.0a key and secret pairs.

    With `anyone` every request is let in, credentials or not.
    """

    tokens: frozenset[str] = field(default=frozenset({DEMO_CREDENTIAL}), repr=False)
    users: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    oauth: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    anyone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Which messages exist and what becomes of them. Delays in virtual seconds.

    A message that was not sent exists when `any_id` is set or its id lies in one of `id_ranges` (both ends
    included); it was sent at `implied_sent_at` (real UNIX seconds), else at the moment it is first asked for,
    and has between `recipients[0]` and `recipients[1]` recipients.
    """

    mix: Mix = field(default_factory=Mix)
    validity: float = 48 * 3600.0
    tail: float = 1.0
    visibility_median: float = 1.0
    visibility_sigma: float = 0.8
    any_id: bool = False
    id_ranges: tuple[tuple[int, int], ...] = ()
    implied_sent_at: float | None = None
    recipients: tuple[int, int] = (1, 1)
    first_id: int = 421_332_671

    def __post_init__(self) -> None:
        fewest, most = self.recipients
        if not 1 <= fewest <= most <= 10_000:
            raise ValueError(f"recipients is {self.recipients!r}; give two numbers from 1 to 10000, rising")
        if not self.validity > 0 or self.tail < 0 or self.visibility_median < 0:
            raise ValueError("validity must be above 0, tail and visibility_median 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStyle:
    """The form of the reading answer, within (and a little beyond) what the vendor allows.

    `late_transient` is the probability, for each answer, that a recipient whose final state was already shown
    is shown as ENROUTE again. `read` is the share of delivered recipients that go on to READ, which the
    vendor's table does not have. `scheduled`: a message with a future `sendtime` is answered 404 (`hidden`) or
    SCHEDULED.
    """

    shape: Literal["list", "object", "alternating"] = "list"
    error_codes: Literal["hex", "number", "mixed"] = "hex"
    scheduled: Literal["hidden", "shown"] = "hidden"
    null_times: bool = False
    shuffle: bool = False
    late_transient: float = 0.0
    read: float = 0.0
    unknown_first: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxStyle:
    """How incoming messages are given: in which order, and in which zone (hours ahead of UTC) a day begins. `replies`
    is the share of delivered recipients that answer.
    """

    order: Literal["newest", "oldest", "mixed"] = "newest"
    zone: float = 0.0
    replies: float = 0.0

    def __post_init__(self) -> None:
        if not -24 < self.zone < 24 or not 0 <= self.replies <= 1:
            raise ValueError("zone must be hours between -24 and 24, replies a share from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """One simulator.

    `port` 0 takes a free one. `speed` divides every delay of the simulated world. `over_limit` says what a
    connection above `connection_limit` (per client address) meets: closed without an answer, or a bare 503. An unused
    connection is closed after `keep_alive` seconds.
    `requests_per_second` makes the gateway itself answer 429 above that rate. `poll_log` bounds the polls
    remembered one by one for each message (0 keeps counts only). `ssl_context` serves HTTPS.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    speed: float = 1.0
    credentials: Credentials = Credentials()
    population: Population = Population()
    answers: AnswerStyle = AnswerStyle()
    inbox: InboxStyle = InboxStyle()
    faults: tuple[Fault, ...] = ()
    connection_limit: int = 40
    over_limit: Literal["close", "503"] = "close"
    keep_alive: float = 75.0
    requests_per_second: float | None = None
    credit: float = 1000.0
    currency: str = "DKK"
    poll_log: int = 200
    ssl_context: ssl.SSLContext | None = None
