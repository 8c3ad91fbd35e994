"""What one answer changes: a table of cases, and laws that hold for any sequence of answers."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.core import diff, lifecycle
from pollerd.core import event as events
from pollerd.core.model import GiveUpReason, Message, Recipient, State

NOW = 1_764_000_000.0


def r(msisdn: int, status: str, **more: object) -> Recipient:
    return Recipient(msisdn, status, **more)  # type: ignore[arg-type]


CASES = [
    ("the first state seen is a change", (), (r(1, "ENROUTE"),), [(1, None, "ENROUTE")], False),
    ("the same state again is none", (r(1, "ENROUTE"),), (r(1, "ENROUTE"),), [], False),
    ("a final state completes", (r(1, "ENROUTE"),), (r(1, "DELIVERED"),), [(1, "ENROUTE", "DELIVERED")], True),
    ("a transient state after a final one is ignored", (r(1, "DELIVERED"),), (r(1, "ENROUTE"),), [], True),
    ("another final state after a final one is ignored", (r(1, "EXPIRED"),), (r(1, "DELIVERED"),), [], True),
    ("an unknown state is transient and told", (r(1, "ENROUTE"),), (r(1, "SEEN"),), [(1, "ENROUTE", "SEEN")], False),
    ("READ at the first look has arrived", (), (r(1, "READ"),), [(1, None, "READ")], True),
    (
        "READ where the delivery was missed has arrived",
        (r(1, "ENROUTE"),),
        (r(1, "READ"),),
        [(1, "ENROUTE", "READ")],
        True,
    ),
    ("READ after DELIVERED is not told", (r(1, "DELIVERED"),), (r(1, "READ"),), [], True),
    ("READ told as transient by an earlier release completes", (r(1, "READ"),), (r(1, "READ"),), [], True),
    ("no state after a known one is no news", (r(1, "ENROUTE"),), (r(1, ""),), [], False),
    ("no state after a final one is no news", (r(1, "EXPIRED"),), (r(1, ""),), [], True),
    ("no state at the first look is not told", (), (r(1, ""),), [], False),
    ("the first state after none is told as the first", (r(1, ""),), (r(1, "ENROUTE"),), [(1, None, "ENROUTE")], False),
    ("no state of one is none of its neighbours", (), (r(1, ""), r(2, "DELIVERED")), [(2, None, "DELIVERED")], False),
    ("an older transient state is no news", (r(1, "ENROUTE", time=20.0),), (r(1, "BUFFERED", time=10.0),), [], False),
    (
        "one that is as old is news",
        (r(1, "ENROUTE", time=20.0),),
        (r(1, "BUFFERED", time=20.0),),
        [(1, "ENROUTE", "BUFFERED")],
        False,
    ),
    (
        "one without a time is news",
        (r(1, "ENROUTE", time=20.0),),
        (r(1, "BUFFERED"),),
        [(1, "ENROUTE", "BUFFERED")],
        False,
    ),
    (
        "one after a state without a time is news",
        (r(1, "ENROUTE"),),
        (r(1, "BUFFERED", time=10.0),),
        [(1, "ENROUTE", "BUFFERED")],
        False,
    ),
    (
        "a final state is news, however old",
        (r(1, "ENROUTE", time=20.0),),
        (r(1, "DELIVERED", time=10.0),),
        [(1, "ENROUTE", "DELIVERED")],
        True,
    ),
    (
        "a time far ahead says nothing about order",
        (r(1, "ENROUTE", time=NOW + 301),),
        (r(1, "BUFFERED", time=NOW),),
        [(1, "ENROUTE", "BUFFERED")],
        False,
    ),
    ("a clock a little ahead does", (r(1, "ENROUTE", time=NOW + 299),), (r(1, "BUFFERED", time=NOW),), [], False),
    (
        "the first state after none is news, however old",
        (r(1, "", time=20.0),),
        (r(1, "ENROUTE", time=10.0),),
        [(1, None, "ENROUTE")],
        False,
    ),
    (
        "a recipient without a number counts and has no line",
        (),
        (r(1, "DELIVERED"), r(0, "REJECTED")),
        [(1, None, "DELIVERED")],
        True,
    ),
    (
        "one without a number holds up the completion",
        (),
        (r(1, "DELIVERED"), r(0, "ENROUTE")),
        [(1, None, "DELIVERED")],
        False,
    ),
    (
        "one without number and state holds it up as well",
        (),
        (r(1, "DELIVERED"), r(0, "")),
        [(1, None, "DELIVERED")],
        False,
    ),
    (
        "the last one without a number completes",
        (r(1, "DELIVERED"), r(0, "ENROUTE")),
        (r(1, "DELIVERED"), r(0, "EXPIRED")),
        [],
        True,
    ),
    (
        "two without a number, in the other order",
        (r(0, "DELIVERED"), r(0, "ENROUTE")),
        (r(0, "ENROUTE"), r(0, "DELIVERED")),
        [],
        False,
    ),
    (
        "two without a number, both final by now",
        (r(0, "DELIVERED"), r(0, "ENROUTE"), r(1, "EXPIRED")),
        (r(0, "DELIVERED"), r(0, "DELIVERED"), r(1, "EXPIRED")),
        [],
        True,
    ),
    (
        "a number that becomes usable is told and takes its place",
        (r(1, "DELIVERED"), r(0, "ENROUTE")),
        (r(1, "DELIVERED"), r(2, "DELIVERED")),
        [(2, None, "DELIVERED")],
        True,
    ),
    (
        "a number that gets lost is counted and not told",
        (r(1, "DELIVERED"), r(2, "ENROUTE")),
        (r(1, "DELIVERED"), r(0, "DELIVERED")),
        [],
        True,
    ),
    (
        "a number that is there again counts by its own state",
        (r(1, "EXPIRED"), r(2, "ENROUTE", counts_as="DELIVERED")),
        (r(1, "EXPIRED"), r(2, "")),
        [],
        False,
    ),
    (
        "a number that is there again is told from its own state",
        (r(1, "EXPIRED"), r(2, "ENROUTE", counts_as="BUFFERED")),
        (r(1, "EXPIRED"), r(2, "DELIVERED")),
        [(2, "ENROUTE", "DELIVERED")],
        True,
    ),
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
    found = diff.diff(before, after, NOW)
    bodies = diff.bodies(Message(1, "default", 0.0, 0.0), found, NOW)
    lines = [(b.msisdn, b.previous, b.status) for b in bodies if isinstance(b, events.Status)]
    assert lines == told, sentence
    assert found.complete is complete
    assert [type(b) for b in bodies[len(lines) :]] == [events.Completed] * complete


def test_a_detail_that_arrives_later_is_kept_without_an_event() -> None:
    found = diff.diff((r(1, "ENROUTE"),), (r(1, "ENROUTE", mcc="238", mnc="01"),))
    assert found.changes == ()
    assert found.recipients[0].mcc == "238"


def test_a_detail_that_an_answer_leaves_out_is_still_known() -> None:
    before = (r(1, "ENROUTE", time=5.0, country="DK", mcc="238", mnc="01", charge_status="AUTHORIZED"),)
    assert diff.diff(before, (r(1, "ENROUTE"),)).recipients is before
    (change,) = diff.diff(before, (r(1, "DELIVERED", mnc="02"),)).changes
    assert change.recipient == r(1, "DELIVERED", country="DK", mcc="238", mnc="02", charge_status="AUTHORIZED")


def test_by_turns_from_two_copies_of_which_one_lags() -> None:
    """Each state is reported once, in the order in which the gateway came to it; nothing is stored for the laggard."""
    lagging, leading = (r(1, "BUFFERED", time=10.0),), (r(1, "ENROUTE", time=20.0),)
    kept: tuple[Recipient, ...] = ()
    told: list[str] = []
    for answer in (lagging, leading) * 20 + ((r(1, "DELIVERED", time=30.0),), leading, lagging):
        found = diff.diff(kept, answer, NOW)
        told += [change.recipient.status for change in found.changes]
        if answer is lagging and kept:
            assert found.recipients is kept
        kept = found.recipients
    assert told == ["BUFFERED", "ENROUTE", "DELIVERED"]


def test_a_number_that_comes_and_goes_is_one_recipient() -> None:
    """Its final state without the number counts, what follows it does not, and with the number it is reported."""
    kept: tuple[Recipient, ...] = (r(1, "EXPIRED"), r(2, "ENROUTE"), r(3, "ENROUTE"))
    steps: list[tuple[tuple[Recipient, ...], int, list[str]]] = [
        ((r(3, "ENROUTE"), r(0, "DELIVERED"), r(1, "EXPIRED")), 1, []),
        ((r(0, "ENROUTE"), r(1, "EXPIRED"), r(3, "ENROUTE")), 1, []),
        ((r(1, "EXPIRED"), r(3, "ENROUTE")), 1, []),
        ((r(0, ""), r(0, "EXPIRED"), r(3, "ENROUTE")), 1, []),
        ((r(1, "EXPIRED"), r(2, "ENROUTE"), r(3, "BUFFERED")), 2, ["BUFFERED"]),
        ((r(2, "DELIVERED"), r(0, "DELIVERED"), r(0, "EXPIRED")), 0, ["DELIVERED"]),
    ]
    for shown, waiting, told in steps:
        found = diff.diff(kept, shown, NOW)
        kept = found.recipients
        assert sorted(recipient.msisdn for recipient in kept) == [1, 2, 3], shown
        assert (found.pending, [change.recipient.status for change in found.changes]) == (waiting, told), shown


def test_ten_thousand_numbers_that_are_lost_and_found_again() -> None:
    before = tuple(r(4500000000 + i, "ENROUTE") for i in range(10_000))
    lost = diff.diff(before, tuple(r(0, "DELIVERED" if i % 2 else "ENROUTE") for i in range(10_000)), NOW)
    assert (lost.changes, lost.pending, len(lost.recipients)) == ((), 5000, 10_000)
    found = diff.diff(lost.recipients, tuple(r(4500000000 + i, "DELIVERED") for i in range(10_000)), NOW)
    assert (len(found.changes), found.complete) == (10_000, True)
    fresh = diff.diff((), tuple(r(0, "ENROUTE") for _ in range(10_000)), NOW)
    named = diff.diff(fresh.recipients, before, NOW)
    assert (len(named.changes), len(named.recipients)) == (10_000, 10_000)


answers = st.lists(
    st.lists(
        st.builds(
            Recipient,
            st.integers(0, 4),
            st.sampled_from([*sorted(lifecycle.KNOWN), "PENDING", lifecycle.NO_STATE]),
            st.sampled_from([None, None, 10.0, 20.0, 30.0]),
        ),
        max_size=6,
    ).map(tuple),
    max_size=12,
)


@given(answers)
def test_laws_of_any_history(history: list[tuple[Recipient, ...]]) -> None:
    """Nothing follows a final state, each event names the state before, and what is kept is what was reported last."""
    kept: tuple[Recipient, ...] = ()
    told: Counter[tuple[int, str]] = Counter()
    for answer in history:
        found = diff.diff(kept, answer)
        for change in found.changes:
            assert change.recipient.status
            if change.previous is not None:
                assert change.previous not in lifecycle.FINAL
                assert told[change.recipient.msisdn, change.previous] > 0
                told[change.recipient.msisdn, change.previous] -= 1
            told[change.recipient.msisdn, change.recipient.status] += 1
        numbers = Counter(x.msisdn for x in kept if x.msisdn) | Counter(x.msisdn for x in answer if x.msisdn)
        # As few as the answers allow: those without a number are nobody new as long as somebody is missing.
        assert len(found.recipients) == max(len(kept), len(answer), numbers.total())
        kept = found.recipients
        assert Counter((x.msisdn, x.status) for x in kept if x.msisdn and x.status) == Counter(
            {key: count for key, count in told.items() if key[0] and count}
        )
        assert found.complete == (bool(kept) and all(x.counted in lifecycle.FINAL for x in kept))


@given(answers, st.randoms(use_true_random=False))
def test_the_order_of_an_answer_means_nothing(history: list[tuple[Recipient, ...]], random: Random) -> None:
    kept: tuple[Recipient, ...] = ()
    for answer in history:
        kept = diff.diff(kept, answer).recipients
    shuffled = [one if one.counts_as is None else r(0, one.counts_as) for one in kept]
    random.shuffle(shuffled)
    assert diff.diff(kept, tuple(shuffled)).changes == ()
    assert diff.diff(kept, tuple(shuffled[: len(kept) // 2])).changes == ()


def test_the_body_is_the_vendors_webhook_body_and_more() -> None:
    message = Message(421332671, "default", 0, 0, userref="order-17", polls=4)
    found = diff.diff(
        (r(4587654321, "ENROUTE"),),
        (r(4587654321, "DELIVERED", time=1764000042.7, country="DK", mcc="238", mnc="1"),),
    )
    status, completed = diff.bodies(message, found, 1764000043.512)
    line = events.Event(17, "message.status", message.id, events.encode(status)).line
    assert json.loads(line) == {
        "seq": 17, "type": "message.status", "id": 421332671, "account": "default", "msisdn": 4587654321,
        "status": "DELIVERED", "previous": "ENROUTE", "final": True, "time": 1764000042, "error": None, "code": None,
        "userref": "order-17", "country_code": "DK", "country_prefix": 45, "mcc": "238", "mnc": "1",
        "senttime": None, "csms": None, "charge_status": None, "actual_sender": None,
        "observed_at": "2025-11-24T16:00:43.512Z", "polls": 4,
    }  # fmt: skip
    assert line.endswith(b"}\n")
    assert line.startswith(b'{"seq":17,"type":"message.status","id":421332671,')
    assert json.loads(events.encode(completed))["counts"] == {"DELIVERED": 1}


def test_without_a_time_from_the_gateway_ours_is_reported() -> None:
    found = diff.diff((), (r(1, "ENROUTE"),))
    (status,) = diff.bodies(Message(1, "default", 0, 0), found, 1764000043.5)
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


@pytest.mark.parametrize(
    "when", [0.0, 0.9999996, 43.512, 1764000043.5129999, 1764000043.9999999, 1764000000.0005, -0.25]
)
def test_an_instant_is_cut_to_milliseconds_as_the_standard_library_does(when: float) -> None:
    """Rounding may lead into the next second."""
    expected = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert events.instant(when) == expected
