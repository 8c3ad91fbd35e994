"""What is stored of accounts, and the cursors of outputs, as values. What cannot be used begins anew, and is named."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from pollerd.core.model import HoldReason
from pollerd.core.ports import AccountState, Cursor
from pollerd.store import rows

log = logging.getLogger(__name__)

_REASONS: Final = frozenset(HoldReason)


def account_from_row(row: Sequence[Any]) -> AccountState:
    """An account, from a row selected as the statement `accounts`."""
    name, reason, detail, since, until, total, credit, currency, low, credit_at, trusting, refusal = row
    numbers = (since, until, total, credit, credit_at)
    if (reason and reason not in _REASONS) or any(rows.real(value) is None for value in numbers if value is not None):
        log.error(
            "what is stored of the account %s cannot be used (%r): it begins anew",
            name,
            [reason, *numbers],
            extra={"event": "row_damaged"},
        )
        return AccountState(name)
    return AccountState(
        name,
        HoldReason(reason) if reason else None,
        rows.text(detail) or "",
        since,
        until,
        total or 0.0,
        credit,
        rows.text(currency),
        bool(low),
        credit_at,
        bool(trusting),
        rows.text(refusal) or "",
    )


def cursor_from_row(row: Sequence[Any]) -> Cursor | None:
    """An output's cursor, from a row selected as the statement `cursor`; None when it cannot be used."""
    name, seq, detail = row
    if not isinstance(seq, int):
        log.error(
            "the place of the output %s cannot be used (%r): it is searched for as for a new output",
            name,
            seq,
            extra={"event": "row_damaged"},
        )
        return None
    return Cursor(name, seq, rows.text(detail) or "")
