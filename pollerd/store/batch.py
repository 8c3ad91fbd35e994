"""A batch as statements (by name) and the rows to run each with. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from operator import attrgetter, not_
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
_alike: Final = attrgetter(*rows.PLANNED[:-1])
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
    batch: Batch, committed: Sequence[Event], *, first_apart: bool = False
) -> list[tuple[str, Sequence[Sequence[Any]]]]:
    """What puts `batch` on disk. `committed` are its events with their numbers.

    `first_apart`: the engine has a statement of its own for first plans.
    """
    first = first_apart and any(r.first for r in batch.results)
    alike, apart = _first_plans(r.message for r in batch.results if r.first) if first else ([], [])
    return [
        ("touch", [_schedule(r.message) for r in batch.results if not r.full]),
        ("plan", apart),
        ("plan_alike", alike),
        ("settle", [_whole(r.message) for r in batch.results if r.full and not (first and r.first)]),
        ("append", [(e.seq, e.type, e.message_id, batch.at, e.body) for e in committed]),
        ("save_account", [_account(account) for account in batch.accounts]),
        ("save_credit", [msgspec.structs.astuple(credit) for credit in batch.credits]),
        ("save_cursor", [(c.name, c.seq, c.detail, batch.at) for c in batch.cursors]),
        ("request_done", [(request,) for request in batch.done]),
        ("set_meta", list(batch.notes)),
        ("count", list(_counted(batch.results).items())),
        ("count_latest", _latest(batch)),
        ("count_age", list(_aged(batch.results).items())),
    ]


def _counted(results: Iterable[Result]) -> Counter[str]:
    """Changes of the counters: a state left, a state entered, polls made. Rows that are not planned are not counted."""
    names = {State.PENDING: "pending", State.FINISHED: "finished", State.GAVE_UP: "gave_up"}
    counted: Counter[str] = Counter()
    for result in results:
        if result.was is not result.message.state:
            if result.was in names:
                counted[names[result.was]] -= 1
            counted[names[result.message.state]] += 1
        counted["polls"] += result.polls
    return Counter({name: change for name, change in counted.items() if change})


def _latest(batch: Batch) -> list[tuple[str, int]]:
    """When the last message was taken in, in whole seconds of the daemon's time."""
    taken = any(result.was is State.NEW and result.message.state is State.PENDING for result in batch.results)
    return [("handed_over_at", int(batch.at))] if taken else []


def _aged(results: Iterable[Result]) -> Counter[int]:
    """Changes of the pending messages by when they were sent."""
    slots: Counter[int] = Counter()
    for result in results:
        message, was = result.message, result.was
        if (was is State.PENDING) is not (message.state is State.PENDING):
            slots[int(message.sent_at // AGE_SLOT)] += 1 if was is not State.PENDING else -1
    return slots


def _account(account: AccountState) -> tuple[Any, ...]:
    refusing = account.held_reason is HoldReason.REFUSING
    # An older version, should one read this, knows no such reason.
    known = msgspec.structs.replace(account, held_reason=HoldReason.SERVER_ERRORS) if refusing else account
    return (*msgspec.structs.astuple(known), refusing)


def _schedule(message: Message) -> tuple[Any, ...]:
    return (*_scheduled(message), message.trail or None, message.id)


def _first_plans(messages: Iterable[Message]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The values of `plan_alike`, once for all that are alike, and those of `plan`."""
    groups: dict[tuple[Any, ...], list[Message]] = {}
    for message in messages:
        groups.setdefault(_alike(message), []).append(message)
    alike: list[tuple[Any, ...]] = []
    apart: list[tuple[Any, ...]] = []
    for found, group in groups.items():
        values = list(found)
        values[_PRIORITY] = None if found[_PRIORITY] is None else found[_PRIORITY].name
        if len(group) > _FEW:
            dues = msgspec.json.encode({message.id: message.next_poll_at for message in group})
            alike.append((dues.decode(), *values))
        else:
            apart += [(*values, message.next_poll_at, message.id) for message in group]
    return alike, apart


def _whole(message: Message) -> tuple[Any, ...]:
    row = rows.row_from_message(message)
    return (*row[1:], row[0])
