"""A charge that goes on after the final state: reported with the state unchanged, and never backwards."""

from __future__ import annotations

import json
from itertools import permutations

import msgspec
import pytest

from pollerd.core import diff, lifecycle
from pollerd.core import event as events
from pollerd.core.model import Message, Recipient
from pollerd.status.statistics import Statistics
from tests.unit.test_diff import NOW, r

CASES = [
    ("captured", "AUTHORIZED", "CAPTURED", True),
    ("refunded at last", "CAPTURED", "REFUNDED", True),
    ("known for the first time", None, "NOCHARGE", True),
    ("a notice, and what stays", "REFUND_FAIL", "CAPTURED", True),
    ("a status in no table", "CAPTURED", "DISPUTED", True),
    ("what follows one in no table", "DISPUTED", "REFUNDED", True),
    ("the same", "CAPTURED", "CAPTURED", False),
    ("left out, or damaged", "CAPTURED", None, False),
    ("from a copy that lags", "CAPTURED", "AUTHORIZED", False),
    ("from one that lags further", "REFUNDED", "CAPTURED", False),
]


@pytest.mark.parametrize(("name", "known", "shown", "told"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("state", sorted(lifecycle.FINAL))
def test_after_a_final_state(name: str, known: str | None, shown: str | None, told: bool, state: str) -> None:
    """The recipient is as it was but for its charge; another one still waits, and its order does not matter."""
    had, waits = r(1, state, time=5.0, country="DK", charge_status=known), r(2, "ENROUTE")
    seen = r(1, state, time=9.0, country="SE", charge_status=shown)
    for after in permutations((seen, waits)):
        found = diff.diff((had, waits), after)
        kept = msgspec.structs.replace(had, charge_status=shown) if told else had
        assert found.recipients == (kept, waits), name
        assert found.changes == ((diff.Change(kept, state),) if told else ())
        assert not any(change.ends for change in found.changes)


def test_a_charge_shown_with_another_state_is_that_states() -> None:
    """A copy that lags shows an earlier state; READ is not reported after DELIVERED, and nothing comes of either."""
    had = (r(1, "DELIVERED", charge_status="AUTHORIZED"), r(2, "ENROUTE"))
    for state in ("ENROUTE", "READ", ""):
        assert diff.diff(had, (r(1, state, charge_status="CAPTURED"), had[1])).recipients is had


def test_before_the_final_state_it_comes_with_the_next_state() -> None:
    before = (r(1, "ENROUTE", charge_status="AUTHORIZED"),)
    charged = diff.diff(before, (r(1, "ENROUTE", charge_status="CAPTURED"),))
    assert charged.changes == ()
    (change,) = diff.diff(charged.recipients, (r(1, "DELIVERED"),)).changes
    assert change.recipient.charge_status == "CAPTURED"
    assert change.ends


def test_two_recipients_of_one_number_keep_their_charges_in_any_order() -> None:
    before = (r(1, "DELIVERED", charge_status="AUTHORIZED"), r(1, "DELIVERED", charge_status="CAPTURED"))
    for after in permutations(before):
        assert diff.diff((*before, r(2, "ENROUTE")), (*after, r(2, "ENROUTE"))).changes == ()
    refunded = (r(1, "DELIVERED", charge_status="REFUNDED"), before[0])
    (change,) = diff.diff(before, refunded).changes
    assert change.recipient.charge_status == "REFUNDED"


def test_the_event_and_what_counts_it() -> None:
    """All that the gateway says of the SMS, null where it says nothing; a charge is no further delivery."""
    message = Message(17, "default", NOW, NOW)
    full = Recipient(4587654321, "DELIVERED", charge_status="CAPTURED", sent=NOW + 0.5, sender="Shop", parts=2)
    known = diff.diff((msgspec.structs.replace(full, charge_status="AUTHORIZED"),), (full,))
    charged, completed = diff.bodies(message, known, NOW)
    line = json.loads(events.encode(charged))
    assert [line[name] for name in ("previous", "status", "final")] == ["DELIVERED", "DELIVERED", True]
    sms = ("senttime", "csms", "charge_status", "actual_sender")
    assert [line[name] for name in sms] == [NOW + 0.5, 2, "CAPTURED", "Shop"]
    (bare, _) = diff.bodies(message, diff.diff((), (Recipient(4587654321, "DELIVERED"),)), NOW)
    assert [json.loads(events.encode(bare))[name] for name in sms] == [None] * 4
    statistics = Statistics(NOW)
    for bodies in ((bare, completed), (charged,)):
        statistics.count(diff.Result(message, bodies), NOW)
    report = statistics.report(NOW)
    assert (report.seen, report.reached) == (1, {"DELIVERED": 1})
