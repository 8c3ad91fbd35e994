"""Which delivery states there are, which are final, and what may follow what. Every such decision is taken here.

Source: the vendor's table of delivery states (`dsnstatus`). Decided by us, where the vendor says nothing:

- A state that is not in the table is transient and passed on as it is.
- READ (RCS) follows DELIVERED in the vendor's callbacks. Seen first it says that the message arrived: it is reported
  as it is and is final. After DELIVERED it is not reported: nothing follows a final state.
- An entry without a state is no change: what was known stays, and no state is made up for what was never known.
- A transient state that is older by the gateway's own time than the one known comes from a copy that lags behind: no
  change either. Without two times that can be compared, what is shown last counts. A final state always counts.
"""

from __future__ import annotations

from typing import Final

NO_STATE: Final = ""
"""The gateway has shown no state of a recipient yet. Neither reported nor final."""
UNKNOWN: Final = "UNKNOWN"
SCHEDULED: Final = "SCHEDULED"
DELIVERED: Final = "DELIVERED"
ACCEPTED: Final = "ACCEPTED"
EXPIRED: Final = "EXPIRED"
READ: Final = "READ"

TRANSIENT: Final = frozenset({UNKNOWN, SCHEDULED, "BUFFERED", "ENROUTE"})
ARRIVED: Final = frozenset({DELIVERED, ACCEPTED, READ})
"""What counts as having reached the recipient; ACCEPTED where the network says no more."""
FINAL: Final = ARRIVED | {EXPIRED, "DELETED", "UNDELIVERABLE", "REJECTED", "SKIPPED"}
UNSENT: Final = frozenset({NO_STATE, UNKNOWN, SCHEDULED})
"""States before the message is handed to anybody."""
KNOWN: Final = TRANSIENT | FINAL

_CHARGE_STEPS: Final = {
    "NOCHARGE": 0,
    "AUTHORIZED": 1,
    **dict.fromkeys(("CAPTURED", "CANCELLED", "FAILED", "REFUND_FAIL"), 2),
    "REFUNDED": 3,
}
"""How far a charge is. REFUND_FAIL is a notice: the charge stays CAPTURED. Source: the vendor's REST documentation."""
_UNKNOWN_STEP: Final = 4  # Behind all known ones: a status that the vendor has added is always passed on.

AHEAD: Final = 300.0
"""Seconds that the gateway's clock may be ahead of ours: a state of a later time than that says nothing about order."""


def is_final(status: str) -> bool:
    """Whether nothing can follow `status`; an unknown state is not final."""
    return status in FINAL


def follows(previous: str | None, status: str) -> bool:
    """Whether seeing `status` after `previous` is a change to report.

    The first state seen is one (`previous` None or NO_STATE). Nothing follows a final state: what the gateway shows
    after it, another final state included, is ignored.
    """
    if not status:
        return False
    return not previous or (previous != status and previous not in FINAL)


def charge_goes_on(known: str | None, shown: str | None) -> bool:
    """Whether the charge status `shown` after a final state is new. An earlier step after a later one is a copy that
    lags behind; a status that is in no table is a change.
    """
    if shown is None or shown == known:
        return False
    return known is None or _CHARGE_STEPS.get(shown, _UNKNOWN_STEP) >= _CHARGE_STEPS.get(known, 0)


def is_older(known: float | None, shown: float | None, now: float) -> bool:
    """Whether a state of the gateway's time `shown` is older than the one of `known` (UNIX seconds, None: no time)."""
    return known is not None and shown is not None and shown < known <= now + AHEAD


def name(status: str) -> str:
    """The state as it is shown: the vendor's word for it where none was ever shown."""
    return status or UNKNOWN
