"""Which delivery states there are, which are final, and what may follow what.

Source: the vendor's table of delivery states (`dsnstatus`). States that are not in the table can appear (RCS
brings `READ`); an unknown state is transient and passed on as it is.
"""

from __future__ import annotations

from typing import Final

SCHEDULED: Final = "SCHEDULED"
DELIVERED: Final = "DELIVERED"
EXPIRED: Final = "EXPIRED"

TRANSIENT: Final = frozenset({"UNKNOWN", SCHEDULED, "BUFFERED", "ENROUTE"})
FINAL: Final = frozenset(
    {DELIVERED, EXPIRED, "DELETED", "UNDELIVERABLE", "ACCEPTED", "REJECTED", "SKIPPED"},
)
UNSENT: Final = frozenset({"UNKNOWN", SCHEDULED})
"""States before the message is handed to anybody."""
KNOWN: Final = TRANSIENT | FINAL


def is_final(status: str) -> bool:
    """Whether nothing can follow `status`; an unknown state is not final."""
    return status in FINAL


def follows(previous: str | None, status: str) -> bool:
    """Whether seeing `status` after `previous` is a change to tell.

    The first state seen is one (`previous` None). Nothing follows a final state: what the gateway shows after it,
    another final state included, is ignored.
    """
    if previous is None:
        return True
    return previous != status and previous not in FINAL
