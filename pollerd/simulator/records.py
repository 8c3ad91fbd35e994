"""The truth about a message as others read it: in Python, or as JSON from the admin prefix."""

import msgspec

from pollerd.simulator.fate import ERROR_TEXTS
from pollerd.simulator.networks import operator_of
from pollerd.simulator.truth import SimulatedMessage, Truth, first_final, state_at


class ChangeRecord(msgspec.Struct, frozen=True):
    """From `at` (real UNIX seconds) the recipient is in `status`."""

    at: float
    status: str


class RecipientRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient: `final` and `final_at` also when they lie ahead, None when no final state will come.

    `changes` holds every state, past and to come; `told_final` whether an answer has shown the final one.
    """

    msisdn: int
    country: str
    mcc: int
    mnc: int
    status: str
    final: str | None
    final_at: float | None
    code: str | None
    error: str | None
    told_final: bool
    changes: list[ChangeRecord]


class MessageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One message and how it was asked for.

    `poll_log` has the time and the answer of the last polls: a status with its count (`DELIVERED=1`), an
    HTTP status, or `fault:KIND`. `answers` counts the same texts over all polls.
    """

    id: int
    sent_at: float
    visible_at: float
    userref: str | None
    cancelled: bool
    polls: int
    polls_after_final: int
    final_told_at: float | None
    answers: dict[str, int]
    poll_log: list[tuple[float, str]]
    recipients: list[RecipientRecord]


def record_of(truth: Truth, message: SimulatedMessage, now: float) -> MessageRecord:
    """Everything known about a message at `now`."""
    return MessageRecord(
        id=message.id,
        sent_at=message.sent_at,
        visible_at=truth.visible_at(message),
        userref=message.userref,
        cancelled=message.cancelled_at is not None,
        polls=message.polls,
        polls_after_final=message.polls_after_final,
        final_told_at=message.final_told_at,
        answers=dict(message.answers),
        poll_log=list(message.log),
        recipients=[_recipient(truth, message, index, now) for index in range(len(message.recipients))],
    )


def _recipient(truth: Truth, message: SimulatedMessage, index: int, now: float) -> RecipientRecord:
    msisdn = message.recipients[index]
    changes = truth.changes(message, msisdn)
    final = first_final(changes)
    operator = operator_of(msisdn)
    code = None if final is None else final.code
    return RecipientRecord(
        msisdn=msisdn,
        country=operator.country,
        mcc=operator.mcc,
        mnc=operator.mnc,
        status=state_at(changes, now).status,
        final=None if final is None else final.status,
        final_at=None if final is None else final.at,
        code=None if code is None else f"0x{code:04X}",
        error=None if code is None else ERROR_TEXTS.get(code, "Unspecified error"),
        told_final=bool(message.shown >> index & 1),
        changes=[ChangeRecord(change.at, change.status) for change in changes],
    )
