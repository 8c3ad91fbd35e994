"""Mobile networks of the simulated world: who carries a number, and how fast.

The figures are plausible, not measured: a typical network delivers in 5 to 8 s, part of the traffic
misses its first attempt, and phones that are switched off make a tail of hours.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One mobile network.

    `median` (virtual seconds) and `sigma` describe the log-normal time of a first attempt that succeeds;
    `first_try` is the share of those, `phone_off` the share that waits for hours, and the rest comes with
    the network's retries. `never` multiplies the population's share that never arrives.
    """

    country: str
    prefix: int
    digits: int
    mcc: int
    mnc: int
    weight: float
    median: float
    sigma: float
    first_try: float = 0.80
    phone_off: float = 0.06
    never: float = 1.0


def _network(place: str, code: str, weight: float, median: float, sigma: float, **shares: float) -> Operator:
    country, prefix, digits = place.split()
    mcc, mnc = code.split("/")
    return Operator(
        country=country,
        prefix=int(prefix),
        digits=int(digits),
        mcc=int(mcc),
        mnc=int(mnc),
        weight=weight,
        median=median,
        sigma=sigma,
        **shares,
    )


# "country, calling code, national digits"; "MCC/MNC"; share of traffic; median; sigma
OPERATORS: tuple[Operator, ...] = (
    _network("DK 45 8", "238/01", 22, 5.2, 0.45),
    _network("DK 45 8", "238/02", 12, 6.1, 0.55, first_try=0.75),
    _network("DK 45 8", "238/20", 10, 7.4, 0.60, first_try=0.70, phone_off=0.08),
    _network("SE 46 9", "240/01", 8, 5.6, 0.50),
    _network("SE 46 9", "240/07", 6, 7.8, 0.70, first_try=0.72),
    _network("NO 47 8", "242/01", 6, 5.0, 0.40, first_try=0.85, phone_off=0.04),
    _network("NO 47 8", "242/02", 4, 6.4, 0.55),
    _network("DE 49 11", "262/01", 7, 6.0, 0.50),
    _network("DE 49 11", "262/02", 5, 7.0, 0.65, first_try=0.68),
    _network("DE 49 11", "262/03", 4, 8.2, 0.75, first_try=0.65, phone_off=0.09, never=1.4),
    _network("GB 44 10", "234/10", 5, 5.8, 0.50),
    _network("GB 44 10", "234/15", 4, 6.6, 0.60),
    _network("FR 33 9", "208/01", 3, 6.9, 0.60, first_try=0.74),
    _network("US 1 10", "310/260", 2, 5.4, 0.90, phone_off=0.03),
    _network("IN 91 10", "404/10", 2, 12.0, 1.10, first_try=0.55, phone_off=0.12, never=2.5),
)

ELSEWHERE = Operator(
    country="ZZ", prefix=0, digits=11, mcc=901, mnc=1, weight=0.0, median=9.0, sigma=0.9, first_try=0.6
)
"""Carries every number whose calling code no operator above has."""

_BY_PREFIX = {o.prefix: tuple(p for p in OPERATORS if p.prefix == o.prefix) for o in OPERATORS}


def _choose(operators: tuple[Operator, ...], u: float) -> Operator:
    totals = list(accumulate(o.weight for o in operators))
    return operators[min(bisect_right(totals, u * totals[-1]), len(operators) - 1)]


@lru_cache(maxsize=65_536)
def operator_of(msisdn: int) -> Operator:
    """The network of a number, always the same one: by calling code, then spread by the number itself."""
    digits = str(msisdn)
    for length in (1, 2, 3):
        operators = _BY_PREFIX.get(int(digits[:length]))
        if operators:
            return _choose(operators, (msisdn * 2_654_435_761 & 0xFFFF_FFFF) / 0x1_0000_0000)
    return ELSEWHERE


def number_for(u_country: float, u_number: float) -> int:
    """A number of a country drawn by share of traffic; both arguments lie in [0, 1)."""
    place = _choose(OPERATORS, u_country)
    tens: int = 10 ** (place.digits - 1)
    return (place.prefix * 10 + 2) * tens + int(u_number * 7 * tens)


def network_code(text: str) -> tuple[int, int]:
    """`238/01` or `238-1` as (MCC, MNC); ValueError when it is neither."""
    mcc, _, mnc = text.replace("/", "-").partition("-")
    if not (mcc.isdigit() and mnc.isdigit()):
        raise ValueError(f"operator is {text!r}; write MCC/MNC, such as 238/01")
    return int(mcc), int(mnc)
