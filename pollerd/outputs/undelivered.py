"""What outputs say in the log about events that they keep beside their place."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from pollerd.core.ports import Delivery

logger = logging.getLogger(__name__)

_NAMED: Final = 5
"""Events that one line of the log names; the others are counted."""


class _State(msgspec.Struct, frozen=True):
    status: str = ""


_state: Final = msgspec.json.Decoder(_State)


def named(deliveries: Sequence[Delivery]) -> str:
    """Events by number, message and state, the first few of them: `event 17 (message 4602, DELIVERED)`."""
    first = [_name(delivery) for delivery in deliveries[:_NAMED]]
    more = len(deliveries) - len(first)
    return ", ".join([*first, *([f"{more} more"] if more else [])])


def _name(delivery: Delivery) -> str:
    state = _state.decode(delivery.body).status or delivery.type
    message = f"message {delivery.message_id}, " if delivery.message_id > 0 else ""
    return f"event {delivery.seq} ({message}{state})"


def log_superseded(output: str, superseded: Sequence[Delivery]) -> None:
    """Log that an output has delivered something later, so that these are old."""
    if superseded:
        logger.info(
            "output %s: superseded by a later state and dropped: %s",
            output,
            named(superseded),
            extra={"event": "output_superseded", "output": output, "superseded": len(superseded)},
        )
