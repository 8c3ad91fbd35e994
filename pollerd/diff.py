"""Before and after: what one answer of the gateway changes, as values. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator

import msgspec

from pollerd import event as events
from pollerd import lifecycle
from pollerd.model import GiveUpReason, Message, Recipient, State


class Change(msgspec.Struct, frozen=True, gc=False):
    """One recipient's step from `previous` (None: never seen before) to what it is now."""

    recipient: Recipient
    previous: str | None


class Diff(msgspec.Struct, frozen=True, gc=False):
    """What an answer changes: the recipients to keep, the changes to tell, in the answer's order."""

    recipients: tuple[Recipient, ...]
    changes: tuple[Change, ...]

    @property
    def pending(self) -> int:
        """How many recipients have no final state yet."""
        return pending(self.recipients)

    @property
    def complete(self) -> bool:
        """Whether every recipient is final; a message that shows no recipients is not."""
        return bool(self.recipients) and self.pending == 0


class Result(msgspec.Struct, frozen=True, gc=False):
    """What one poll (or one decision without a poll) leaves behind: the row as it shall be, and the events to tell."""

    message: Message
    bodies: tuple[events.Body, ...] = ()
    was: State = State.PENDING
    """The state before, for the counters."""
    polls: int = 0
    """How many polls led to this."""
    full: bool = True
    """False when only the schedule moved (a poll that changed nothing): cheaper, and may be written behind."""


def pending(recipients: Iterable[Recipient]) -> int:
    """How many of `recipients` have no final state."""
    return sum(1 for recipient in recipients if recipient.status not in lifecycle.FINAL)


def diff(before: tuple[Recipient, ...], after: tuple[Recipient, ...]) -> Diff:
    """Compare what is stored with what the gateway shows.

    A final state is kept whatever is shown after it. A recipient that an answer leaves out keeps its state. The same
    number twice in one message is two recipients: each goes with what is shown in its state, else by order.
    """
    if before == after:
        return Diff(before, ())
    if len(before) == len(after) and (found := _aligned(before, after)) is not None:
        return found
    known = dict(_numbered(before))
    changes: list[Change] = []
    for key, shown in _keyed(before, after):
        had = known.get(key)
        previous = had.status if had is not None else None
        if lifecycle.follows(previous, shown.status):
            changes.append(Change(shown, previous))
            known[key] = shown
        elif had is not None and not lifecycle.is_final(had.status):
            known[key] = shown
    return Diff(tuple(known.values()), tuple(changes))


def _aligned(before: tuple[Recipient, ...], after: tuple[Recipient, ...]) -> Diff | None:
    """The same when the answer shows the same numbers in the same order, as it nearly always does; None when not.

    Ten times as fast, which counts with 10,000 recipients.
    """
    kept = list(before)
    changes: list[Change] = []
    unique = False
    for place, (had, shown) in enumerate(zip(before, after, strict=True)):
        if had == shown:
            continue
        if had.msisdn != shown.msisdn:
            return None
        if had.status != shown.status and not unique:
            if len({recipient.msisdn for recipient in after}) < len(after):
                # Two entries of one number may have changed places.
                return None
            unique = True
        if lifecycle.follows(had.status, shown.status):
            changes.append(Change(shown, had.status))
            kept[place] = shown
        elif not lifecycle.is_final(had.status):
            kept[place] = shown
    return Diff(tuple(kept), tuple(changes))


def _keyed(before: tuple[Recipient, ...], after: tuple[Recipient, ...]) -> Iterator[tuple[tuple[int, int], Recipient]]:
    """What is shown, each under the key that `_numbered` gives to the entry of `before` which it belongs to."""
    counts = Counter(recipient.msisdn for recipient in after)
    twice = {msisdn for msisdn, count in Counter(recipient.msisdn for recipient in before).items() if count > 1}
    twice.update(msisdn for msisdn, count in counts.items() if count > 1)
    if not twice:
        yield from (((recipient.msisdn, 0), recipient) for recipient in after)
        return
    had: defaultdict[int, list[Recipient]] = defaultdict(list)
    shown: defaultdict[int, list[Recipient]] = defaultdict(list)
    for recipient in before:
        had[recipient.msisdn].append(recipient)
    for recipient in after:
        shown[recipient.msisdn].append(recipient)
    places = {msisdn: iter(_places(had[msisdn], shown[msisdn])) for msisdn in counts}
    for recipient in after:
        yield (recipient.msisdn, next(places[recipient.msisdn])), recipient


def _places(before: list[Recipient], after: list[Recipient]) -> list[int]:
    """For each of `after`, all of one number, the place in `before` that it continues; new ones come behind.

    What is shown in the state of an entry is that entry; the rest goes to those that wait, then to the final ones.
    """
    in_state: defaultdict[str, deque[int]] = defaultdict(deque)
    for place, had in enumerate(before):
        in_state[had.status].append(place)
    same = [in_state[shown.status].popleft() if in_state[shown.status] else None for shown in after]
    left = sorted(
        (place for places in in_state.values() for place in places),
        key=lambda place: (lifecycle.is_final(before[place].status), place),
    )
    free = iter([*left, *range(len(before), len(before) + len(after))])
    return [place if place is not None else next(free) for place in same]


def _numbered(recipients: tuple[Recipient, ...]) -> Iterator[tuple[tuple[int, int], Recipient]]:
    if len(recipients) == 1:
        yield (recipients[0].msisdn, 0), recipients[0]
        return
    seen: Counter[int] = Counter()
    for recipient in recipients:
        yield (recipient.msisdn, seen[recipient.msisdn]), recipient
        seen[recipient.msisdn] += 1


def told(message: Message, result: Diff, now: float) -> list[events.Body]:
    """The events of an answer: one `message.status` a change, then `message.completed` when the last one is final.

    `message` is already as it will be stored (its `polls` counts this poll).
    """
    observed_at = events.instant(now)
    bodies: list[events.Body] = [_status(message, change, now, observed_at) for change in result.changes]
    if bodies and result.complete:
        counts = Counter(recipient.status for recipient in result.recipients)
        bodies.append(
            events.Completed(
                id=message.id,
                account=message.account,
                userref=message.userref,
                counts=dict(sorted(counts.items())),
                polls=message.polls,
                observed_at=observed_at,
            ),
        )
    return bodies


def gave_up(message: Message, reason: GiveUpReason, now: float) -> events.Body:
    """The event that ends a message without a final state."""
    return events.GaveUp(
        id=message.id,
        account=message.account,
        userref=message.userref,
        reason=reason.value,
        pending=pending(message.recipients),
        polls=message.polls,
        observed_at=events.instant(now),
    )


def _status(message: Message, change: Change, now: float, observed_at: str) -> events.Status:
    recipient = change.recipient
    return events.Status(
        id=message.id,
        account=message.account,
        msisdn=recipient.msisdn,
        status=recipient.status,
        previous=change.previous,
        final=lifecycle.is_final(recipient.status),
        time=int(now if recipient.time is None else recipient.time),
        error=recipient.error,
        code=recipient.code,
        userref=message.userref,
        country_code=recipient.country,
        country_prefix=events.country_prefix(recipient.country) if recipient.country else None,
        mcc=recipient.mcc,
        mnc=recipient.mnc,
        charge_status=recipient.charge_status if recipient.charge_status is not None else msgspec.UNSET,
        observed_at=observed_at,
        polls=message.polls,
    )
