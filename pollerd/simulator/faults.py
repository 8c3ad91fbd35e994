"""Faults on demand: what they are, how they are written, and which request meets which.

A fault is written `KIND[:PROBABILITY][:KEY=VALUE]...`:

    500:0.05                          five of a hundred requests
    429:0.1:retry_after=5             Retry-After in seconds; any text is sent as it is
    503:retry_after=date+30           Retry-After as an HTTP date, 30 s from the answer
    hang:0.01:seconds=60              no answer for a minute
    reset:next=3                      the next three requests
    401:from=2:until=5                between 2 s and 5 s after the faults were set
    422:ids=17+18:on=read             two messages, only when read
    403:on=incoming                   this account may not read incoming messages
    404:form=text                     an error answer that a proxy wrote: text, empty, html, json
    404:0.5:by=connection             every request of half of the connections
    404:0.5:by=60                     every request in half of each minute
    reset:rest=1                      a connection that rested a second or more since its last answer
    drop:rest=0                       every request but the first of its connection
    outage:operator=238/01:until=60   a network whose deliveries stand still
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal

from pollerd.simulator.clock import SimClock
from pollerd.simulator.fate import uniforms
from pollerd.simulator.networks import network_code
from pollerd.simulator.outages import Outage, Outages

Action = Literal["read", "send", "cancel", "balance", "incoming"]

KINDS: dict[str, str] = {
    "reset": "the connection is reset (RST) without an answer",
    "drop": "the connection is closed without an answer",
    "hang": "no answer for `seconds` (3600), then the connection is closed",
    "slow": "the right answer, `seconds` (1) late",
    "drip": "the right answer, one byte every `seconds` (0.2)",
    "html": "200 with the HTML page of a captive portal",
    "truncated": "200 with JSON that ends in the middle",
    "cut": "200 whose connection is closed in the middle of the body",
    "wrong_json": "200 with valid JSON of a wrong shape; several shapes in turn",
    "redirect": "302 to another host, `to`",
    "gzip_bomb": "200 whose gzip body unpacks to `size` (200 MB) bytes",
    "empty": "200 without a body",
    "huge": "200 with a body of `size` (64 MB) bytes",
    "outage": "not an answer: deliveries of `operator` (MCC/MNC) stand still",
}
"""Every kind beside the plain HTTP statuses 400 to 599, and what it does."""

FORMS = ("vendor", "text", "empty", "html", "json")
"""Forms of the body of an error answer; only the first is the gateway's own."""

_STATUS = re.compile(r"[45]\d\d")
_FIELD = re.compile(r":(?=[a-z_]+=)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of trouble and the requests it concerns; see the module's text for how it is written.

    `since` and `until` count real seconds from the moment the faults are set. `times` bounds how often it
    strikes. With `rest` it concerns requests on a connection that had an answer before, at least so many seconds ago.
    `seconds`, `size`, `to` and `retry_after` mean what the kind makes of them. `form` is an error answer's body,
    None: as usual for its status. `by` is what `probability` is a share of: of requests, of connections, or of each
    period of so many seconds.
    """

    kind: str
    probability: float = 1.0
    on: Action | Literal["any"] = "any"
    ids: frozenset[int] | None = None
    since: float = 0.0
    until: float = math.inf
    times: int | None = None
    rest: float | None = None
    retry_after: str | None = None
    seconds: float | None = None
    size: int | None = None
    to: str | None = None
    operator: tuple[int, int] | None = None
    form: str | None = None
    by: Literal["request", "connection"] | float = "request"

    def __post_init__(self) -> None:
        if self.kind not in KINDS and not _STATUS.fullmatch(self.kind):
            names = ", ".join(KINDS)
            raise ValueError(f"unknown fault {self.kind!r}; use a status from 400 to 599 or one of {names}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"fault {self.kind}: probability {self.probability!r} is not between 0 and 1")
        if self.kind == "outage" and self.operator is None:
            raise ValueError("fault outage: say which network, such as outage:operator=238/01")
        if self.form is not None and (self.form not in FORMS or self.status is None):
            raise ValueError(f"fault {self.kind}: form={self.form!r}; a status takes one of {', '.join(FORMS)}")
        if isinstance(self.by, float) and not 0 < self.by < math.inf:
            raise ValueError(f"fault {self.kind}: by={self.by!r}; use request, connection or seconds above 0")

    @property
    def status(self) -> int | None:
        """The HTTP status when the fault is a plain error answer."""
        return int(self.kind) if self.kind.isdigit() else None

    def concerns(self, action: Action, message_id: int | None, elapsed: float, rested: float | None = None) -> bool:
        """Whether a request, `elapsed` seconds after the faults were set, can meet this fault at all. `rested`: seconds
        since the last answer on its connection, None for the first request there."""
        return (
            self.kind != "outage"
            and self.since <= elapsed < self.until
            and (self.on in ("any", action))
            and (self.ids is None or message_id in self.ids)
            and (self.rest is None or (rested is not None and rested >= self.rest))
        )


def parse_fault(text: str) -> Fault:
    """A fault from its text; ValueError that names the text, what is wrong and what would be right."""
    head, *pairs = _FIELD.split(text.strip())
    kind, _, share = head.partition(":")
    try:
        values: dict[str, str] = {}
        for pair in pairs:
            key, _, value = pair.partition("=")
            values[key] = value
        return _build(kind, share, values)
    except ValueError as error:
        raise ValueError(f"fault {text!r}: {error}") from error


_ACTIONS: dict[str, Action | Literal["any"]] = {
    "read": "read",
    "send": "send",
    "cancel": "cancel",
    "balance": "balance",
    "incoming": "incoming",
    "any": "any",
}
_KEYS = ("on", "ids", "from", "until", "next", "rest", "retry_after", "seconds", "size", "to", "operator", "form", "by")


def _build(kind: str, share: str, values: dict[str, str]) -> Fault:
    unknown = [key for key in values if key not in _KEYS]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; keys are {', '.join(_KEYS)}")
    on = values.get("on", "any")
    if on not in _ACTIONS:
        raise ValueError(f"on={on!r}; use {', '.join(_ACTIONS)}")
    ids = values.get("ids")
    return Fault(
        kind=kind,
        probability=float(share) if share else 1.0,
        on=_ACTIONS[on],
        ids=frozenset(int(part) for part in ids.split("+")) if ids else None,
        since=float(values.get("from", 0.0)),
        until=float(values.get("until", math.inf)),
        times=int(values["next"]) if "next" in values else None,
        rest=float(values["rest"]) if "rest" in values else None,
        retry_after=values.get("retry_after"),
        seconds=float(values["seconds"]) if "seconds" in values else None,
        size=int(values["size"]) if "size" in values else None,
        to=values.get("to"),
        operator=network_code(values["operator"]) if "operator" in values else None,
        form=values.get("form"),
        by=_by(values.get("by", "request")),
    )


def _by(text: str) -> Literal["request", "connection"] | float:
    match text:
        case "request" | "connection":
            return text
        case _:
            return float(text)


def retry_after_header(text: str, now: float) -> str:
    """The header's value: `date`, `date+N` and `date-N` become an HTTP date, all else stays as it is."""
    match = re.fullmatch(r"date([+-]\d+)?", text)
    return formatdate(now + int(match[1] or 0), usegmt=True) if match else text


class _Armed:
    __slots__ = ("fault", "left")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.left = math.inf if fault.times is None else fault.times


class FaultBoard:
    """The faults in force. The first one that concerns a request and wins its draw is the answer."""

    def __init__(self, clock: SimClock, outages: Outages, seed: int) -> None:
        self._clock = clock
        self._outages = outages
        self._seed = seed
        self._draws = 0
        self._set_at = clock.now()
        self._armed: tuple[_Armed, ...] = ()

    @property
    def active(self) -> tuple[Fault, ...]:
        """What was set last, used up or not."""
        return tuple(armed.fault for armed in self._armed)

    def set(self, *faults: Fault | str) -> None:
        """Put these in the place of all faults so far; nothing at all ends every fault and outage."""
        parsed = [parse_fault(f) if isinstance(f, str) else f for f in faults]
        self._set_at = now = self._clock.now()
        self._armed = tuple(_Armed(f) for f in parsed)
        self._outages.replace_running(now, list(_outages_of(parsed, now)))

    def draw(
        self, action: Action, message_id: int | None, connection: int = 0, rested: float | None = None
    ) -> Fault | None:
        """The fault this request on the `connection`-th connection meets, or None. Uses up one of its `times`. `rested`
        as for `Fault.concerns`."""
        if not self._armed:
            return None
        elapsed = self._clock.now() - self._set_at
        for armed in self._armed:
            if armed.left <= 0 or not armed.fault.concerns(action, message_id, elapsed, rested):
                continue
            if self._chance(armed.fault, connection, elapsed) < armed.fault.probability:
                armed.left -= 1
                return armed.fault
        return None

    def _chance(self, fault: Fault, connection: int, elapsed: float) -> float:
        if isinstance(fault.by, float):
            return elapsed % fault.by / fault.by
        if fault.by == "connection":
            return uniforms(self._seed, "connection", connection)[0]
        self._draws += 1
        return uniforms(self._seed, "fault", self._draws)[0]


def _outages_of(faults: Iterable[Fault], now: float) -> Iterable[Outage]:
    for fault in faults:
        if fault.kind == "outage" and fault.operator is not None:
            yield Outage(*fault.operator, now + fault.since, now + fault.until)
