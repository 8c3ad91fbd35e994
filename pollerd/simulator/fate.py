"""What becomes of one message at one phone: a pure function of seed, message id and number."""

import hashlib
import math
import struct
from dataclasses import dataclass, fields
from functools import lru_cache
from statistics import NormalDist

from pollerd.simulator.networks import Operator, number_for, operator_of

FINAL_STATES = frozenset({"DELIVERED", "EXPIRED", "DELETED", "UNDELIVERABLE", "ACCEPTED", "REJECTED", "SKIPPED"})
READ = "READ"
"""Follows DELIVERED at some phones (RCS): who sees it first has missed the delivery, and knows of it now."""

# Texts are ours; numbers as in the vendor's list of error codes.
ERROR_TEXTS: dict[int, str] = {
    0x1001: "Unspecified error",
    0x1010: "Unknown subscriber",
    0x1011: "Call barred",
    0x1013: "Absent subscriber",
    0x1019: "Subscriber not reachable",
    0x1021: "IMSI detached",
    0x1022: "No page response",
    0x1023: "Subscriber busy",
    0x102A: "Memory capacity exceeded",
    0x1030: "Screening block",
    0x1050: "Internal routing error",
    0x1053: "Message not delivered",
    0x1060: "Invalid destination address",
    0x1090: "Internal error",
    0x1091: "Network time-out",
    0x1092: "Insufficient funds",
    0x1902: "Message class not configured",
    0x1903: "Link not whitelisted",
    0x1904: "Filtered by content",
}
_CODES_OF: dict[str, tuple[int, ...]] = {
    "EXPIRED": (0x1013, 0x1019, 0x1021, 0x1022, 0x1023, 0x102A),
    "UNDELIVERABLE": (0x1010, 0x1060, 0x1011, 0x1010, 0x1001, 0x1053),
    "REJECTED": (0x1030, 0x1904, 0x1903, 0x1902, 0x1050, 0x1091, 0x1090),
    "SKIPPED": (0x1092,),
}
# Median and sigma of the log-normal time to a final state that no phone confirms, in virtual seconds.
_PROMPT: dict[str, tuple[float, float]] = {
    "UNDELIVERABLE": (4.0, 0.8),
    "ACCEPTED": (3.0, 0.5),
    "REJECTED": (1.5, 0.5),
    "SKIPPED": (0.6, 0.4),
    "DELETED": (2.0, 0.6),
}
_RETRY_AFTER = (60.0, 600.0, 3600.0)
"""Virtual seconds after which a network tries a phone again that was not reached at first."""
_PHONE_OFF_MEDIAN, _PHONE_OFF_SIGMA = 3 * 3600.0, 1.2  # Virtual seconds: how long a phone stays off.
_normal = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How fates are shared out; weights, not percentages.

    `never` ends as EXPIRED when the validity period is over; `stuck` stays ENROUTE for good.
    """

    delivered: float = 90.0
    never: float = 3.5
    undeliverable: float = 2.5
    accepted: float = 1.0
    rejected: float = 1.5
    skipped: float = 0.8
    deleted: float = 0.7
    stuck: float = 0.0

    def __post_init__(self) -> None:
        weights = [getattr(self, f.name) for f in fields(self)]
        if min(weights) < 0 or not sum(weights) > 0:
            raise ValueError("the mix of fates needs weights of 0 or more, at least one above 0")


@dataclass(frozen=True, slots=True)
class Step:
    """From `after` virtual seconds since sending, the recipient is in `status`, and its charge in `charge`."""

    after: float
    status: str
    code: int | None = None
    charge: str | None = None


@dataclass(frozen=True, slots=True)
class FateRules:
    """What a fate depends on beside seed, id, number and validity.

    `tail` is a factor on the delays of retries and switched-off phones; `unknown_first` and `read` are the
    shares of recipients that begin as UNKNOWN, and of delivered ones that go on to READ.
    """

    mix: Mix = Mix()
    tail: float = 1.0
    unknown_first: float = 0.05
    read: float = 0.0


@lru_cache(maxsize=64)
def _key(seed: int, purpose: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=32).digest()


def uniforms(seed: int, purpose: str, first: int, second: int = 0) -> tuple[float, ...]:
    """Eight numbers in (0, 1) that depend on the arguments alone."""
    data = first.to_bytes(9, "little") + second.to_bytes(9, "little")
    digest = hashlib.blake2b(data, digest_size=64, key=_key(seed, purpose)).digest()
    return tuple((word + 0.5) / 2**64 for word in struct.unpack("<8Q", digest))


def log_normal(median: float, sigma: float, u: float) -> float:
    """The u-quantile of a log-normal time; 0 when the median is 0."""
    # inv_cdf refuses the ends, which rounding of u can reach.
    return median * math.exp(sigma * _normal.inv_cdf(min(max(u, 1e-12), 1 - 1e-12)))


def recipients_of(seed: int, message_id: int, fewest: int, most: int) -> tuple[int, ...]:
    """The numbers of a message that was not sent: made from its id, all different."""
    count = fewest + int(uniforms(seed, "count", message_id)[0] * (most - fewest + 1))
    numbers: dict[int, None] = {}
    index = 0
    while len(numbers) < count:
        u = uniforms(seed, "number", message_id, index)
        numbers[number_for(u[0], u[1])] = None
        index += 1
    return tuple(numbers)


def _outcome(mix: Mix, operator: Operator, u: float) -> str:
    shares = (
        ("DELIVERED", mix.delivered),
        ("EXPIRED", mix.never * operator.never),
        ("UNDELIVERABLE", mix.undeliverable),
        ("ACCEPTED", mix.accepted),
        ("REJECTED", mix.rejected),
        ("SKIPPED", mix.skipped),
        ("DELETED", mix.deleted),
        ("STUCK", mix.stuck),
    )
    left = u * sum(weight for _, weight in shares)
    for outcome, weight in shares:
        if left < weight:
            return outcome
        left -= weight
    return "DELIVERED"


def _delivery_time(operator: Operator, tail: float, u_path: float, u_spike: float, u_time: float) -> float:
    if u_path < operator.first_try:
        return log_normal(operator.median, operator.sigma, u_time)
    if u_path < 1 - operator.phone_off:
        spike = _RETRY_AFTER[min(int(u_spike**2 * len(_RETRY_AFTER)), len(_RETRY_AFTER) - 1)]
        return spike * tail + log_normal(operator.median, operator.sigma, u_time)
    return log_normal(_PHONE_OFF_MEDIAN * tail, _PHONE_OFF_SIGMA, u_time)


def _code_for(status: str, u: float) -> int | None:
    codes = _CODES_OF.get(status)
    return codes[int(u * len(codes))] if codes else None


def fate_of(seed: int, message_id: int, msisdn: int, validity: float, rules: FateRules) -> tuple[Step, ...]:
    """Every state the recipient passes, in order. At most one is final; only READ may follow it.

    `validity` in virtual seconds: whatever has no final state by then is EXPIRED.
    """
    u = uniforms(seed, "fate", message_id, msisdn)
    operator = operator_of(msisdn)
    outcome = _outcome(rules.mix, operator, u[0])
    enroute = 0.3 + 1.2 * u[5]
    steps = [Step(0.0, "BUFFERED"), Step(enroute, "ENROUTE")]
    if u[6] < rules.unknown_first:
        steps.insert(0, Step(0.0, "UNKNOWN"))
        steps[1] = Step(0.2, "BUFFERED")
    if outcome == "STUCK":
        return tuple(steps)
    if outcome == "DELIVERED":
        ends = max(_delivery_time(operator, rules.tail, u[1], u[4], u[2]), enroute + 0.2)
    elif outcome == "EXPIRED":
        ends = math.inf
    else:
        ends = log_normal(*_PROMPT[outcome], u[2])
    if ends > validity:
        outcome, ends = "EXPIRED", validity + 10.0 * u[3]
    steps = [step for step in steps if step.after < ends]
    steps.append(Step(ends, outcome, _code_for(outcome, u[4])))
    if outcome == "DELIVERED" and u[7] < rules.read:
        steps.append(Step(ends + 1.0 + 20 * u[3], READ))
    return tuple(steps)
