"""The truth: which messages exist, what became of them, and what was shown of it."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from pollerd.simulator.clock import SimClock
from pollerd.simulator.config import TEXT_MARKER, AnswerStyle, Population
from pollerd.simulator.fate import (
    FINAL_STATES,
    READ,
    FateRules,
    Step,
    fate_of,
    log_normal,
    recipients_of,
    uniforms,
)
from pollerd.simulator.networks import operator_of
from pollerd.simulator.outages import Outages

_FROM_THE_NETWORK = frozenset({"DELIVERED", "ACCEPTED", "UNDELIVERABLE", READ})
_LARGEST_ID = 2**64 - 1  # The vendor's ids are unsigned numbers of 64 bits.


class StatusChange(NamedTuple):
    """From `at` (real UNIX seconds) the recipient is in `status`, and its charge in `charge` (None: not charged)."""

    at: float
    status: str
    code: int | None
    charge: str | None = None


class SimulatedMessage:
    """One message and the count of how often it was asked for. Fates are not kept: they are computed."""

    __slots__ = (
        "answers",
        "cancelled_at",
        "created_at",
        "final_told_at",
        "id",
        "log",
        "polls",
        "polls_after_final",
        "priority",
        "recipients",
        "sender",
        "sendtime",
        "sent_at",
        "shown",
        "steps",
        "text",
        "userref",
        "validity",
    )

    def __init__(self, message_id: int, recipients: tuple[int, ...], created_at: float) -> None:
        self.id = message_id
        self.recipients = recipients
        self.created_at = created_at
        self.sent_at = created_at
        self.sendtime: float | None = None
        self.validity: float | None = None
        self.userref: str | None = None
        self.priority = "NORMAL"
        self.sender = "pollerd"
        self.text = f"{TEXT_MARKER} {message_id}"
        self.steps: tuple[Step, ...] | None = None
        self.cancelled_at: float | None = None
        self.polls = 0
        self.polls_after_final = 0
        self.final_told_at: float | None = None
        # One bit for each recipient whose final state has been shown.
        self.shown = 0
        self.answers: dict[str, int] = {}
        self.log: list[tuple[float, str]] = []


class Truth:
    """All messages of one simulator. Every method works without the network, for tests in one process."""

    def __init__(
        self, clock: SimClock, outages: Outages, seed: int, population: Population, answers: AnswerStyle
    ) -> None:
        self._clock = clock
        self._outages = outages
        self._seed = seed
        self._population = population
        self._scheduled_shown = answers.scheduled == "shown"
        self._rules = FateRules(population.mix, population.tail, answers.unknown_first, answers.read)
        self._messages: dict[int, SimulatedMessage] = {}
        self._next_id = population.first_id
        # Bound per simulator, so that a cache never outlives the truth it belongs to.
        self._fate = lru_cache(maxsize=50_000)(self._compute_fate)

    def __len__(self) -> int:
        return len(self._messages)

    def add(
        self,
        message_id: int | None = None,
        *,
        recipients: int | Sequence[int] = 1,
        sent_at: float | None = None,
        sendtime: float | None = None,
        validity: float | None = None,
        userref: str | None = None,
        text: str | None = None,
        sender: str | None = None,
        steps: Sequence[Step] | None = None,
        priority: str = "NORMAL",
    ) -> int:
        """Create a message and return its id; ValueError when the id is taken or out of range.

        `recipients` is a number of made-up phones or the phones themselves. `sent_at` and `sendtime` are real
        UNIX seconds (`sendtime` in the future schedules), `validity` virtual seconds. `steps` sets the fate of
        every recipient in place of the drawn one.
        """
        if message_id is None:
            while self._next_id in self._messages:
                self._next_id += 1
            message_id = self._next_id
            self._next_id += 1
        if not 0 < message_id <= _LARGEST_ID or message_id in self._messages:
            raise ValueError(f"message id {message_id} is taken or not from 1 to 2^64-1; choose another")
        if isinstance(recipients, int):
            phones = recipients_of(self._seed, message_id, recipients, recipients)
        else:
            phones = tuple(recipients)
        message = SimulatedMessage(message_id, phones, self._clock.now() if sent_at is None else sent_at)
        message.sent_at = max(message.created_at, sendtime or 0.0)
        message.sendtime, message.validity, message.userref = sendtime, validity, userref
        message.text = message.text if text is None else text
        message.sender = sender or message.sender
        message.priority = priority
        message.steps = None if steps is None else tuple(steps)
        self._messages[message_id] = message
        return message_id

    def find(self, message_id: int) -> SimulatedMessage | None:
        """The message, made on the spot when the population says that unasked ids exist."""
        message = self._messages.get(message_id)
        if message is None and self._implied(message_id):
            fewest, most = self._population.recipients
            phones = recipients_of(self._seed, message_id, fewest, most)
            sent_at = self._population.implied_sent_at
            message = SimulatedMessage(message_id, phones, self._clock.now() if sent_at is None else sent_at)
            self._messages[message_id] = message
        return message

    def get(self, message_id: int) -> SimulatedMessage:
        """The message, which must have been sent, added or asked for; KeyError otherwise."""
        return self._messages[message_id]

    def _implied(self, message_id: int) -> bool:
        population = self._population
        return population.any_id or any(low <= message_id <= high for low, high in population.id_ranges)

    def known(self) -> Iterator[SimulatedMessage]:
        """Every message that was sent, added or asked for, oldest entry first."""
        return iter(tuple(self._messages.values()))

    def visible_at(self, message: SimulatedMessage) -> float:
        """Real time from which the reporting datastore has the message."""
        if message.cancelled_at is not None and not self._scheduled_shown:
            return message.cancelled_at
        population = self._population
        u = uniforms(self._seed, "visible", message.id)[0]
        delay = log_normal(population.visibility_median, population.visibility_sigma, u)
        start = message.created_at if self._scheduled_shown else message.sent_at
        return start + self._clock.real(delay)

    def cancel(self, message: SimulatedMessage) -> bool:
        """Cancel a scheduled message; False when it was already sent or cancelled."""
        now = self._clock.now()
        if message.cancelled_at is not None or message.sent_at <= now:
            return False
        message.cancelled_at = now
        return True

    def changes(self, message: SimulatedMessage, msisdn: int) -> tuple[StatusChange, ...]:
        """Every state of one recipient with its real time, those still to come included."""
        if message.cancelled_at is not None:
            past = (StatusChange(message.created_at, "SCHEDULED", None),) if self._scheduled_shown else ()
            return (*past, StatusChange(message.cancelled_at, "DELETED", None))
        steps = message.steps
        if steps is None:
            steps = self._fate(message.id, msisdn, message.validity or self._population.validity)
        start, speed = message.sent_at, self._clock.speed
        changes = [StatusChange(start + step.after / speed, step.status, step.code, step.charge) for step in steps]
        if self._outages:
            changes = self._with_outages(message, msisdn, changes)
        if self._scheduled_shown and message.sent_at > message.created_at:
            changes.insert(0, StatusChange(message.created_at, "SCHEDULED", None))
        return tuple(changes)

    def _compute_fate(self, message_id: int, msisdn: int, validity: float) -> tuple[Step, ...]:
        return fate_of(self._seed, message_id, msisdn, validity, self._rules)

    def _with_outages(self, message: SimulatedMessage, msisdn: int, changes: list[StatusChange]) -> list[StatusChange]:
        operator = operator_of(msisdn)
        u = uniforms(self._seed, "outage", message.id, msisdn)[0]
        delayed: list[StatusChange] = []
        for change in changes:
            at = change.at
            if change.status in _FROM_THE_NETWORK:
                at = self._outages.delayed(at, operator.mcc, operator.mnc, u)
            delayed.append(change._replace(at=at))
        delayed.sort(key=lambda change: change.at)
        validity = message.validity or self._population.validity
        expires = message.sent_at + self._clock.real(validity)
        moved = any(change.at > expires and change not in changes for change in delayed)
        if moved and message.steps is None:
            delayed = [change for change in delayed if change.at <= expires]
            if not any(change.status in FINAL_STATES for change in delayed):
                delayed.append(StatusChange(expires, "EXPIRED", 0x1013))
        return [change for change in delayed if change.at < math.inf]

    def final(self, message_id: int) -> dict[int, StatusChange | None]:
        """The first final state of each recipient, also when it lies ahead; None when there is none to come.

        KeyError when the message does not exist.
        """
        message = self._messages[message_id]
        return {msisdn: first_final(self.changes(message, msisdn)) for msisdn in message.recipients}

    def polls(self, message_id: int) -> int:
        """How often the message was asked for, whatever the answer; 0 when it does not exist."""
        message = self._messages.get(message_id)
        return message.polls if message else 0


def first_final(changes: Sequence[StatusChange]) -> StatusChange | None:
    """The first final state among the changes."""
    return next((change for change in changes if change.status in FINAL_STATES), None)


def state_at(changes: Sequence[StatusChange], now: float) -> StatusChange:
    """The change in force at `now`; before the first one the recipient is UNKNOWN."""
    current = StatusChange(0.0, "UNKNOWN", None)
    for change in changes:
        if change.at > now:
            break
        current = change
    return current
