"""What a refusal is worth: how long a message was refused, and whether that ends it. Pure.

Instants are those of `OutcomeRules.active`: time in which the account was held does not count.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from pollerd.core.model import Message

MAX_STRIKES: Final = 5
"""Answers held against a message (400, 410, 422, undecodable) before polling it ends in `rejected_request`."""
LEAST_ALONE: Final = 86400.0
"""Seconds of refusals at least that end a message where no other one was ever answered: nothing says whose fault it
is."""
_LEAST_SUSPECT: Final = 60.0  # Seconds.
_MOST_SUSPECT: Final = 900.0  # Seconds.
_SUSPECT_GRACES: Final = 4.0
"""The bounds of `suspect_for`, in seconds and in `not_found_grace`."""
_WAIT_SHARE: Final = 0.25
"""A refusal that is not believed is polled again after this share of the time it has lasted by then."""
_FIRST_WAIT: Final = 30.0  # Seconds at least: sooner the gateway has hardly changed its mind.
_LONGEST_WAIT: Final = 3600.0  # Seconds at most: an answer that comes back is seen within the hour.


class Evidence(msgspec.Struct, frozen=True):
    """What the account's other messages say about a refusal.

    `believed`: the refusal stands. `alone`: no other message was ever answered, so that it stands only after
    `LEAST_ALONE`. Neither: a message never ends by it. `taken_back_at`: when the gateway last took a refusal back: what
    it refused before that proves nothing.
    """

    believed: bool = False
    alone: bool = False
    taken_back_at: float = -math.inf


NO_EVIDENCE: Final = Evidence()


def suspect_for(grace: float) -> float:
    """Seconds for which a gateway that has taken back a refusal is not believed: some graces, within bounds."""
    return min(max(_LEAST_SUSPECT, _SUSPECT_GRACES * grace), max(_MOST_SUSPECT, grace))


def look_again(lasted: float) -> float:
    """Seconds until a message is asked about again that was refused for so long, and is not believed to be gone."""
    return min(_LONGEST_WAIT, max(_FIRST_WAIT, lasted * _WAIT_SHARE))


def run(message: Message, active: float, evidence: Evidence) -> tuple[Message, float]:
    """A message that was just refused, at the instant `active`, and for how long the run of refusals has lasted that
    this one belongs to: a new one after an answer, and where the gateway has taken refusals back since it began.
    """
    since = message.refused_since
    if since is None or message.misses + message.strikes == 1 or not evidence.taken_back_at <= since <= active:
        return msgspec.structs.replace(message, refused_since=active, strikes=min(message.strikes, 1)), 0.0
    return message, active - since
