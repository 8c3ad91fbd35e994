"""A batch as statements (by name) and the rows to run each with. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from operator import attrgetter, itemgetter, not_
from typing import Any, Final

import msgspec

from pollerd.core import event as events
from pollerd.core.diff import Result
from pollerd.core.event import Body, Event
from pollerd.core.model import HoldReason, Message, State
from pollerd.core.ports import AccountState, Batch
from pollerd.core.ports.view import AGE_SLOT
from pollerd.store import rows

_scheduled: Final = attrgetter(*rows.SCHEDULED[:-1])
_repeated: Final = attrgetter(*rows.REPEATED, "id")
_answered: Final = itemgetter(*map(rows.COLUMNS.index, (*rows.ANSWERED, "id")))
_alike: Final = attrgetter(*rows.PLANNED[:-1])
_was: Final = attrgetter("was")
_state: Final = attrgetter("message.state")
_sent_at: Final = attrgetter("message.sent_at")
_PRIORITY: Final = rows.PLANNED.index("priority")
_FEW: Final = 8
"""Rows up to which a statement for each costs no more than one for all."""


def ordered(batch: Batch) -> Iterator[tuple[str, int | None, bytes]]:
    """The events of `batch` in the order of their numbers: type, message, body."""
    # An account that goes on comes before what was learned by that; one that is held, after it.
    recovered = {body.account: n for n, body in enumerate(batch.bodies) if isinstance(body, events.Recovered)}
    early = [n <= recovered.get(body.account, -1) for n, body in enumerate(batch.bodies)]
    found: list[tuple[int | None, Body]] = [(None, body) for body in compress(batch.bodies, early)]
    found += [(result.message.id, body) for result in batch.results for body in result.bodies]
    found += [(None, body) for body in compress(batch.bodies, map(not_, early))]
    for message_id, body in found:
        yield events.event_type(body), message_id, events.encode(body)


def planned(
    batch: Batch, committed: Sequence[Event], *, narrow: bool = False
) -> list[tuple[str, Sequence[Sequence[Any]]]]:
    """What puts `batch` on disk. `committed` are its events with their numbers.

    `narrow`: the engine has statements of its own for first plans and for answers that follow an answer.
    """
    written: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _FORMS}
    # In the table's order neighbours share a page.
    for result in sorted(batch.results, key=lambda result: result.message.id):
        if narrow and result.first:
            continue
        name = _statement(result, narrow=narrow)
        written[name].append(_FORMS[name](result.message))
    moved = [result for result in batch.results if result.was is not result.message.state]
    first = [result.message for result in batch.results if result.first] if narrow else []
    return [
        *written.items(),
        *_first_plans(first).items(),
        ("append", [(e.seq, e.type, e.message_id, batch.at, e.body) for e in committed]),
        ("save_account", [_account(account) for account in batch.accounts]),
        ("save_credit", [msgspec.structs.astuple(credit) for credit in batch.credits]),
        ("save_cursor", [(c.name, c.seq, c.detail, batch.at) for c in batch.cursors]),
        ("request_done", [(request,) for request in batch.done]),
        ("set_meta", list(batch.notes)),
        ("count", _counted(moved, sum(result.polls for result in batch.results))),
        ("count_latest", [("handed_over_at", int(batch.at))] if any(map(_taken_in, moved)) else []),
        ("count_age", list(_aged(moved).items())),
    ]


def _statement(result: Result, *, narrow: bool) -> str:
    if narrow and result.steady:
        return "answer" if result.full else "again"
    return "settle" if result.full else "touch"


def _counted(moved: Sequence[Result], polls: int) -> list[tuple[str, int]]:
    """Changes of the counters: a state left, a state entered, polls made. Rows that are not planned are not counted."""
    names = {State.PENDING: "pending", State.FINISHED: "finished", State.GAVE_UP: "gave_up"}
    counted: Counter[str] = Counter(polls=polls)
    for state, count in Counter(map(_was, moved)).items():
        if state in names:
            counted[names[state]] -= count
    for state, count in Counter(map(_state, moved)).items():
        counted[names[state]] += count
    return [(name, change) for name, change in counted.items() if change]


def _taken_in(moved: Result) -> bool:
    return moved.was is State.NEW and moved.message.state is State.PENDING


def _aged(moved: Sequence[Result]) -> Counter[int]:
    """Changes of the pending messages by when they were sent, which thousands are in one moment."""
    slots: Counter[int] = Counter()
    entered = [result for result in moved if result.message.state is State.PENDING]
    left = [result for result in moved if result.was is State.PENDING]
    for sent_at, count in Counter(map(_sent_at, entered)).items():
        slots[int(sent_at // AGE_SLOT)] += count
    for sent_at, count in Counter(map(_sent_at, left)).items():
        slots[int(sent_at // AGE_SLOT)] -= count
    return slots


def _account(account: AccountState) -> tuple[Any, ...]:
    refusing = account.held_reason is HoldReason.REFUSING
    # An older version, should one read this, knows no such reason.
    known = msgspec.structs.replace(account, held_reason=HoldReason.SERVER_ERRORS) if refusing else account
    return (*msgspec.structs.astuple(known), refusing)


def _schedule(message: Message) -> tuple[Any, ...]:
    return (*_scheduled(message), message.trail or None, message.id)


def _first_plans(messages: Iterable[Message]) -> dict[str, list[tuple[Any, ...]]]:
    """The statements for first plans: those that are alike are written together, the others one by one."""
    groups: dict[tuple[Any, ...], list[Message]] = {}
    for message in messages:
        groups.setdefault(_alike(message), []).append(message)
    written: dict[str, list[tuple[Any, ...]]] = {"plan_dues": [], "plan_alike": [], "plan_done": [], "plan": []}
    for number, (found, group) in enumerate(groups.items()):
        values = list(found)
        values[_PRIORITY] = None if found[_PRIORITY] is None else found[_PRIORITY].name
        if len(group) > _FEW:
            dues = msgspec.json.encode({message.id: message.next_poll_at for message in group})
            written["plan_dues"].append((number, dues.decode()))
            written["plan_alike"].append((*values, number, number))
            written["plan_done"] = [()]
        else:
            written["plan"] += [(*values, message.next_poll_at, message.id) for message in group]
    return written


def _whole(message: Message) -> tuple[Any, ...]:
    row = rows.row_from_message(message)
    return (*row[1:], row[0])


_FORMS: Final[Mapping[str, Callable[[Message], tuple[Any, ...]]]] = {
    "again": _repeated,
    "touch": _schedule,
    "answer": lambda message: _answered(rows.row_from_message(message)),
    "settle": _whole,
}
"""The statements that write messages, each with the values that it takes."""
