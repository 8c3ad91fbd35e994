"""What is posted and where to, and which addresses are nobody else's."""

from __future__ import annotations

import base64
import json
import logging
import warnings

import jwt
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pollerd.base.errors import OutputError
from pollerd.config import WebhookOutputConfig, WebhookRouteConfig
from pollerd.config.addresses import is_foreign_address, is_private
from pollerd.config.secret import InlineSecret, Origin, Secret, SecretKind
from pollerd.core import event as events
from pollerd.outputs.webhook.body import Routes, posted
from pollerd.outputs.webhook.receiver import PAUSE_MAX, Breaker
from pollerd.outputs.webhook.sign import HEADER, Signer

STATUS = events.Status(
    id=2**62, account="default", msisdn=4587654321, status="DELIVERED", previous="ENROUTE", final=True, time=1764000042,
    error=None, code=None, userref="order-17", country_code="DK", country_prefix=45, mcc="238", mnc="1",
    observed_at=events.instant(0.0), polls=4,
)  # fmt: skip
SOURCE = InlineSecret(Secret("a secret of more than thirty-two characters"), SecretKind.SIGNING, Origin("f", "k"))


def test_a_status_is_posted_as_the_vendor_does_it() -> None:
    body = json.loads(posted(1, events.MESSAGE_STATUS, events.encode(STATUS)))
    assert body == {
        "id": 2**62, "msisdn": 4587654321, "time": 1764000042, "status": "DELIVERED", "error": None, "code": None,
        "userref": "order-17", "country_code": "DK", "country_prefix": 45,
    }  # fmt: skip


def test_what_the_vendors_tokens_always_have_is_null_when_nothing_is_known() -> None:
    unknown = msgspec.structs.replace(STATUS, userref=None, country_code=None, country_prefix=None, charge_status=None)
    assert json.loads(posted(1, events.MESSAGE_STATUS, events.encode(unknown))) == {
        "id": 2**62, "msisdn": 4587654321, "time": 1764000042, "status": "DELIVERED", "error": None, "code": None,
        "userref": None,
    }  # fmt: skip


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
@example("gro\u00df", True)
@example("what? >~\x7f \U0001f4e8 \u2028", False)
def test_the_payload_is_ascii_and_decodes_with_the_plain_alphabet(text: str, vendor: bool) -> None:
    """In each of the three alignments. The value is the same one."""
    for shift in ("", "x", "xx"):
        reference = shift + text
        told = (
            msgspec.structs.replace(STATUS, userref=reference)
            if vendor
            else events.Recovered(account="a", reason="r", detail=reference, until=None, observed_at="")
        )
        body = posted(1, events.event_type(told), events.encode(told))
        token = Signer(SOURCE, "http://a/").headers(body)[HEADER]
        payload = token.split(".")[1]
        assert base64.b64decode(payload + "=" * (-len(payload) % 4), validate=True) == body
        assert body.isascii()
        assert json.loads(body)["userref" if vendor else "detail"] == reference


def test_any_other_event_is_posted_as_the_log_has_it() -> None:
    body = events.CreditLow(account="default", credit=1.5, currency="DKK", observed_at=events.instant(0.0))
    event = events.Event(7, events.CREDIT_LOW, None, events.encode(body))
    assert posted(7, event.type, event.body) + b"\n" == event.line


ROUTES = (
    WebhookRouteConfig("http://a/", userref_prefix="shop-", account="two"),
    WebhookRouteConfig("http://b/", userref_prefix="shop-"),
    WebhookRouteConfig("http://c/", account="two"),
)


@pytest.mark.parametrize(
    ("sentence", "userref", "account", "receiver"),
    [
        ("both given, both must hold", "shop-1", "two", "1"),
        ("the first that fits wins", "shop-1", "one", "2"),
        ("the account alone", "x", "two", "3"),
        ("an event without a userref has no prefix", None, "two", "3"),
        ("nothing fits: the default", "SHOP-1", "one", "default"),
        ("nothing fits and nothing is known", None, "one", "default"),
    ],
)
def test_the_route_of_an_event(sentence: str, userref: str | None, account: str, receiver: str) -> None:
    body = json.dumps({"userref": userref, "account": account}).encode()
    assert Routes(WebhookOutputConfig("http://d/", routes=ROUTES)).receiver(body) == receiver, sentence


@pytest.mark.parametrize("text", ["x", "a secret of more than thirty-two characters"])
def test_the_tokens_payload_is_the_body_and_no_post_is_warned_of(text: str) -> None:
    source = InlineSecret(Secret(text), SecretKind.SIGNING, Origin("f", "k"))
    body = posted(1, events.MESSAGE_STATUS, events.encode(STATUS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        token = Signer(source, "http://a/").headers(body)[HEADER]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        assert jwt.decode(token, text, algorithms=["HS256"]) == json.loads(body)
        assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(token, f"{text}!", algorithms=["HS256"])


@pytest.mark.parametrize(
    ("text", "warned"), [("x" * 31, True), ("x" * 32, False), ("\u00e9" * 16, False), ("\u00e9" * 15, True)]
)
def test_a_short_secret_is_warned_of_where_it_is_read(
    text: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    Signer(InlineSecret(Secret(text), SecretKind.SIGNING, Origin("f", "k")), "http://a/").headers(b"{}")
    assert [text in record.getMessage() for record in caplog.records] == [False] * warned
    assert ["shorter than the 32 bytes" in record.getMessage() for record in caplog.records] == [True] * warned


def test_a_secret_that_pyjwt_refuses_is_named_by_its_webhook() -> None:
    source = InlineSecret(Secret("ssh-rsa AAAAB3Nza"), SecretKind.SIGNING, Origin("f", "k"))
    with pytest.raises(OutputError, match="http://a/: the secret cannot sign"):
        Signer(source, "http://a/")


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.1.2.3", True), ("172.16.0.1", True),
        ("172.31.255.255", True), ("192.168.1.1", True), ("fd12::1", True), ("::ffff:10.0.0.1", True),
        ("172.32.0.1", False), ("8.8.8.8", False), ("169.254.169.254", False), ("100.64.0.1", False),
        ("0.0.0.0", False), ("fe80::1", False), ("2001:4860:4860::8888", False), ("::ffff:8.8.8.8", False),
    ],
)  # fmt: skip
def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(address) is private
    assert is_foreign_address(address) is not private


def test_a_name_is_judged_only_when_it_is_resolved() -> None:
    assert not is_foreign_address("example.com")
    assert not is_private("localhost")


def test_the_breaker_pauses_after_five_failures_for_longer_and_longer() -> None:
    breaker, now, pauses = Breaker(), 0.0, []
    for _ in range(4):
        breaker.failed(now)
    assert not breaker.tripped
    for _ in range(9):
        breaker.failed(now)
        # Others that were under way meanwhile make it no longer.
        breaker.failed(now + 0.1)
        pauses.append(breaker.wait(now))
        now += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, PAUSE_MAX, PAUSE_MAX, PAUSE_MAX]
    breaker.reached()
    assert not breaker.tripped
    assert breaker.wait(now) == 0
