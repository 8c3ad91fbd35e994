"""What an answer means whichever gateway was asked: overload, redirects, and what something in between writes.

A captive portal, a proxy without a backend or a load balancer says nothing about a message, however often it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from yarl import URL

from pollerd.base.retryafter import parse_retry_after
from pollerd.core.model import HoldReason, Trouble
from pollerd.gateway.text import clean

_PAGE_STARTS: Final = ("<!doctype html", "<html", "<head", "<body", "<script")
_EXAMINED: Final = 256
"""Bytes at the beginning of a body that show whether it is a web page."""
_BETWEEN: Final = frozenset({408, 421, 425, 426, 451})
"""4xx that concern the connection or what lies between, whoever writes them."""


def is_page(start: str, headers: Mapping[str, str]) -> bool:
    """Whether a body that begins with `start` is a web page: it has the form of one, and says or clearly shows it."""
    start = start[:_EXAMINED].lstrip("\ufeff \t\r\n")
    if not start.startswith("<"):
        return False
    return "html" in headers.get("Content-Type", "").lower() or start[:14].lower().startswith(_PAGE_STARTS)


def not_json(plain: bytes, headers: Mapping[str, str]) -> Trouble | None:
    """The trouble of a 200 that no gateway with a JSON interface wrote; None when it may have."""
    if not plain:
        detail = "200 without a body; something in between answers for the gateway"
        return Trouble(HoldReason.UNREACHABLE, "empty", detail)
    # JSON begins with a bracket, and nothing else needs a closer check.
    if plain[0] not in b"[{" and is_page(plain[:_EXAMINED].decode("utf-8", "replace"), headers):
        detail = "200 with a web page; a captive portal or proxy answers for the gateway"
        return Trouble(HoldReason.UNREACHABLE, "captive_portal", detail)
    return None


def trouble_by_status(status: int, headers: Mapping[str, str], detail: str, now: float) -> Trouble | None:
    """The trouble that a status stands for whoever wrote it; None for a 4xx that the gateway may have written.

    `detail` is one line for a person, masked. `now` (by the wall clock) is for a `Retry-After` that is a date.
    """
    if status >= 500 or status == 429:
        return _too_busy_or_broken(status, headers, detail, now)
    if status == 407:
        return Trouble(HoldReason.UNREACHABLE, "proxy_auth", f"{detail}: check the user and password in proxy")
    if status in _BETWEEN:
        return Trouble(HoldReason.UNREACHABLE, f"http_{status}", detail)
    if status >= 400:
        return None
    if 300 <= status < 400 and headers.get("Location"):
        return _redirect(status, headers["Location"])
    return Trouble(HoldReason.UNREACHABLE, f"http_{status}", f"{status}, which the gateway never answers")


def written_in_between(status: int, detail: str, *, page: bool) -> Trouble:
    """The trouble of a 4xx that is not in the vendor's form."""
    foreign = f"{detail}, not written by the gateway: a proxy or load balancer answers for it"
    return Trouble(HoldReason.UNREACHABLE, f"{'html' if page else 'foreign'}_{status}", foreign)


def _too_busy_or_broken(status: int, headers: Mapping[str, str], detail: str, now: float) -> Trouble:
    if status in (429, 503):
        wait = parse_retry_after(headers.get("Retry-After"), headers.get("Date"), now)
        return Trouble(HoldReason.THROTTLED, f"http_{status}", detail, wait)
    if status == 511:
        return Trouble(HoldReason.UNREACHABLE, "captive_portal", detail)
    return Trouble(HoldReason.SERVER_ERRORS, f"http_{status}", detail)


def _redirect(status: int, location: str) -> Trouble:
    try:
        host = URL(location).host
    except ValueError:
        host = None
    where = clean(host, 100) if host else "another path"
    detail = f"{status}: sent on to {where}, which is never followed; check base_url and the network"
    return Trouble(HoldReason.UNREACHABLE, "redirect", detail)
