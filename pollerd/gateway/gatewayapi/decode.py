"""From the bytes of a 200 answer to what it says, or a reason why it says nothing.

Tolerant of what we do not use and of how values are written; `fields` says what each field may cost. One bad part
never hides what stands beside it. The text of an SMS that was sent (`message`, `payload`) is in no value that is
returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from pollerd.core import lifecycle
from pollerd.core.incoming import IncomingMessage, IncomingPage
from pollerd.core.model import UNIDENTIFIED, Answer, Recipient
from pollerd.core.ports import Balance
from pollerd.gateway.body import DecodeError
from pollerd.gateway.gatewayapi import fields, parse
from pollerd.gateway.gatewayapi.fields import Loss
from pollerd.gateway.gatewayapi.parse import Row


class EmptyAnswerError(DecodeError):
    """A list without any message: the gateway knows none of that id."""


class _Table:
    """Reads rows of values by a table of fields."""

    def __init__(self, table: fields.Fields) -> None:
        self.names = parse.names(table)
        self._costs = {name: field.cost for name, field in table.items()}
        self._readers: list[Callable[[Any], Any]] = [field.read for field in table.values() if field.read is not None]

    def read(self, row: Row, unusable: list[str]) -> list[Any]:
        """The values in `row`, None where there is none of use; `unusable` gets the names of the fields that are lost.

        What is missing, null or empty is daily life.
        """
        made = [None if value is None else read(value) for read, value in zip(self._readers, row, strict=True)]
        # On the hot path: these counts show that there is nothing to search for.
        if made.count(None) != row.count(None):
            for name, value, found in zip(self.names, row, made, strict=True):
                if found is None and value not in (None, "", 0) and self._costs[name] is Loss.FIELD:
                    unusable.append(name)
        return made


_message: Final = _Table(fields.MESSAGE)
_recipients: Final = _Table(fields.RECIPIENT)
_balance: Final = _Table(fields.BALANCE)
_incoming: Final = _Table(fields.INCOMING)
_page: Final = _Table(fields.INCOMING_PAGE)


def decode_answer(body: bytes, message_id: int) -> Answer:
    """What `body` says of `message_id`. Raises :class:`DecodeError` and nothing else."""
    unusable: list[str] = []
    _, listed, userref, sendtime, validity, priority = _ours(parse.messages(body), message_id, unusable)
    if listed is None:
        raise DecodeError("the answer has no list of recipients")
    recipients = tuple([_recipient(row, unusable) for row in parse.recipients(listed)])
    counts = tuple(Counter(unusable).items()) if unusable else ()
    return Answer(recipients, userref, sendtime, validity, counts, priority=priority)


def decode_balance(body: bytes) -> Balance:
    """The answer of `GET /rest/me`. Raises :class:`DecodeError` and nothing else."""
    credit, currency = _balance.read(parse.balance(body), [])
    if credit is None:
        raise DecodeError("the balance has no credit")
    return Balance(credit=credit, currency=currency or "")


def decode_incoming(body: bytes) -> IncomingPage:
    """The answer of `GET /rest/mosms`. Raises :class:`DecodeError` and nothing else."""
    page, rows = parse.incoming(body)
    listed, results, pages = _page.read(page, [])
    # Without any messages the list may be null.
    if listed is None and results != 0:
        raise DecodeError("the answer has no list of messages")
    damage: list[str] = []
    read = [_incoming.read(row, damage) for row in rows]
    messages = tuple([IncomingMessage(*made) for made in read if made[0] is not None])
    damage += ["mosms_id"] * (len(rows) - len(messages))
    return IncomingPage(messages, results, pages, len(rows) - len(messages), tuple(Counter(damage).items()))


def _ours(rows: list[Row], message_id: int, unusable: list[str]) -> list[Any]:
    if not rows:
        raise EmptyAnswerError("the answer is an empty list")
    for row in rows:
        noted: list[str] = []
        found = _message.read(row, noted)
        if found[0] == message_id:
            unusable += noted
            return found
    raise DecodeError("the answer is about another message", "wrong_message")


def _recipient(row: Row, unusable: list[str]) -> Recipient:
    msisdn, status, *more = _recipients.read(row, unusable)
    # Without one of these the recipient is lost: that is never daily life.
    if msisdn is None:
        msisdn = UNIDENTIFIED
        unusable.append("msisdn")
    if status is None:
        status = lifecycle.NO_STATE
        unusable.append("dsnstatus")
    # The place of `counts_as`, which is no field of an answer.
    more.insert(-2, None)
    return Recipient(msisdn, status, *more)
