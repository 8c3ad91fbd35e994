"""An answer with incoming messages: one bad entry costs itself, one bad field its value, and nothing hides the rest."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from pollerd.config import WebhookOutputConfig, WebhookRouteConfig
from pollerd.core import event as events
from pollerd.core.incoming import IncomingDenied, IncomingMessage, IncomingPage, reported
from pollerd.core.model import Trouble
from pollerd.gateway.gatewayapi import fields
from pollerd.gateway.gatewayapi.answers import read_incoming, read_incoming_error
from pollerd.outputs.target.output import wanted_types
from pollerd.outputs.webhook.body import Routes, posted
from pollerd.simulator.effects import gzip_bomb
from tests.unit.test_answer_fields import HOLE, JUNK

ENTRY: dict[str, Any] = {
    "mosms_id": 2398517, "msisdn": 4512345678, "receiver": 451204, "sender": None, "message": "test",
    "senttime": 1554465205.0, "encoding": None, "anonymized": None, "webhook": "label",
}  # fmt: skip
CLEAN = IncomingMessage(2398517, 4512345678, 451204, "test", 1554465205.0, label="label")
NEIGHBOURS = [{**ENTRY, "mosms_id": 1}, {**ENTRY, "mosms_id": 3}]
ATTRIBUTES = dict(
    zip((name for name in fields.INCOMING if fields.INCOMING[name].read), CLEAN.__struct_fields__, strict=True)
)


def page(*entries: object, **more: Any) -> bytes:
    return json.dumps(
        {"messages": entries, "page": 1, "pages": 1, "per_page": 200, "results": len(entries), **more}
    ).encode()


def read(body: bytes, encoding: str = "") -> IncomingPage:
    found = read_incoming(body, {"Content-Encoding": encoding})
    assert isinstance(found, IncomingPage), found
    return found


def test_the_example_of_the_documentation() -> None:
    found = read(page(ENTRY, {**ENTRY, "mosms_id": 2398518, "webhook": None}))
    assert found.messages == (CLEAN, IncomingMessage(2398518, 4512345678, 451204, "test", 1554465205.0))
    assert (found.results, found.pages, found.unusable, found.damage) == (2, 1, 0, ())


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("field", [*fields.INCOMING, "a_new_field"])
def test_junk_in_one_field_costs_that_field_or_that_entry(field: str, junk: bytes) -> None:
    body = page(NEIGHBOURS[0], {**ENTRY, field: HOLE}, NEIGHBOURS[1]).replace(json.dumps(HOLE).encode(), junk)
    found = read(body)
    by_id = {message.id: message for message in found.messages}
    assert {1, 3} <= by_id.keys()
    if field == "mosms_id":
        # What is no id may be read as one (a float, a text), never as another entry's.
        assert len(found.messages) + found.unusable == 3
        return
    hit = by_id[2398517]
    for name, attribute in ATTRIBUTES.items():
        if name != field:
            assert getattr(hit, attribute) == getattr(CLEAN, attribute)
    line = events.encode(reported("default", hit, events.instant(0.0)))
    assert b"\n" not in line
    json.loads(line)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("a\nb\r\n\tc", "a\nb\r\n\tc"),
        ("\ud83d\ude00", "\U0001f600"),
        ("half \ud83d", "half \ufffd"),
        ("zero \x00", "zero \ufffd"),
        ("line\u2028end", "line\u2028end"),
        ("", ""),
        (3, "3"),
        (None, None),
        ("x" * 50_000, "x" * fields.LONGEST_TEXT),
    ],
)
def test_a_text_stays_as_it_was_written(written: object, read_as: str | None) -> None:
    (found,) = read(page({**ENTRY, "message": written})).messages
    assert found.text == read_as
    line = events.encode(reported("default", found, events.instant(0.0)))
    assert json.loads(line)["text"] == read_as
    assert "\u2028".encode() not in line


@pytest.mark.parametrize(
    "entry", [None, 7, "text", [], {}, {"mosms_id": 0}, {"mosms_id": -1}, {"mosms_id": 2**63}, {"mosms_id": "x"}]
)
def test_an_entry_without_an_id_costs_itself(entry: object) -> None:
    found = read(page(NEIGHBOURS[0], entry, NEIGHBOURS[1]))
    assert [message.id for message in found.messages] == [1, 3]
    assert found.unusable == 1


def test_ids_and_counts_as_text() -> None:
    found = read(
        page({**ENTRY, "mosms_id": "17", "msisdn": "+45 12 34 56 78", "receiver": "Shop"}, results="1", pages="1")
    )
    assert [(each.id, each.msisdn, each.receiver) for each in found.messages] == [(17, 4512345678, "Shop")]
    assert (found.results, found.pages) == (1, 1)


@pytest.mark.parametrize(("results", "read_as"), [(None, None), (-1, None), ("many", None), (1e300, None), (0, 0)])
def test_a_number_of_results_of_no_use_counts_as_none(results: object, read_as: int | None) -> None:
    assert read(page(ENTRY, results=results)).results == read_as


def test_other_shapes() -> None:
    assert read(json.dumps([ENTRY]).encode()).messages == (CLEAN,)
    assert read(b'{"messages": null, "results": 0}').messages == ()
    assert read(gzip.compress(page(ENTRY)), "gzip").messages == (CLEAN,)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (page(ENTRY)[:-20], ""),
        (b"", ""),
        (b"null", ""),
        (b"42", ""),
        (b"{}", ""),
        (b"[]", ""),
        (b'{"messages": null}', ""),
        (b'{"messages": {"a": 1}, "results": 1}', ""),
        (b"<html><body>sign in</body></html>", ""),
        (gzip_bomb(200_000_000), "gzip"),
        (b'{"messages": [' + b"{}," * 200_000 + b"{}]}", ""),
    ],
    ids=[
        "cut",
        "empty",
        "null",
        "number",
        "no list",
        "an empty list",
        "null list",
        "an object",
        "a web page",
        "gzip bomb",
        "too many",
    ],
)
def test_what_is_no_page_is_a_trouble(body: bytes, encoding: str) -> None:
    assert isinstance(read_incoming(body, {"Content-Encoding": encoding, "Content-Type": "text/html"}), Trouble)


OURS = b'{"incident_uuid": "x", "message": "Forbidden"}'
CODED = b'{"code": "0x0213", "message": "Unauthorized IP-address: %1", "variables": ["192.0.2.4"]}'


@pytest.mark.parametrize(
    ("status", "body", "denied"),
    [
        (403, OURS, True),
        (404, OURS, True),
        (410, OURS, True),
        (403, CODED, True),
        (403, b'{"message": "Forbidden"}', False),
        (404, b"<html>not here</html>", False),
        (404, b"", False),
        (400, OURS, False),
        (401, OURS, False),
        (429, b"", False),
        (500, OURS, False),
        (302, b"", False),
    ],
)
def test_only_the_vendors_own_refusal_says_that_the_account_may_not(status: int, body: bytes, denied: bool) -> None:
    found = read_incoming_error(status, {}, body, str, 0.0).outcome
    assert isinstance(found, IncomingDenied if denied else Trouble)


@pytest.mark.parametrize(
    "body",
    [
        b'{"mosms_id": 1, "message": "secret"}',
        b'{"messages": [{"id": 1, "text": "secret"}]}',
        b'45, "message": "secret", "senttime": 1',
    ],
)
def test_an_error_with_messages_in_it_is_not_shown(body: bytes) -> None:
    assert "secret" not in read_incoming_error(500, {}, body, str, 0.0).text


def test_the_vendors_body_for_a_webhook() -> None:
    body = events.encode(reported("default", CLEAN, events.instant(0.0)))
    assert json.loads(posted(5, events.MESSAGE_RECEIVED, body)) == {
        "id": 2398517, "msisdn": 4512345678, "receiver": 451204, "message": "test", "senttime": 1554465205,
        "webhook_label": "label",
    }  # fmt: skip
    assert isinstance(json.loads(posted(5, events.MESSAGE_RECEIVED, body))["senttime"], int)


@pytest.mark.parametrize(
    ("names", "states", "incoming", "others"),
    [
        ({"status", "id"}, True, False, False),
        ({"status", "msisdn"}, True, False, False),
        ({"type", "msisdn", "seq"}, True, False, True),
        ({"incoming_id", "msisdn", "text"}, False, True, False),
        ({"text", "msisdn"}, False, True, False),
        ({"type", "incoming_id", "id"}, True, True, True),
    ],
)
def test_a_statement_for_states_gets_no_incoming_message(
    names: set[str], states: bool, incoming: bool, others: bool
) -> None:
    found = wanted_types(names)
    assert (events.MESSAGE_STATUS in found, events.MESSAGE_RECEIVED in found) == (states, incoming)
    assert (events.MESSAGE_GAVE_UP in found) == others


def test_a_removed_text_leaves_the_event() -> None:
    body = events.encode(reported("default", CLEAN, events.instant(0.0)))
    left = json.loads(events.without_text(body))
    assert left == {**json.loads(body), "text": None, "text_removed": True}
    assert events.without_text(b'{"type":"event.forgotten"}') == b'{"type":"event.forgotten"}'


def test_a_receiver_of_their_own() -> None:
    routes = (
        WebhookRouteConfig("http://a/", incoming=True, account="shop"),
        WebhookRouteConfig("http://b/", account="shop"),
    )
    found = Routes(WebhookOutputConfig("http://d/", routes=routes))
    answer, other = (events.encode(reported(name, CLEAN, events.instant(0.0))) for name in ("shop", "default"))
    assert (found.receiver(answer), found.receiver(other)) == ("1", "default")
    assert found.receiver(b'{"type":"message.status","account":"shop","userref":null}') == "2"
    # Another note where a route changes, so that what waits goes where it would go now.
    same = Routes(WebhookOutputConfig("http://d/", routes=(WebhookRouteConfig("http://a/", account="shop"), routes[1])))
    assert found.note != same.note
