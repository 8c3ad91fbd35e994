"""What the client gives: frozen values."""

from __future__ import annotations

from typing import Literal

import msgspec

from pollerd.base.errors import PollerdError
from pollerd.core import event as events
from pollerd.core import lifecycle
from pollerd.status.message import MessageDocument, RecipientDocument


class NotFollowedError(PollerdError, LookupError):
    """The message is not followed: `track` it first."""


class Tracked(msgspec.Struct, frozen=True):
    """What became of ids: newly followed, followed before, and how many of the latter had been given up."""

    new: int
    known: int
    gave_up: int


class FinalStates(msgspec.Struct, frozen=True, kw_only=True):
    """How a message ended. `state` is `finished`, or `gave_up` when some recipient has no final state."""

    id: int
    account: str
    userref: str | None
    state: Literal["finished", "gave_up"]
    polls: int
    recipients: tuple[RecipientDocument, ...]

    @property
    def delivered(self) -> bool:
        """Whether the message reached every recipient."""
        states = {each.counts_as or each.status for each in self.recipients}
        return bool(states) and states <= lifecycle.ARRIVED

    @property
    def statuses(self) -> dict[int, str]:
        """The state of each recipient by MSISDN; those without a usable number are in `recipients` only."""
        return {each.msisdn: each.status for each in self.recipients if each.msisdn is not None}


class StatusEvent(events.Status, frozen=True, tag=events.MESSAGE_STATUS, tag_field="type", kw_only=True):
    """A recipient's state changed."""

    seq: int


class CompletedEvent(events.Completed, frozen=True, tag=events.MESSAGE_COMPLETED, tag_field="type", kw_only=True):
    """The last recipient reached a final state."""

    seq: int


class GaveUpEvent(events.GaveUp, frozen=True, tag=events.MESSAGE_GAVE_UP, tag_field="type", kw_only=True):
    """Polling ended without a final state."""

    seq: int


class ResumedEvent(events.Resumed, frozen=True, tag=events.MESSAGE_RESUMED, tag_field="type", kw_only=True):
    """A message that was given up is polled again."""

    seq: int


class OverdueEvent(events.Overdue, frozen=True, tag=events.MESSAGE_OVERDUE, tag_field="type", kw_only=True):
    """`overdue_after` passed without a final state for some recipients."""

    seq: int


class ReceivedEvent(events.Received, frozen=True, tag=events.MESSAGE_RECEIVED, tag_field="type", kw_only=True):
    """Somebody sent a message to one of the account's numbers."""

    seq: int


class HeldEvent(events.Held, frozen=True, tag=events.ACCOUNT_HELD, tag_field="type", kw_only=True):
    """Polling of an account is paused."""

    seq: int


class RecoveredEvent(events.Recovered, frozen=True, tag=events.ACCOUNT_RECOVERED, tag_field="type", kw_only=True):
    """Polling of an account goes on."""

    seq: int


class CreditLowEvent(events.CreditLow, frozen=True, tag=events.CREDIT_LOW, tag_field="type", kw_only=True):
    """The balance fell below the threshold."""

    seq: int


class CreditOkEvent(events.CreditOk, frozen=True, tag=events.CREDIT_OK, tag_field="type", kw_only=True):
    """The balance is above the threshold again."""

    seq: int


class ForgottenEvent(events.Forgotten, frozen=True, tag=events.EVENT_FORGOTTEN, tag_field="type", kw_only=True):
    """What this event said was removed (`pollerd forget`)."""

    seq: int


class Gap(msgspec.Struct, frozen=True, tag="gap", tag_field="type", kw_only=True):
    """The events after `after` and before `first` were deleted by retention before they were read; or numbers were left
    out, since a failover of PostgreSQL may have lost some: what had them is reported again.
    """

    after: int
    first: int


AnyEvent = (
    StatusEvent
    | CompletedEvent
    | GaveUpEvent
    | ResumedEvent
    | OverdueEvent
    | ReceivedEvent
    | HeldEvent
    | RecoveredEvent
    | CreditLowEvent
    | CreditOkEvent
    | ForgottenEvent
    | Gap
)
_decoder = msgspec.json.Decoder(AnyEvent)


def event_from_line(line: bytes) -> AnyEvent:
    """The event in a line of NDJSON. Raises msgspec.DecodeError."""
    found: AnyEvent = _decoder.decode(line)
    return found


def final_states(document: MessageDocument) -> FinalStates | None:
    """How the message ended; None while it has not."""
    if document.state in ("pending", "set_aside"):
        return None
    return FinalStates(
        id=document.id,
        account=document.account,
        userref=document.userref,
        state="finished" if document.state == "finished" else "gave_up",
        polls=document.polls,
        recipients=document.recipients,
    )
