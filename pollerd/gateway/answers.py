"""What an answer means: status, headers and body to an outcome. No I/O, no clock.

Who answered matters as much as what. The vendor refuses in a form of its own (see `Refusal.ours`); any other refusal
comes from something in between (a captive portal, a proxy without a backend, a load balancer) and says nothing about a
message, however often it comes: taking it for the vendor's word would end messages that exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from yarl import URL

from pollerd.base.retryafter import parse_retry_after
from pollerd.core.model import HoldReason, NotFound, Outcome, Rejected, Trouble
from pollerd.core.ports import Balance
from pollerd.gateway.body import unpack
from pollerd.gateway.decode import DecodeError, EmptyAnswerError, decode_answer, decode_balance
from pollerd.gateway.refusal import Refusal, is_page
from pollerd.gateway.text import clean

# Source: API error codes in the vendor's documentation, which tell who is asking whatever status they come with.
_WHO: Final = frozenset({0x0210, 0x0211, 0x0212, 0x0223, 0x0224, 0x0225, 0x0226, 0x0227, 0x0228, 0x0229})
_NOT_ALLOWED: Final = frozenset({0x0213, 0x022A})
_BETWEEN: Final = frozenset({408, 421, 425, 426, 451})
"""4xx that concern the connection or what lies between, whoever writes them."""
_ABOUT_A_MESSAGE: Final = frozenset({400, 404, 410, 422})
"""The only statuses that can concern one message, where the vendor itself writes them."""


def read_message(body: bytes, headers: Mapping[str, str], message_id: int) -> Outcome:
    """The outcome of a 200 answer to `GET /rest/mtsms/<id>`; `body` as sent."""
    try:
        plain = unpack(body, headers.get("Content-Encoding", ""))
        return _foreign(plain, headers) or decode_answer(plain, message_id)
    except EmptyAnswerError as error:
        return NotFound(error.detail)
    except DecodeError as error:
        return Rejected(error.detail, error.kind, decoded=False)


def read_balance(body: bytes, headers: Mapping[str, str]) -> Balance | Trouble:
    """What a 200 answer to `GET /rest/me` says; `body` as sent."""
    try:
        plain = unpack(body, headers.get("Content-Encoding", ""))
        return _foreign(plain, headers) or decode_balance(plain)
    except DecodeError as error:
        return Trouble(HoldReason.SERVER_ERRORS, error.kind, error.detail)


def _foreign(plain: bytes, headers: Mapping[str, str]) -> Trouble | None:
    """The trouble of a 200 that the vendor did not write."""
    if not plain:
        detail = "200 without a body; something in between answers for the gateway"
        return Trouble(HoldReason.UNREACHABLE, "empty", detail)
    # The vendor's JSON begins with a bracket, and nothing else needs a closer look.
    if plain[0] not in b"[{" and is_page(plain[:256].decode("utf-8", "replace"), headers):
        detail = "200 with a web page; a captive portal or proxy answers for the gateway"
        return Trouble(HoldReason.UNREACHABLE, "captive_portal", detail)
    return None


def read_refusal(refusal: Refusal, now: float) -> NotFound | Rejected | Trouble:
    """The outcome of any status but 200. `now` (UNIX seconds) is for a `Retry-After` that is a date."""
    status = refusal.status
    if status >= 500 or status == 429:
        return _too_busy_or_broken(refusal, now)
    if status >= 400:
        return _refused(refusal)
    if 300 <= status < 400 and refusal.headers.get("Location"):
        return _redirect(refusal)
    detail = f"{status}, which the gateway never answers"
    return Trouble(HoldReason.UNREACHABLE, f"http_{status}", detail)


def _too_busy_or_broken(refusal: Refusal, now: float) -> Trouble:
    status = refusal.status
    if status in (429, 503):
        wait = parse_retry_after(refusal.headers.get("Retry-After"), refusal.headers.get("Date"), now)
        return Trouble(HoldReason.THROTTLED, f"http_{status}", refusal.detail, wait)
    if status == 511:
        return Trouble(HoldReason.UNREACHABLE, "captive_portal", refusal.detail)
    return Trouble(HoldReason.SERVER_ERRORS, f"http_{status}", refusal.detail)


def _redirect(refusal: Refusal) -> Trouble:
    try:
        host = URL(refusal.headers["Location"]).host
    except ValueError:
        host = None
    where = clean(host, 100) if host else "another path"
    detail = f"{refusal.status}: sent on to {where}, which is never followed; check base_url and the network"
    return Trouble(HoldReason.UNREACHABLE, "redirect", detail)


def _refused(refusal: Refusal) -> NotFound | Rejected | Trouble:
    status, code, detail = refusal.status, refusal.code, refusal.detail
    kind = f"http_{status}"
    if status == 401 or (status != 403 and code in _WHO):
        return Trouble(HoldReason.UNAUTHORIZED, kind, detail)
    if status == 403 or code in _NOT_ALLOWED:
        return Trouble(HoldReason.FORBIDDEN, kind, detail)
    if status == 407:
        return Trouble(HoldReason.UNREACHABLE, "proxy_auth", f"{detail}: check the user and password in proxy")
    if status in _BETWEEN:
        return Trouble(HoldReason.UNREACHABLE, kind, detail)
    if not refusal.ours:
        foreign = f"{detail}, not written by the gateway: a proxy or load balancer answers for it"
        return Trouble(HoldReason.UNREACHABLE, f"{'html' if refusal.page else 'foreign'}_{status}", foreign)
    if status not in _ABOUT_A_MESSAGE:
        return Trouble(HoldReason.SERVER_ERRORS, kind, detail)
    return NotFound(detail) if status == 404 else Rejected(detail, kind)
