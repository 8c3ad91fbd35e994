"""Telling that messages no longer end when the plan says: what was learned earlier is then no guide any more.

Where a plan is right, the share of messages that it has still pending at a final state's age is as likely to be any
number between 0 and 1. Many near 1 in a row say that messages end much earlier than learned, many near 0 much later.
"""

from __future__ import annotations

from math import log, sqrt

FADE = 0.98
"""Weight that an ending keeps with each further one: some fifty endings are judged together."""

EXTREME = 1e-3
"""A share is taken to be at least so far from 0 and 1: one odd message proves nothing."""

RESOLUTION = 1.0
"""Seconds: the gateway's times are often whole seconds. An ending is taken to fit the plan as well as that allows."""

SURE = 30.0
"""Final states (decayed) that a plan was made from before it can be contradicted: a younger one changes anyway."""

LEFT = 1.0
"""Final states that what was learned still counts for once it is contradicted: twenty new ones outweigh it."""

PROOF = 10.0  # Added to the allowed sum, so that a few endings alone cannot contradict.
SPREAD = 3.0
"""A sum of n such logarithms has mean n and deviation sqrt(n). It contradicts the plan from n + 3 sqrt(n) + 10 on:
three messages that are utterly at odds with it after a new start, some fifteen once fifty others have fitted it."""


class Contradiction:
    """How far the latest endings of one operator are from its plan."""

    __slots__ = ("_early", "_ended", "_late")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew, after what was learned has been forgotten."""
        self._ended = self._early = self._late = 0.0

    def ended(self, soonest: float, latest: float, share: float = 1.0) -> bool:
        """A `share` of a message's recipients ended. True when the endings together contradict the plan.

        `soonest` and `latest` are the shares of messages that the plan has pending at the soonest and the latest age
        at which this one can have ended: of all messages, since those that a poll found pending are not seen here.
        """
        fade = FADE**share
        self._ended = self._ended * fade + share
        self._early = self._early * fade - share * log(max(1.0 - latest, EXTREME))
        self._late = self._late * fade - share * log(max(soonest, EXTREME))
        allowed = self._ended + SPREAD * sqrt(self._ended) + PROOF
        return self._early > allowed or self._late > allowed
