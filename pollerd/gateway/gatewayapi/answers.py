"""What an answer of GatewayAPI means: status, headers and body to an outcome. No I/O, no clock.

Who answered matters as much as what. The vendor refuses in a form of its own (see `VendorError.ours`); any other
refusal comes from something in between and says nothing about a message: taking it for the vendor's word would end
messages that exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pollerd.core.incoming import IncomingDenied, IncomingPage
from pollerd.core.model import HoldReason, NotFound, Outcome, Rejected, Trouble
from pollerd.core.ports import Balance
from pollerd.gateway.body import DecodeError, unpack
from pollerd.gateway.foreign import not_json, trouble_by_status, written_in_between
from pollerd.gateway.gatewayapi.decode import EmptyAnswerError, decode_answer, decode_balance, decode_incoming
from pollerd.gateway.gatewayapi.errors import VendorError
from pollerd.gateway.vendor import ErrorAnswer, IncomingErrorAnswer

# Source: API error codes in the vendor's documentation, which show who is asking whatever status they come with.
_WHO: Final = frozenset({0x0210, 0x0211, 0x0212, 0x0223, 0x0224, 0x0225, 0x0226, 0x0227, 0x0228, 0x0229})
_NOT_ALLOWED: Final = frozenset({0x0213, 0x022A})
_DENIALS: Final = frozenset({403, 404, 410})
"""Statuses by which the vendor refuses a part of its interface to an account, or to everybody."""
_ABOUT_A_MESSAGE: Final = frozenset({400, 404, 410, 422})
"""The only statuses that can concern one message, where the vendor itself writes them."""


def read_message(body: bytes, headers: Mapping[str, str], message_id: int) -> Outcome:
    """The outcome of a 200 answer to `GET /rest/mtsms/<id>`; `body` as sent."""
    try:
        plain = unpack(body, headers.get("Content-Encoding", ""))
        return not_json(plain, headers) or decode_answer(plain, message_id)
    except EmptyAnswerError as error:
        return NotFound(error.detail)
    except DecodeError as error:
        return Rejected(error.detail, error.kind, decoded=False)


def read_balance(body: bytes, headers: Mapping[str, str]) -> Balance | Trouble:
    """What a 200 answer to `GET /rest/me` says; `body` as sent."""
    try:
        plain = unpack(body, headers.get("Content-Encoding", ""))
        return not_json(plain, headers) or decode_balance(plain)
    except DecodeError as error:
        return Trouble(HoldReason.SERVER_ERRORS, error.kind, error.detail)


def read_incoming(body: bytes, headers: Mapping[str, str]) -> IncomingPage | Trouble:
    """What a 200 answer to `GET /rest/mosms` says; `body` as sent."""
    try:
        plain = unpack(body, headers.get("Content-Encoding", ""))
        return not_json(plain, headers) or decode_incoming(plain)
    except DecodeError as error:
        return Trouble(HoldReason.SERVER_ERRORS, error.kind, error.detail)


def read_error(
    status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str], now: float
) -> ErrorAnswer:
    """What any status but 200 means; `body` as sent. `now` (wall clock) is for a `Retry-After` that is a date."""
    error = VendorError.of(status, headers, body, redact)
    return ErrorAnswer(_meaning(error, now), error.text, error.code)


def read_incoming_error(
    status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str], now: float
) -> IncomingErrorAnswer:
    """What any status but 200 to `GET /rest/mosms` means; the arguments are those of `read_error`."""
    error = VendorError.of(status, headers, body, redact)
    outcome = _denied(error) or _meaning(error, now)
    if isinstance(outcome, NotFound | Rejected):
        outcome = Trouble(HoldReason.SERVER_ERRORS, f"http_{status}", error.detail)
    return IncomingErrorAnswer(outcome, error.text)


def _denied(error: VendorError) -> IncomingDenied | Trouble | None:
    """None for a status that refuses no part of the interface. A refusal of the whole account the polls find out."""
    if error.status not in _DENIALS:
        return None
    if not error.ours:
        return written_in_between(error.status, error.detail, page=error.page)
    return IncomingDenied(error.detail)


def _meaning(error: VendorError, now: float) -> NotFound | Rejected | Trouble:
    by_status = trouble_by_status(error.status, error.headers, error.detail, now)
    return _identity(error) or by_status or _about_a_message(error)


def _identity(error: VendorError) -> Trouble | None:
    """The trouble of an account that may not ask; None when that is not what is wrong."""
    status, code = error.status, error.code
    if not 400 <= status < 500 or status == 429:
        return None
    if status == 401 or (status != 403 and code in _WHO):
        return Trouble(HoldReason.UNAUTHORIZED, f"http_{status}", error.detail)
    if status == 403 or code in _NOT_ALLOWED:
        return Trouble(HoldReason.FORBIDDEN, f"http_{status}", error.detail)
    return None


def _about_a_message(error: VendorError) -> NotFound | Rejected | Trouble:
    status = error.status
    if not error.ours:
        return written_in_between(status, error.detail, page=error.page)
    if status not in _ABOUT_A_MESSAGE:
        return Trouble(HoldReason.SERVER_ERRORS, f"http_{status}", error.detail)
    return NotFound(error.detail) if status == 404 else Rejected(error.detail, f"http_{status}")
