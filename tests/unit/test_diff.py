"""What one answer changes: a table of cases, and laws that hold for any sequence of answers."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd import diff, lifecycle
from pollerd import event as events
from pollerd.model import GiveUpReason, Message, Recipient, State


def r(msisdn: int, status: str, **more: object) -> Recipient:
    return Recipient(msisdn, status, **more)  # type: ignore[arg-type]


CASES = [
    ("the first state seen is a change", (), (r(1, "ENROUTE"),), [(1, None, "ENROUTE")], False),
    ("the same state again is none", (r(1, "ENROUTE"),), (r(1, "ENROUTE"),), [], False),
    ("a final state completes", (r(1, "ENROUTE"),), (r(1, "DELIVERED"),), [(1, "ENROUTE", "DELIVERED")], True),
    ("a transient state after a final one is ignored", (r(1, "DELIVERED"),), (r(1, "ENROUTE"),), [], True),
    ("another final state after a final one is ignored", (r(1, "EXPIRED"),), (r(1, "DELIVERED"),), [], True),
    ("an unknown state is transient and told", (r(1, "ENROUTE"),), (r(1, "READ"),), [(1, "ENROUTE", "READ")], False),
    (
        "each recipient is told on its own",
        (r(1, "ENROUTE"), r(2, "ENROUTE")),
        (r(2, "DELIVERED"), r(1, "REJECTED")),
        [(2, "ENROUTE", "DELIVERED"), (1, "ENROUTE", "REJECTED")],
        True,
    ),
    (
        "a recipient that an answer leaves out keeps its state",
        (r(1, "ENROUTE"), r(2, "ENROUTE")),
        (r(1, "DELIVERED"),),
        [(1, "ENROUTE", "DELIVERED")],
        False,
    ),
    (
        "the same number twice is two recipients",
        (r(1, "DELIVERED"), r(1, "ENROUTE")),
        (r(1, "DELIVERED"), r(1, "EXPIRED")),
        [(1, "ENROUTE", "EXPIRED")],
        True,
    ),
    (
        "the same number twice, shown in the other order, is no change",
        (r(1, "DELIVERED"), r(1, "ENROUTE")),
        (r(1, "ENROUTE"), r(1, "DELIVERED")),
        [],
        False,
    ),
    (
        "the same number twice, in the other order and one of them final by now",
        (r(1, "DELIVERED"), r(2, "ENROUTE"), r(1, "ENROUTE")),
        (r(1, "EXPIRED"), r(2, "ENROUTE"), r(1, "DELIVERED")),
        [(1, "ENROUTE", "EXPIRED")],
        False,
    ),
    (
        "the same number twice, and the answer leaves the waiting one out",
        (r(1, "ENROUTE"), r(1, "DELIVERED")),
        (r(1, "DELIVERED"),),
        [],
        False,
    ),
    (
        "the same number twice, two that wait have changed places",
        (r(1, "ENROUTE"), r(1, "BUFFERED")),
        (r(1, "BUFFERED"), r(1, "ENROUTE")),
        [],
        False,
    ),
    ("no recipients are no completion", (), (), [], False),
]


@pytest.mark.parametrize(("sentence", "before", "after", "told", "complete"), CASES, ids=[c[0] for c in CASES])
def test_one_answer(
    sentence: str,
    before: tuple[Recipient, ...],
    after: tuple[Recipient, ...],
    told: list[tuple[int, str | None, str]],
    complete: bool,
) -> None:
    found = diff.diff(before, after)
    assert [(c.recipient.msisdn, c.previous, c.recipient.status) for c in found.changes] == told, sentence
    assert found.complete is complete


def test_a_detail_that_arrives_later_is_kept_without_an_event() -> None:
    found = diff.diff((r(1, "ENROUTE"),), (r(1, "ENROUTE", mcc="238", mnc="01"),))
    assert found.changes == ()
    assert found.recipients[0].mcc == "238"


answers = st.lists(
    st.lists(
        st.builds(Recipient, st.integers(1, 4), st.sampled_from([*sorted(lifecycle.KNOWN), "READ", "PENDING"])),
        max_size=6,
    ).map(tuple),
    max_size=12,
)


@given(answers)
def test_laws_of_any_history(history: list[tuple[Recipient, ...]]) -> None:
    """Nothing follows a final state, each event names the state before, and what is kept is what was told last."""
    kept: tuple[Recipient, ...] = ()
    told: Counter[tuple[int, str]] = Counter()
    for answer in history:
        found = diff.diff(kept, answer)
        for change in found.changes:
            if change.previous is not None:
                assert change.previous not in lifecycle.FINAL
                assert told[change.recipient.msisdn, change.previous] > 0
                told[change.recipient.msisdn, change.previous] -= 1
            told[change.recipient.msisdn, change.recipient.status] += 1
        kept = found.recipients
        assert Counter((x.msisdn, x.status) for x in kept) == +told
        assert found.complete == (bool(kept) and all(x.status in lifecycle.FINAL for x in kept))


@given(answers, st.randoms(use_true_random=False))
def test_the_order_of_an_answer_tells_nothing(history: list[tuple[Recipient, ...]], random: Random) -> None:
    kept: tuple[Recipient, ...] = ()
    for answer in history:
        kept = diff.diff(kept, answer).recipients
    shuffled = list(kept)
    random.shuffle(shuffled)
    assert diff.diff(kept, tuple(shuffled)).changes == ()
    assert diff.diff(kept, tuple(shuffled[: len(kept) // 2])).changes == ()


def test_the_body_is_the_vendors_webhook_body_and_more() -> None:
    message = Message(421332671, "default", 0, 0, userref="order-17", polls=4)
    found = diff.diff(
        (r(4587654321, "ENROUTE"),),
        (r(4587654321, "DELIVERED", time=1764000042.7, country="DK", mcc="238", mnc="1"),),
    )
    status, completed = diff.told(message, found, 1764000043.512)
    line = events.Event(17, "message.status", message.id, events.encode(status)).line
    assert json.loads(line) == {
        "seq": 17, "type": "message.status", "id": 421332671, "account": "default", "msisdn": 4587654321,
        "status": "DELIVERED", "previous": "ENROUTE", "final": True, "time": 1764000042, "error": None, "code": None,
        "userref": "order-17", "country_code": "DK", "country_prefix": 45, "mcc": "238", "mnc": "1",
        "observed_at": "2025-11-24T16:00:43.512Z", "polls": 4,
    }  # fmt: skip
    assert line.endswith(b"}\n")
    assert line.startswith(b'{"seq":17,"type":"message.status","id":421332671,')
    assert json.loads(events.encode(completed))["counts"] == {"DELIVERED": 1}


def test_without_a_time_from_the_gateway_ours_is_told() -> None:
    found = diff.diff((), (r(1, "ENROUTE"),))
    (status,) = diff.told(Message(1, "default", 0, 0), found, 1764000043.5)
    assert json.loads(events.encode(status))["time"] == 1764000043


def test_giving_up_counts_who_is_left() -> None:
    message = Message(1, "default", 0, 0, state=State.PENDING, recipients=(r(1, "DELIVERED"), r(2, "ENROUTE")))
    body = json.loads(events.encode(diff.gave_up(message, GiveUpReason.DEADLINE, 0.0)))
    assert body["reason"] == "deadline"
    assert body["pending"] == 1


def test_the_schema_describes_every_type() -> None:
    schema = events.json_schema()
    tags = {d["properties"]["type"]["enum"][0] for d in schema["$defs"].values()}
    assert tags == set(events.TYPES)
    assert all("seq" in d["required"] for d in schema["$defs"].values())


@given(st.permutations(range(5)), st.lists(st.sampled_from(sorted(lifecycle.KNOWN)), min_size=10, max_size=10))
def test_the_order_of_an_answer_makes_no_difference(order: list[int], states: list[str]) -> None:
    """Answers in the stored order take a shorter way, which must lead to the same place."""
    before = tuple(r(number, states[number]) for number in range(5))
    after = tuple(r(number, states[5 + number], mcc="238") for number in range(5))
    straight = diff.diff(before, after)
    shuffled = diff.diff(before, tuple(after[number] for number in order))
    assert straight.recipients == shuffled.recipients
    assert {change.recipient.msisdn: change for change in straight.changes} == {
        change.recipient.msisdn: change for change in shuffled.changes
    }
