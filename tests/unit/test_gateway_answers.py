"""What each status, header and body means, and what of it may be seen."""

from __future__ import annotations

import gzip
import json
import logging
import tracemalloc
import zlib
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.base.redact import Redactor
from pollerd.base.retryafter import parse_retry_after
from pollerd.core.model import Answer, HoldReason, NotFound, Rejected, Trouble
from pollerd.core.ports import Balance
from pollerd.gateway.answerlog import QUIET, AnswerLog
from pollerd.gateway.body import MAX_UNPACKED_BYTES, DecodeError, TooLargeError, unpack
from pollerd.gateway.gatewayapi.answers import read_balance, read_error, read_message
from pollerd.gateway.text import clean
from tests.hypothesis_kit import examples

NOW = 1_764_000_000.0
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
GOOD = b'[{"id": 7, "recipients": [{"msisdn": 45, "dsnstatus": "DELIVERED"}]}]'


def named(*rows: tuple[Any, ...]) -> list[Any]:
    """Cases whose first value, a sentence, is their name."""
    return [pytest.param(*row, id=row[0]) for row in rows]


def refused(
    status: int, body: bytes = b"", headers: dict[str, str] | None = None, secrets: tuple[str, ...] = ()
) -> NotFound | Rejected | Trouble:
    return read_error(status, headers or {}, body, Redactor(secrets), NOW).outcome


def api(code: str | None = None, message: str = "no", *variables: str) -> bytes:
    return json.dumps({"code": code, "incident_uuid": "x", "message": message, "variables": list(variables)}).encode()


@pytest.mark.parametrize(
    ("why", "status", "body", "headers", "expected"),
    named(
        ("the vendor's 404", 404, api("0x0300"), JSON, (NotFound, None, None)),
        ("the vendor's 404 without a code", 404, api(), JSON, (NotFound, None, None)),
        ("the vendor's 404 with a code alone", 404, b'{"code": "0x0300"}', JSON, (NotFound, None, None)),
        ("an empty 404", 404, b"", {}, (Trouble, HoldReason.UNREACHABLE, "foreign_404")),
        ("a text 404", 404, b"404 page not found", {}, (Trouble, HoldReason.UNREACHABLE, "foreign_404")),
        ("a 404 cut short", 404, api()[:-9], JSON, (Trouble, HoldReason.UNREACHABLE, "foreign_404")),
        ("a 404 in a list", 404, b"[]", JSON, (Trouble, HoldReason.UNREACHABLE, "foreign_404")),
        (
            "a 404 of a proxy that writes JSON",
            404,
            b'{"message": "no Route matched", "code": null}',
            JSON,
            (Trouble, HoldReason.UNREACHABLE, "foreign_404"),
        ),
        (
            "a 404 with another kind of code",
            404,
            b'{"code": "NOT_FOUND"}',
            JSON,
            (Trouble, HoldReason.UNREACHABLE, "foreign_404"),
        ),
        ("a balancer's page", 404, b"<html>nope", HTML, (Trouble, HoldReason.UNREACHABLE, "html_404")),
        ("JSON that lies about its type", 404, api(), HTML, (NotFound, None, None)),
        ("a bad argument", 400, api(), JSON, (Rejected, None, "http_400")),
        ("a bad body", 422, api(), JSON, (Rejected, None, "http_422")),
        ("gone, by the vendor", 410, api(), JSON, (Rejected, None, "http_410")),
        ("gone, by somebody else", 410, b"", {}, (Trouble, HoldReason.UNREACHABLE, "foreign_410")),
        ("a text 400", 400, b"Bad Request", {}, (Trouble, HoldReason.UNREACHABLE, "foreign_400")),
        (
            "a JSON 422 of somebody else",
            422,
            b'{"detail": "no"}',
            JSON,
            (Trouble, HoldReason.UNREACHABLE, "foreign_422"),
        ),
        ("an odd refusal", 418, b"tea", {}, (Trouble, HoldReason.UNREACHABLE, "foreign_418")),
        ("an odd refusal by the vendor", 405, api(), JSON, (Trouble, HoldReason.SERVER_ERRORS, "http_405")),
        ("too many, by the vendor", 431, api("0x0300"), JSON, (Trouble, HoldReason.SERVER_ERRORS, "http_431")),
        ("a balancer's 400", 400, b"<html>bad", HTML, (Trouble, HoldReason.UNREACHABLE, "html_400")),
        ("wrong credentials", 401, api(), JSON, (Trouble, HoldReason.UNAUTHORIZED, "http_401")),
        ("no credentials, in HTML", 401, b"<html>", HTML, (Trouble, HoldReason.UNAUTHORIZED, "http_401")),
        ("IP address not allowed", 403, api("0x0213"), JSON, (Trouble, HoldReason.FORBIDDEN, "http_403")),
        ("a wrong token as 400", 400, api("0x0229"), JSON, (Trouble, HoldReason.UNAUTHORIZED, "http_400")),
        ("a wrong address as 400", 400, api("0x0213"), JSON, (Trouble, HoldReason.FORBIDDEN, "http_400")),
        ("a frozen account as 422", 422, api("0x022A"), JSON, (Trouble, HoldReason.FORBIDDEN, "http_422")),
        ("the proxy's password", 407, b"", {}, (Trouble, HoldReason.UNREACHABLE, "proxy_auth")),
        ("a slow connection", 408, b"", {}, (Trouble, HoldReason.UNREACHABLE, "http_408")),
        ("too fast", 429, api(), JSON, (Trouble, HoldReason.THROTTLED, "http_429")),
        ("too busy", 503, b"<html>", HTML, (Trouble, HoldReason.THROTTLED, "http_503")),
        ("their trouble", 500, api(), JSON, (Trouble, HoldReason.SERVER_ERRORS, "http_500")),
        ("their balancer's trouble", 502, b"<html>", HTML, (Trouble, HoldReason.SERVER_ERRORS, "http_502")),
        ("log in to the network", 511, b"", {}, (Trouble, HoldReason.UNREACHABLE, "captive_portal")),
        ("sent on", 302, b"", {"Location": "https://e.vil/x"}, (Trouble, HoldReason.UNREACHABLE, "redirect")),
        ("sent nowhere", 304, b"", {}, (Trouble, HoldReason.UNREACHABLE, "http_304")),
        ("another 2xx", 204, b"", {}, (Trouble, HoldReason.UNREACHABLE, "http_204")),
        ("no status anybody knows", 999, b"", {}, (Trouble, HoldReason.SERVER_ERRORS, "http_999")),
    ),
)
def test_statuses(
    why: str,
    status: int,
    body: bytes,
    headers: dict[str, str],
    expected: tuple[type, HoldReason | None, str | None],
) -> None:
    outcome = refused(status, body, headers)
    assert type(outcome) is expected[0], why
    assert getattr(outcome, "reason", None) is expected[1]
    assert getattr(outcome, "kind", None) == expected[2]
    if isinstance(outcome, Rejected):
        assert outcome.decoded


def test_a_redirect_names_the_host_and_nothing_else() -> None:
    outcome = refused(302, b"", {"Location": "https://user:pw@evil.example/rest?token=abc"})
    assert isinstance(outcome, Trouble)
    assert "evil.example" in outcome.detail
    assert "pw" not in outcome.detail
    assert "abc" not in outcome.detail


def test_the_detail_of_a_vendors_error() -> None:
    outcome = refused(403, api("0x0213", "Unauthorized IP-address: %1 (%2)", "1.2.3.4"), JSON)
    assert isinstance(outcome, Trouble)
    assert outcome.detail == "403 (0x0213): Unauthorized IP-address: 1.2.3.4 (%2)"


@pytest.mark.parametrize(
    ("why", "body", "headers", "expected"),
    named(
        ("understood", GOOD, JSON, Answer),
        ("packed", gzip.compress(GOOD, mtime=0), {"Content-Encoding": "gzip"}, Answer),
        ("packed as zlib", zlib.compress(GOOD), {"Content-Encoding": "deflate"}, Answer),
        ("packed bare", zlib.compress(GOOD, wbits=-15), {"Content-Encoding": "deflate"}, Answer),
        ("JSON called HTML", GOOD, HTML, Answer),
        ("an empty list", b"[]", JSON, NotFound),
        ("nothing", b"", JSON, "empty"),
        ("a captive portal", b"\n <!DOCTYPE html><title>Log in", HTML, "captive_portal"),
        ("a portal that says JSON", b"<html>Log in", JSON, "captive_portal"),
        ("not JSON", b"<weird/>", JSON, "undecodable"),
        ("wrong shape", b'{"ok": true}', JSON, "wrong_message"),
        ("a packing nobody asked for", GOOD, {"Content-Encoding": "br"}, "undecodable"),
        ("damaged packing", b"xxxx", {"Content-Encoding": "gzip"}, "undecodable"),
        ("packing cut short", gzip.compress(GOOD, mtime=0)[:-9], {"Content-Encoding": "gzip"}, "undecodable"),
    ),
)
def test_a_200(why: str, body: bytes, headers: dict[str, str], expected: type | str) -> None:
    outcome = read_message(body, headers, 7)
    if isinstance(expected, str):
        assert isinstance(outcome, Rejected | Trouble), why
        assert outcome.kind == expected
        assert not isinstance(outcome, Rejected) or not outcome.decoded
    else:
        assert type(outcome) is expected, why


def test_a_bomb_unpacks_to_no_more_than_the_limit() -> None:
    bomb = gzip.compress(bytes(200_000_000), compresslevel=9)
    assert len(bomb) < 250_000
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        unpack(bomb, "gzip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_UNPACKED_BYTES
    assert read_message(bomb, {"Content-Encoding": "gzip"}, 7) == Rejected(
        f"the answer is larger than {MAX_UNPACKED_BYTES // 1024} KiB", "too_large", decoded=False
    )


def test_balance_answers() -> None:
    assert read_balance(b'{"credit": 5, "currency": "EUR"}', JSON) == Balance(5.0, "EUR")
    for body, kind in ((b"", "empty"), (b"<html>", "captive_portal"), (b"[]", "undecodable")):
        outcome = read_balance(body, JSON)
        assert isinstance(outcome, Trouble)
        assert outcome.kind == kind


# -- Retry-After


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("5", 5.0),
        (" 5 ", 5.0),
        ("2.5", 2.0),
        ("+7", 7.0),
        ("0", 0.0),
        ("-30", 0.0),
        ("3601", 3600.0),
        ("9" * 400, 3600.0),
        ("soon", None),
        ("5 minutes", None),
        ("1e5", None),
        ("inf", None),
        ("nan", None),
        ("0x10", None),
        ("٣", 3.0),
        (formatdate(NOW + 30, usegmt=True), 30.0),
        (formatdate(NOW - 30, usegmt=True), 0.0),
        (formatdate(NOW + 86400, usegmt=True), 3600.0),
        ("Mon, 99 Foo 2025 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("Mon, 24 Nov 99999999999 00:00:00 GMT", None),
        ("\x00\x1b[31m", None),
    ],
)
def test_retry_after(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, None, NOW) == expected


def test_a_retry_date_is_read_against_the_servers_own_clock() -> None:
    date, until = formatdate(NOW + 7200, usegmt=True), formatdate(NOW + 7230, usegmt=True)
    assert parse_retry_after(until, date, NOW) == 30.0
    assert parse_retry_after(until, "garbage", NOW) == 3600.0


@examples(500)
@given(st.text(max_size=80) | st.from_regex(r"[+-]?[0-9]{1,50}(\.[0-9]*)?"), st.none() | st.text(max_size=40))
def test_no_retry_after_raises(value: str, date: str | None) -> None:
    found = parse_retry_after(value, date, NOW)
    assert found is None or 0.0 <= found <= 3600.0


# -- what may be seen


@pytest.mark.parametrize(
    ("why", "secret", "text"),
    [
        ("as it is", "s3cr/et+x", 'token "s3cr/et+x"'),
        ("percent-encoded", "s3cr/et+x", "?token=s3cr%2Fet%2Bx&a=1"),
        ("inside JSON", 's3"cret', json.dumps({"t": 's3"cret'})),
        ("in Base64", "s3cret", "Proxy-Authorization: Basic czNjcmV0"),
        ("twice", "s3cret", "s3cret s3cret"),
        ("with regex characters", "a.*b(c", "x a.*b(c y"),
    ],
)
def test_secrets_are_masked_in_every_form(why: str, secret: str, text: str) -> None:
    masked = Redactor([secret])(text)
    assert "***" in masked, why
    for trace in (secret, "czNjcmV0", "s3cr", 's3\\"cret'):
        assert trace not in masked


def test_numbers_signatures_and_urls_are_masked() -> None:
    text = 'to 4587654321 via http://joe:pw@proxy:1/ OAuth oauth_signature="Zm9v%3D", ip 10.20.30.40, code 0x0213'
    assert Redactor([])(text) == (
        'to 4587****** via http://***@proxy:1/ OAuth oauth_signature="***", ip 10.20.30.40, code 0x0213'
    )
    assert "4587654321" in Redactor([], show_msisdn=True)(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sent to 4587654321.", "sent to 4587******."),
        ("+4587654321,4512345678", "+4587******,4512******"),
        ("msisdn4587654321x", "msisdn4587******x"),
        ("at 1764000042.25", "at 1764000042.25"),
        ("5eed0000-0000-4000-8000-000012345678", "5eed0000-0000-4000-8000-000012345678"),
        ("1234567", "1234567"),
    ],
)
def test_what_looks_like_a_number_is_masked(text: str, expected: str) -> None:
    assert Redactor([])(text) == expected


def test_a_secret_is_masked_before_anything_is_cut_off() -> None:
    """At any distance from a limit, no piece of an echoed token of 8 or more characters is left."""
    secret = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
    for pad in range(240, 330):
        outcome = refused(401, api(None, "x" * pad + secret), JSON, (secret,))
        assert isinstance(outcome, Trouble)
        assert "ABCDEFGH" not in outcome.detail


def test_an_error_body_cannot_steer_a_terminal_or_raise() -> None:
    outcome = refused(401, api("0x\x1b[2J", "\x1b]0;own\x07\r\nfake log line\u202e", "%9"), JSON)
    assert isinstance(outcome, Trouble)
    assert outcome.detail.isprintable()


@examples(300)
@given(st.integers(300, 599), st.binary(max_size=200), st.sampled_from(["", "gzip", "deflate", "br", "x"]))
def test_no_refusal_raises(status: int, body: bytes, encoding: str) -> None:
    outcome = refused(status, body, {"Content-Encoding": encoding, "Location": body.decode("latin-1")})
    assert len(outcome.detail) <= 400


def test_clean_keeps_words_and_drops_the_rest() -> None:
    assert clean("  café \U0001f469\u200d\U0001f4bb ok ", 100) == "café \U0001f469\u200d\U0001f4bb ok"
    assert clean("a\tb\x00c\ud800\u2028d", 100) == "a bc\ufffd d"
    assert clean("abcdef", 3) == "abc"


def test_unpack_refuses_what_it_does_not_know() -> None:
    with pytest.raises(DecodeError):
        unpack(b"x", "br, gzip")
    assert unpack(b"x", "Identity") == b"x"


# -- the log


def test_a_bad_day_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    log = AnswerLog("default", lambda: now[0])
    with caplog.at_level(logging.DEBUG, "pollerd.gateway"):
        for _ in range(50):
            log.refused("message 7", 500, "http_500", "the\x1b[31m body")
        log.refused("message 7", 502, "http_502", "")
        now[0] += QUIET
        log.refused("message 8", 500, "http_500", "x" * 5000)
        log.refused("message 9", 404, "http_404", "")
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in loud[:2]] == [
        "account default: message 7: answered 500: the[31m body",
        "account default: message 7: answered 502: (no body)",
    ]
    assert len(loud) == 3
    assert "49 times more" in loud[2].getMessage()
    assert len(loud[2].getMessage()) < 650
    assert len(caplog.records) == 53, "every answer outside 2xx is there at debug level"
    assert {record.__dict__["event"] for record in caplog.records} == {"gateway_answer"}
