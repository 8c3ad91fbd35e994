"""An event as the parameters of a statement."""

from __future__ import annotations

from pollerd.core import event as events
from pollerd.outputs.target.values import NAMES, parameters

STAMP = events.instant(0.0)


def test_a_status_has_its_own_fields_and_null_for_the_others() -> None:
    body = events.Status(
        id=1, account="default", msisdn=4587654321, status="DELIVERED", previous=None, final=True, time=1, error=None,
        code="0x1010", userref="order", country_code="DK", country_prefix=45, mcc="238", mnc="1", observed_at=STAMP,
        polls=4,
    )  # fmt: skip
    found = parameters(9, events.encode(body))
    assert set(found) == NAMES
    assert {name: value for name, value in found.items() if value is not None} == {
        "seq": 9, "type": "message.status", "id": 1, "account": "default", "msisdn": 4587654321, "status": "DELIVERED",
        "final": 1, "time": 1, "code": "0x1010", "userref": "order", "country_code": "DK", "country_prefix": 45,
        "mcc": "238", "mnc": "1", "observed_at": STAMP, "polls": 4,
        "source_id": 1,
    }  # fmt: skip
    assert type(found["final"]) is int


def test_counts_are_json() -> None:
    body = events.Completed(
        id=1, account="default", userref=None, counts={"DELIVERED": 2, "EXPIRED": 1}, polls=3, observed_at=STAMP
    )
    found = parameters(9, events.encode(body))
    assert found["counts"] == '{"DELIVERED":2,"EXPIRED":1}'
    assert found["msisdn"] is None


def test_every_field_of_every_event_can_be_named() -> None:
    schema = events.json_schema()
    named = {name for definition in schema["$defs"].values() for name in definition["properties"]}
    assert named | {"source_id"} == NAMES


def test_the_id_as_its_source_gave_it_keeps_its_type() -> None:
    held = events.Held(account="default", reason="throttled", detail="", until=None, observed_at=STAMP)
    completed = events.Completed(id=1, account="default", userref=None, counts={}, polls=3, observed_at=STAMP)
    given: tuple[str | float, ...] = (" 01", "1 ", 1.0)
    assert [parameters(9, events.encode(completed), form)["source_id"] for form in given] == list(given)
    assert type(parameters(9, events.encode(completed), 1.0)["source_id"]) is float
    assert parameters(9, events.encode(held))["source_id"] is None
