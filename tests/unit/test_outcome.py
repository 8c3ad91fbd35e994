"""What one outcome means for one message."""

from __future__ import annotations

import itertools
import random
from typing import Any

import msgspec
import pytest

from pollerd.backoff import Exponential, Settings
from pollerd.core.event import Completed, GaveUp, Status, instant
from pollerd.core.learning import key
from pollerd.core.model import (
    Answer,
    HoldReason,
    Message,
    NotFound,
    Outcome,
    Priority,
    Recipient,
    Rejected,
    State,
    Trouble,
)
from pollerd.core.outcome import FAILURES_BEFORE_DEADLINE, OutcomeRules, untracked
from pollerd.core.refusals import LEAST_ALONE, MAX_STRIKES, NO_EVIDENCE, Evidence

SENT = 1_764_000_000.0
SETTINGS = Settings(not_found_grace=60.0, give_up_after=1000.0, scheduled_horizon=9000.0, max_interval=100.0)


def rules() -> OutcomeRules:
    return OutcomeRules(Exponential(SETTINGS, 1), SETTINGS, random.Random(1))


def message(**more: object) -> Message:
    return Message(7, "default", SENT, SENT, base=SENT, **more)  # type: ignore[arg-type]


def asked(**more: object) -> Message:
    """Polled often, from the beginning."""
    return message(polls=20, first_poll_at=SENT + 2, **more)


ENROUTE = Answer((Recipient(4512345678, "ENROUTE"),))
DELIVERED = Answer((Recipient(4512345678, "DELIVERED"),))
TROUBLE = Trouble(HoldReason.UNREACHABLE, "timeout", "no answer")

ENDS: list[tuple[str, Message, Outcome, float, float, int, State, str | None]] = [
    ("a pending answer goes on", message(), ENROUTE, 5, 0, 0, State.PENDING, None),
    ("the last final state ends it", message(), DELIVERED, 5, 0, 0, State.FINISHED, None),
    ("no recipients yet is no end", message(), Answer(()), 5, 0, 0, State.PENDING, None),
    ("404 within the grace is normal", message(), NotFound(), 59, 0, 0, State.PENDING, None),
    ("404 after the grace: it may be scheduled", asked(misses=99), NotFound(), 8999, 0, 0, State.PENDING, None),
    ("404 at the horizon ends it", asked(misses=2), NotFound(), 9000, 0, 0, State.GAVE_UP, "not_found"),
    ("held time does not use up the horizon", asked(misses=2), NotFound(), 9000, 50, 0, State.PENDING, None),
    ("with a sendtime it has its time after that", asked(misses=2, sendtime=SENT + 500), NotFound(), 1499, 0, 0,
     State.PENDING, None),
    ("and no longer", asked(misses=2, sendtime=SENT + 500), NotFound(), 1500, 0, 0, State.GAVE_UP, "not_found"),
    ("a sendtime that is long past", asked(misses=2, sendtime=SENT - 5000), NotFound(), 90, 0, 0, State.GAVE_UP,
     "not_found"),
    ("one 404 alone ends nothing, however late", message(), NotFound(), 5000, 0, 0, State.PENDING, None),
    ("a seen message has its whole grace anew", message(seen_at=SENT + 5), NotFound(), 900, 0, 0,
     State.PENDING, None),
    ("held time does not use up the grace", message(), NotFound(), 100, 50, 0, State.PENDING, None),
    ("404 after it was seen: a new grace", message(seen_at=SENT + 50), NotFound(), 100, 0, 0, State.PENDING, None),
    ("404 before sendtime is normal", message(sendtime=SENT + 500), NotFound(), 400, 0, 0, State.PENDING, None),
    ("past the deadline a pending answer ends it", asked(), ENROUTE, 1000, 0, 0, State.GAVE_UP, "deadline"),
    ("but not the first one, whatever its age is said to be", message(), ENROUTE, 9e5, 0, 0, State.PENDING, None),
    ("past the deadline a final answer still counts", message(), DELIVERED, 5000, 0, 0, State.FINISHED, None),
    ("held time does not use up the deadline", message(), ENROUTE, 1000, 500, 0, State.PENDING, None),
    ("only what was held since it was taken in counts", asked(frozen_at=500.0), ENROUTE, 1000, 500, 0, State.GAVE_UP,
     "deadline"),
    ("a longer validity moves the deadline", message(), Answer(ENROUTE.recipients, validity=2000.0), 1500, 0, 0,
     State.PENDING, None),
    ("a later sendtime moves the deadline", message(), Answer(ENROUTE.recipients, sendtime=SENT + 900), 1500, 0, 0,
     State.PENDING, None),
    ("an answer against the message counts", message(), Rejected("bad", "http_400"), 5, 0, 0, State.PENDING, None),
    ("the gateway's trouble never ends a message", message(strikes=4), TROUBLE, 5, 0, 5, State.PENDING, None),
    ("not even past its deadline", message(), TROUBLE, 5000, 0, 3, State.PENDING, None),
    ("unless all others are answered for long", message(), TROUBLE, 5000, 0, FAILURES_BEFORE_DEADLINE, State.GAVE_UP,
     "deadline"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "before", "outcome", "age", "held", "failures", "state", "reason"), ENDS, ids=[c[0] for c in ENDS]
)
def test_when_polling_ends(
    sentence: str,
    before: Message,
    outcome: Outcome,
    age: float,
    held: float,
    failures: int,
    state: State,
    reason: str | None,
) -> None:
    result = rules().settle(before, outcome, SENT + age, held, failures)
    assert result.message.state is state, sentence
    reasons = [body.reason for body in result.bodies if isinstance(body, GaveUp)]
    assert reasons == ([] if reason is None else [reason])
    if state is State.PENDING:
        assert result.message.next_poll_at > SENT + age
        assert result.message.next_reason


def test_read_at_the_first_poll_ends_it_as_delivered_does() -> None:
    result = rules().settle(message(), Answer((Recipient(4512345678, "READ", SENT + 3600),)), SENT + 9, 0)
    assert result.message.state is State.FINISHED
    status, completed = result.bodies
    assert isinstance(status, Status)
    assert isinstance(completed, Completed)
    assert (status.status, status.previous, status.final, completed.counts) == ("READ", None, True, {"READ": 1})


def test_a_read_that_an_earlier_release_reported_as_transient_completes() -> None:
    stored = message(recipients=(Recipient(4512345678, "READ"),))
    result = rules().settle(stored, Answer(stored.recipients), SENT + 9, 0)
    assert result.message.state is State.FINISHED
    assert [type(body) for body in result.bodies] == [Completed]


def test_a_recipient_without_a_number_counts_and_is_not_reported() -> None:
    answer = Answer((Recipient(4512345678, "DELIVERED"), Recipient(0, "ENROUTE")))
    pending = rules().settle(asked(), answer, SENT + 5, 0)
    assert pending.message.state is State.PENDING
    assert [type(body) for body in pending.bodies] == [Status]
    late = rules().settle(pending.message, answer, SENT + 2000, 0)
    (gave_up,) = late.bodies
    assert isinstance(gave_up, GaveUp)
    assert (gave_up.reason, gave_up.pending) == ("deadline", 1)
    final = Answer((Recipient(4512345678, "DELIVERED"), Recipient(0, "EXPIRED")))
    (completed,) = rules().settle(pending.message, final, SENT + 9, 0).bodies
    assert isinstance(completed, Completed)
    assert completed.counts == {"DELIVERED": 1, "EXPIRED": 1}


def test_a_frame_that_an_answer_damages_is_still_known() -> None:
    first = rules().settle(message(), Answer(ENROUTE.recipients, sendtime=SENT + 9, validity=9000.0), SENT + 10, 0)
    second = rules().settle(first.message, ENROUTE, SENT + 5000, 0).message
    assert (second.state, second.sendtime, second.validity) == (State.PENDING, SENT + 9, 9000.0)


def test_an_older_state_from_a_copy_that_lags_is_written_behind() -> None:
    shown = Answer((Recipient(4512345678, "ENROUTE", SENT + 5),))
    first = rules().settle(message(), shown, SENT + 6, 0)
    lagging = rules().settle(first.message, Answer((Recipient(4512345678, "BUFFERED", SENT + 1),)), SENT + 9, 0)
    assert (lagging.bodies, lagging.full) == ((), False)
    assert lagging.message.recipients == shown.recipients


BELIEVED, BY_ITSELF = Evidence(believed=True), Evidence(alone=True)
SEEN: dict[str, object] = {"seen_at": SENT, "polls": 4, "first_poll_at": SENT}
MISSING: dict[str, object] = {**SEEN, "misses": 2, "refused_since": SENT + 10}
STRUCK: dict[str, object] = {"strikes": MAX_STRIKES - 1, "refused_since": SENT + 10}
GONE, BAD = NotFound(), Rejected("bad", "http_400")
REFUSALS: list[tuple[str, Message, Outcome, float, float, Evidence, str | None, bool]] = [
    ("seen, 404 for the grace, others answered", message(**MISSING), GONE, 70, 0, BELIEVED, "not_found", False),
    ("the same, but nobody was asked", message(**MISSING), GONE, 70, 0, NO_EVIDENCE, None, True),
    ("for days", message(**MISSING), GONE, 500_000, 0, NO_EVIDENCE, None, True),
    ("within the grace", message(**MISSING), GONE, 69, 0, BELIEVED, None, False),
    ("two 404s are few", message(**{**MISSING, "misses": 1}), GONE, 70, 0, BELIEVED, None, False),
    ("held time does not use up the grace", message(**{**MISSING, "refused_since": SENT - 40}), GONE, 60, 50, BELIEVED,
     None, False),
    ("nobody else was ever answered: not before a day", message(**MISSING), GONE, LEAST_ALONE, 0, BY_ITSELF, None,
     True),
    ("but then", message(**MISSING), GONE, LEAST_ALONE + 10, 0, BY_ITSELF, "not_found", False),
    ("past its deadline the grace need not be over", message(**{**MISSING, "refused_since": SENT + 1000}), GONE, 1010,
     0, BELIEVED, "not_found", False),
    ("a refusal taken back since: counted anew", message(**MISSING), GONE, 75, 0, Evidence(True, False, SENT + 20),
     None, False),
    ("taken back before: counted on", message(**MISSING), GONE, 75, 0, Evidence(True, False, SENT + 5), "not_found",
     False),
    ("five answers against it, others answered", message(**STRUCK), BAD, 15, 0, BELIEVED, "rejected_request", False),
    ("the same, but nobody was asked", message(**STRUCK), BAD, 500_000, 0, NO_EVIDENCE, None, True),
    ("four are few", message(**{**STRUCK, "strikes": 3}), BAD, 15, 0, BELIEVED, None, False),
    ("the same, nobody else was ever answered: not before a day", message(**STRUCK), BAD, LEAST_ALONE, 0, BY_ITSELF,
     None, True),
    ("but then", message(**STRUCK), BAD, LEAST_ALONE + 10, 0, BY_ITSELF, "rejected_request", False),
    ("a refusal taken back since: struck anew", message(**STRUCK), BAD, 15, 0, Evidence(True, False, SENT + 12), None,
     False),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "before", "outcome", "age", "held", "evidence", "reason", "doubted"), REFUSALS)
def test_when_a_refusal_ends_a_message(
    sentence: str,
    before: Message,
    outcome: Outcome,
    age: float,
    held: float,
    evidence: Evidence,
    reason: str | None,
    doubted: bool,
) -> None:
    result = rules().settle(before, outcome, SENT + age, held, evidence=evidence)
    assert [body.reason for body in result.bodies if isinstance(body, GaveUp)] == ([reason] if reason else []), sentence
    assert result.doubted is doubted
    assert (result.message.state is State.PENDING) is (reason is None)


def test_what_is_not_believed_is_polled_more_and_more_seldom() -> None:
    row, now, gaps = message(**MISSING), SENT + 70, []
    for _ in range(30):
        row = rules().settle(row, GONE, now, 0.0).message
        gaps.append(row.next_poll_at - now)
        now = row.next_poll_at
    assert min(gaps) >= 22
    assert 2700 <= gaps[-1] <= 4500


def test_an_answer_ends_a_run_of_refusals() -> None:
    answered = rules().settle(message(**MISSING), ENROUTE, SENT + 30, 0.0).message
    assert (answered.misses, answered.refused_since) == (0, None)
    missed = rules().settle(answered, GONE, SENT + 400, 100.0).message
    assert missed.refused_since == SENT + 300, "held time is taken off"


def test_the_last_final_state_is_reported_with_the_completion() -> None:
    result = rules().settle(message(polls=3), DELIVERED, SENT + 9, 0)
    assert [type(body) for body in result.bodies] == [Status, Completed]
    assert result.message.polls == 4


def kept(message: Message) -> tuple[Any, ...]:
    return message.recipients, message.userref, message.sendtime, message.validity, message.priority


def test_what_is_stored_of_an_answer_is_known_before_it_is_settled() -> None:
    shown = Answer((Recipient(1, "ENROUTE", SENT + 9),), "order", SENT + 1, 3600.0, ahead=5.0)
    assert shown.stored(message()) != kept(message())
    seen = rules().settle(message(), shown, SENT + 10, 0).message
    assert shown.stored(message()) == shown.stored(seen) == kept(seen)
    assert Answer.again(seen, 5.0) == shown
    again = rules().settle(seen, Answer.again(seen, 5.0), SENT + 12, 0)
    assert (again.full, again.bodies) == (False, ())
    assert again == rules().settle(seen, shown, SENT + 12, 0), "decoded once more, it says the same"

    late = Answer((Recipient(1, "BUFFERED", SENT + 3),))
    held_back = rules().settle(seen, late, SENT + 14, 0).message
    assert held_back.recipients == shown.recipients
    assert late.stored(seen) != kept(held_back), "it may be told later, though the answer stays the same"


@pytest.mark.parametrize(
    ("change", "adds"),
    [
        ({"userref": "another"}, False),
        ({"userref": None}, False),
        ({"sendtime": SENT + 2}, True),
        ({"sendtime": None}, False),
        ({"validity": 60.0}, True),
        ({"validity": None}, False),
        ({"priority": Priority.BULK}, True),
        ({"recipients": ()}, True),
    ],
)
def test_what_an_answer_adds_is_what_settling_it_stores(change: dict[str, Any], adds: bool) -> None:
    shown = Answer((Recipient(1, "ENROUTE", SENT + 9),), "order", SENT + 1, 3600.0)
    seen = rules().settle(message(), shown, SENT + 10, 0).message
    other = msgspec.structs.replace(shown, **change)
    assert (other.stored(seen) != kept(seen)) is adds
    stored = rules().settle(seen, other, SENT + 12, 0)
    assert adds or stored == rules().settle(seen, shown, SENT + 12, 0)


def test_an_unchanged_answer_may_be_written_behind_and_a_changed_one_may_not() -> None:
    first = rules().settle(message(), ENROUTE, SENT + 2, 0)
    assert first.full
    again = rules().settle(first.message, ENROUTE, SENT + 5, 0)
    assert not again.full
    assert not again.bodies


def test_intervals_grow_with_age_up_to_the_maximum() -> None:
    verdict, now, row, gaps = rules(), SENT, message(), []
    for _ in range(12):
        row = verdict.settle(row, ENROUTE, now, 0).message
        gaps.append(row.next_poll_at - now)
        now = row.next_poll_at
    assert gaps[0] < 3
    assert 80 <= gaps[-1] <= 111
    assert all(later > earlier * 1.1 for earlier, later in itertools.pairwise(gaps[:8]))


def test_the_last_poll_is_not_later_than_the_end_of_the_grace_or_the_deadline() -> None:
    missing = rules().settle(message(misses=40), NotFound(), SENT + 55, 0)
    assert missing.message.next_poll_at <= SENT + 60.1
    pending = rules().settle(message(), ENROUTE, SENT + 950, 0)
    assert pending.message.next_poll_at <= SENT + 1000


def test_trouble_counts_no_poll_and_is_tried_again_soon() -> None:
    result = rules().settle(message(polls=2), TROUBLE, SENT + 500, 0)
    assert result.message.polls == 2
    assert result.message.next_poll_at - (SENT + 500) < 5


def test_a_message_sent_in_the_past_is_due_at_once_and_a_scheduled_one_is_not() -> None:
    past = rules().first(msgspec.structs.replace(message(), state=State.NEW), SENT + 300, 12.0)
    assert past.next_poll_at == SENT + 300
    assert past.frozen_at == 12.0
    coming = rules().first(msgspec.structs.replace(message(), state=State.NEW), SENT - 300, 0)
    assert SENT <= coming.next_poll_at <= SENT + 60


def test_a_sendtime_ahead_of_a_slow_clock_holds_nothing_up() -> None:
    answer = Answer((Recipient(1, "ENROUTE"),), sendtime=SENT + 3600)
    shown = rules().settle(message(), answer, SENT + 5, 0.0).message
    assert shown.next_poll_at <= SENT + 105
    missed = rules().settle(shown, NotFound(), SENT + 9, 0.0).message
    assert (missed.next_poll_at <= SENT + 109, missed.misses) == (True, 1)


def test_never_seen_and_past_its_grace_it_is_unknown_until_it_is_seen() -> None:
    early = rules().settle(message(), NotFound(), SENT + 59, 0.0).message
    late = rules().settle(early, NotFound(), SENT + 61, 0.0).message
    held = rules().settle(early, NotFound(), SENT + 61, 30.0).message
    later = rules().settle(message(sendtime=SENT + 500), NotFound(), SENT + 400, 0.0).message
    assert [early.unknown, late.unknown, held.unknown, later.unknown] == [False, True, False, False]
    assert not rules().settle(late, ENROUTE, SENT + 90, 0.0).message.unknown
    assert not rules().settle(message(seen_at=SENT + 1), NotFound(), SENT + 900, 0.0).message.unknown


def test_a_message_with_a_sendtime_is_asked_about_from_then_on() -> None:
    row = msgspec.structs.replace(message(sendtime=SENT + 7200), state=State.NEW)
    first = rules().first(row, SENT, 0.0)
    assert SENT + 7200 <= first.next_poll_at <= SENT + 7205
    assert first.base == SENT + 7200
    early = rules().settle(first, NotFound(), SENT + 60, 0.0).message
    assert SENT + 7200 <= early.next_poll_at <= SENT + 7205, "asked for by somebody: that changes nothing"
    missed = rules().settle(early, NotFound(), first.next_poll_at, 0.0).message
    assert missed.next_poll_at < first.next_poll_at + 5, "from then on in short steps"


def test_a_sendtime_of_the_hand_over_is_kept_where_the_gateway_names_none() -> None:
    handed = message(sendtime=SENT - 50)
    assert rules().settle(handed, ENROUTE, SENT, 0.0).message.sendtime == SENT - 50
    named = Answer(ENROUTE.recipients, sendtime=SENT - 40)
    assert rules().settle(handed, named, SENT, 0.0).message.sendtime == SENT - 40


def test_a_sendtime_ahead_is_waited_for() -> None:
    answer = Answer((Recipient(1, "SCHEDULED"),), sendtime=SENT + 800)
    result = rules().settle(message(), answer, SENT + 10, 0)
    assert SENT + 800 <= result.message.next_poll_at <= SENT + 860


def test_taken_up_again_its_clocks_start_again_and_nothing_is_reported_twice() -> None:
    ended = rules().settle(asked(), ENROUTE, SENT + 2000, 0)
    assert ended.message.state is State.GAVE_UP
    again = rules().again(ended.message, SENT + 5000, 0)
    assert again.next_poll_at == SENT + 5000
    pending = rules().settle(again, ENROUTE, SENT + 5001, 0)
    assert pending.message.state is State.PENDING
    assert pending.bodies == ()
    late = rules().settle(pending.message, ENROUTE, SENT + 6001, 0)
    assert late.message.state is State.GAVE_UP


def test_untracking_is_reported_and_remembers_where_it_stood() -> None:
    result = untracked(message(recipients=(Recipient(1, "ENROUTE"),)), SENT + 1, SENT + 3601)
    (body,) = result.bodies
    assert isinstance(body, GaveUp)
    assert (body.reason, body.pending) == ("untracked", 1)
    assert body.observed_at == instant(SENT + 3601), "by the wall clock"
    assert result.message.finished_at == SENT + 1


def test_the_key_is_that_of_the_first_recipient_still_pending() -> None:
    recipients = (
        Recipient(1, "DELIVERED", mcc="238", mnc="1"),
        Recipient(2, "ENROUTE", mcc="240", mnc="7", country="SE"),
    )
    assert key(message(recipients=recipients)) == "240/07"
    assert key(message(recipients=(Recipient(2, "ENROUTE", country="SE"),))) == "SE"
    assert key(message()) is None


def test_the_userref_of_the_gateway_is_taken_when_none_was_handed_over() -> None:
    answer = Answer(ENROUTE.recipients, userref="theirs")
    assert rules().settle(message(), answer, SENT, 0).message.userref == "theirs"
    assert rules().settle(message(userref="ours"), answer, SENT, 0).message.userref == "ours"


@pytest.mark.parametrize(
    ("sentence", "ahead", "least", "most"),
    [
        ("sent just now", 0.0, 1.8, 2.2),
        ("a second rounded up is no message for later", 0.9, 2.7, 3.1),
        ("nor is a clock a little ahead", 10.0, 11.8, 12.2),
        ("one for later waits for it, spread", 60.0, 62.0, 64.0),
    ],
)
def test_the_first_poll_at_what_is_sent_a_little_later(sentence: str, ahead: float, least: float, most: float) -> None:
    new = msgspec.structs.replace(message(), sendtime=SENT + ahead, state=State.NEW)
    delays = [rules().first(new, SENT, 0.0).next_poll_at - SENT for _ in range(20)]
    assert least <= min(delays), sentence
    assert max(delays) <= most, sentence


@pytest.mark.parametrize("outcome", [TROUBLE, Rejected("bad", "http_400"), NotFound(), ENROUTE])
def test_no_message_is_polled_sooner_than_min_interval_whatever_was_answered(outcome: Outcome) -> None:
    settings = msgspec.structs.replace(SETTINGS, min_interval=20.0)
    strict = OutcomeRules(Exponential(settings, 1), settings, random.Random(1))
    delays = [strict.settle(message(), outcome, SENT + 5, 0.0).message.next_poll_at - SENT - 5 for _ in range(50)]
    assert min(delays) >= 20.0
