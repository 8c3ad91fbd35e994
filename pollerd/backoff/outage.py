"""Outages: telling an operator that has stalled from messages that will never come.

A learned hazard says that what has not come by now will hardly come. While an operator stalls this is wrong for all its
messages at once, and the proof is that the detections which the hazards promise stay away.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

from pollerd.backoff.protocol import EVERYWHERE, Key

DECAY = 60.0
"""Seconds over which promised and seen detections fade."""

DOWN_EXPECTED = 8.0  # Promised detections needed for a verdict.
DOWN_SHARE = 0.15  # Of the promised detections: fewer seen is an outage.
SILENT_EXPECTED = 12.0
"""So many promised detections in a row without one: an outage at any rate of traffic (chance e^-12)."""

WORLD_CAUTION = 1.5
"""All together must miss more, so that an operator with most of the traffic is found out first."""

FADE_STEP = 0.5  # Seconds: finer steps of fading change nothing.
SILENT_DECAY = 3600.0  # Seconds over which detections promised in silence fade.
UP_OBSERVED = 3.0  # Detections needed for the end of an outage.
UP_SHARE = 0.3  # Of the promised detections: more seen is the end.
LONGEST_OUTAGE = 6 * 3600.0  # Seconds: what stays away for longer is no outage.
CONCERNED = 21600.0
"""Messages older than this when the outage began keep their age: they were late for reasons of their own."""

YOUNG = 60.0
"""Below this age (seconds) a message needs no new clock, and probes at its normal pace."""

MOST_SCOPES = 500
"""Networks whose outages are watched at a time; the one that was heard of longest ago is dropped."""

SETTLED = 120.0
"""A clock moved less than this ago is not moved again."""


@dataclass(slots=True)
class _Scope:
    expected: float = 0.0
    observed: float = 0.0
    silent: float = 0.0
    caution: float = 1.0
    stamp: float = 0.0
    last_hit: float = 0.0
    down_since: float | None = None
    began: float = 0.0
    origin: float | None = None

    def fade(self, now: float) -> None:
        passed = now - self.stamp
        if passed > FADE_STEP:
            f = exp(-passed / DECAY)
            self.expected *= f
            self.observed *= f
            self.silent *= max(1.0 - passed / SILENT_DECAY, 0.0)
            self.stamp = now

    def note(self, now: float, promised: float, hits: float) -> bool:
        """Count one poll; True when this ends an outage."""
        if self.down_since is not None:
            return self._note_down(now, promised, hits)
        self.fade(now)
        self.expected += promised
        if hits:
            self.observed += hits
            self.silent = 0.0
            self.last_hit = now
        else:
            self.silent += promised
            enough = self.expected > DOWN_EXPECTED * self.caution
            stalled = enough and self.observed < DOWN_SHARE * self.expected
            if stalled or self.silent > SILENT_EXPECTED * self.caution:
                self.down_since = now
                self.began = self.last_hit or now
                self.expected = self.observed = 0.0
        return False

    def _note_down(self, now: float, promised: float, hits: float) -> bool:
        # Counting starts at the first detection: what was promised before it belongs to the outage.
        if hits or self.observed:
            self.expected += promised
            self.observed += hits
            if self.expected > DOWN_EXPECTED and self.observed < UP_SHARE * self.expected:
                self.expected = self.observed = 0.0
        down_since = now if self.down_since is None else self.down_since
        over = self.observed > UP_OBSERVED and self.observed > UP_SHARE * self.expected
        if over or now - down_since > LONGEST_OUTAGE:
            self.down_since = None
            self.origin = now
            self.last_hit = now
            self.stamp = now
            self.expected = self.observed = self.silent = 0.0
            return True
        return False

    def forget(self) -> None:
        """Count from here."""
        self.expected = self.observed = self.silent = 0.0

    def healthy(self) -> bool:
        """Detections come as promised, by the latest count."""
        return self.down_since is None and self.expected > 2.0 and self.observed > UP_SHARE * self.expected


class OutageClocks:
    """The outage clock of every operator, and of all together."""

    __slots__ = ("_scopes", "_wake", "_world")

    def __init__(self) -> None:
        self._scopes: dict[Key, _Scope] = {}
        self._world = _Scope(caution=WORLD_CAUTION)
        self._wake: list[Key] = []

    def note(self, now: float, key: Key, promised: float, hits: float) -> bool:
        """A poll of a young message: its chance to find a change, and whether it did. True at an outage's end.

        Of a message with many recipients, how many it promised to find and has found, as far as they count.
        """
        scope = self._scopes.get(key)
        if scope is None:
            if len(self._scopes) >= MOST_SCOPES:
                del self._scopes[min(self._scopes, key=lambda each: self._scopes[each].stamp)]
            scope = self._scopes[key] = _Scope(stamp=now)
        before = scope.down_since
        ended = scope.note(now, promised, hits)
        if ended:
            self._wake.append(key)
        if scope.down_since is not None and self._world.down_since is None:
            if before is None:
                self._world.forget()
            # What one operator's outage keeps away is no sign of an outage everywhere.
            return ended
        if self._world.note(now, promised, hits):
            self._wake.append(EVERYWHERE)
            ended = True
        return ended

    def down(self, key: Key) -> bool:
        """Does `key` stall?"""
        scope = self._scopes.get(key)
        if scope is not None and scope.down_since is not None:
            return True
        return self._world.down_since is not None and not (scope is not None and scope.healthy())

    def down_keys(self) -> tuple[Key, ...]:
        """The scopes that stall."""
        keys = [key for key, scope in self._scopes.items() if scope.down_since is not None]
        return (*keys, EVERYWHERE) if self._world.down_since is not None else tuple(keys)

    def base_for(self, key: Key, submit: float, base: float) -> float:
        """The age clock's origin: the end of the last outage for a message that was pending through it."""
        for scope in (self._scopes.get(key), self._world):
            if scope is None or scope.origin is None or scope.origin <= base:
                continue
            origin = scope.origin
            if base > submit + 1.0 and origin - base < SETTLED:
                continue
            if scope.began - CONCERNED < submit < origin - YOUNG:
                base = origin
        return base

    def wake(self, key: Key) -> None:
        """Have the messages of `key` planned anew for another reason."""
        self._wake.append(key)

    def take_wake(self) -> list[Key]:
        """The scopes that have recovered since the last call."""
        wake, self._wake = self._wake, []
        return wake

    def dump(self) -> list[tuple[Key, float, float]]:
        """Key, beginning and end of the last outages, for a snapshot."""
        ended = [(key, s.began, s.origin) for key, s in self._scopes.items() if s.origin is not None]
        if self._world.origin is not None:
            ended.append((EVERYWHERE, self._world.began, self._world.origin))
        return ended

    def load(self, ended: list[tuple[Key, float, float]]) -> None:
        """The reverse of `dump`."""
        for key, began, origin in ended:
            scope = self._world if key == EVERYWHERE else self._scopes.setdefault(key, _Scope())
            scope.began, scope.origin = began, origin
