"""What became of messages: states by country, delivery times, and how soon states were known. Small, whatever the
number of messages; a snapshot outlives restarts (what came after the last one is lost with a crash).
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from pollerd.core import lifecycle
from pollerd.core.diff import Result
from pollerd.core.event import Status, instant
from pollerd.status import histogram
from pollerd.status.document import CountryDocument, DelayDocument, DeliveryDocument, HourDocument

STATISTICS_NOTE: Final = "statistics"
"""The name under which the store keeps the snapshot."""
HOURS: Final = 48
"""Hours over which states are kept."""
_HOUR: Final = 3600.0
"""Seconds."""
_VERSION: Final = 1
"""Of the form in which the counts are kept; another one is not read."""
_NOWHERE: Final = "??"
"""The country of recipients for which the gateway names none."""
_COUNTRIES: Final = 300
"""More than there are: what a gateway invents takes no more memory than this."""
_STATES: Final = 40
"""States from which on unknown ones are counted together."""
_OTHERS: Final = "other states"


class _Country(msgspec.Struct):
    states: dict[str, int]
    times: list[int]


class _Hour(msgspec.Struct):
    states: dict[str, int]
    delays: list[int]


class _Counted(msgspec.Struct):
    version: int
    since: float
    reached: dict[str, int]
    seen: int
    countries: dict[str, _Country]
    hours: dict[int, _Hour]


class Statistics:
    """Counts of one daemon, fed with every result that has events."""

    def __init__(self, now: float) -> None:
        self._state = _Counted(_VERSION, now, {}, 0, {}, {})

    def count(self, result: Result, now: float, ahead: float = 0.0) -> None:
        """Count what a poll at the wall's time `now` changed. See `ports.PollMeter`."""
        message = result.message
        # By the gateway's clock, as the times of states are.
        sent = message.sending + ahead
        # A state without a time of its own was given ours, which says nothing about how late we are.
        timeless = {(r.msisdn, r.status) for r in message.recipients if r.time is None}
        for body in result.bodies:
            # A charge that goes on is no other state.
            if type(body) is Status and body.previous != body.status:
                self._status(body, now, sent, timed=(body.msisdn, body.status) not in timeless)

    def _status(self, body: Status, now: float, sent: float, *, timed: bool) -> None:
        state = self._state
        _add(state.reached, body.status)
        if body.previous is None:
            state.seen += 1
        hour = self._hour(now)
        _add(hour.states, body.status)
        if not body.final:
            return
        if timed:
            hour.delays[histogram.bin_of(now - body.time)] += 1
        country = self._country(body.country_code)
        _add(country.states, body.status)
        if body.status == lifecycle.DELIVERED:
            country.times[histogram.bin_of(body.time - sent)] += 1

    def report(self, now: float) -> DeliveryDocument:
        """Everything counted; how late states were known covers this hour and the one before."""
        state = self._state
        latest = int(now // _HOUR)
        return DeliveryDocument(
            since=instant(state.since),
            seen=state.seen,
            reached=dict(sorted(state.reached.items(), key=lambda item: -item[1])),
            detection=self._detection(latest),
            countries=sorted(
                (_country_document(code, country) for code, country in state.countries.items()),
                key=lambda country: -sum(country.states.values()),
            ),
            hours=[
                HourDocument(at=instant(number * _HOUR), states=dict(hour.states))
                for number, hour in sorted(state.hours.items())
                if number > latest - HOURS
            ],
        )

    def _detection(self, latest: int) -> DelayDocument | None:
        counts = [self._state.hours[hour].delays for hour in (latest - 1, latest) if hour in self._state.hours]
        merged = [sum(column) for column in zip(*counts, strict=True)] if counts else []
        median, most = histogram.quantile(merged, 0.5), histogram.quantile(merged, 0.95)
        if median is None or most is None:
            return None
        return DelayDocument(count=sum(merged), median=round(median, 3), p95=round(most, 3))

    def snapshot(self) -> bytes:
        """What was counted, to be kept."""
        return msgspec.msgpack.encode(self._state)

    def restore(self, data: bytes) -> None:
        """Take up a snapshot. Foreign or damaged data is no error: counting starts afresh."""
        try:
            found = msgspec.msgpack.decode(data, type=_Counted)
        except msgspec.MsgspecError:
            return
        lists = [country.times for country in found.countries.values()]
        lists += [hour.delays for hour in found.hours.values()]
        if found.version == _VERSION and all(len(counts) == histogram.BINS for counts in lists):
            self._state = found

    def _hour(self, now: float) -> _Hour:
        number = int(now // _HOUR)
        hours = self._state.hours
        if number not in hours:
            hours[number] = _Hour({}, histogram.empty())
            for old in [known for known in hours if known <= number - HOURS]:
                del hours[old]
        return hours[number]

    def _country(self, code: str | None) -> _Country:
        countries = self._state.countries
        name = code or _NOWHERE
        if name not in countries:
            if len(countries) >= _COUNTRIES:
                name = _NOWHERE
            countries.setdefault(name, _Country({}, histogram.empty()))
        return countries[name]


def _country_document(code: str, country: _Country) -> CountryDocument:
    return CountryDocument(
        country=code,
        states=dict(sorted(country.states.items(), key=lambda item: -item[1])),
        median=histogram.quantile(country.times, 0.5),
        p95=histogram.quantile(country.times, 0.95),
        times=histogram.gathered(country.times, TIMES),
    )


TIMES: Final = (2.0, 5.0, 10.0, 20.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0, 86400.0)
"""Delivery times are grouped up to each of these seconds, and above the last."""


def _add(counts: dict[str, int], state: str) -> None:
    # What a gateway invents takes nothing from the vendor's own states.
    if state not in counts and state not in lifecycle.KNOWN and len(counts) >= _STATES:
        state = _OTHERS
    counts[state] = counts.get(state, 0) + 1


def totals(states: list[dict[str, int]]) -> Counter[str]:
    """Several counts as one."""
    found: Counter[str] = Counter()
    for counts in states:
        found.update(counts)
    return found
