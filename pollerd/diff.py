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
    for key, shown in _numbered(_in_place(before, after)):
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
    for place, (had, shown) in enumerate(zip(before, after, strict=True)):
        if had == shown:
            continue
        if had.msisdn != shown.msisdn or (lifecycle.is_final(had.status) and had.status != shown.status):
            # Not the same order, or the same number twice and the two have changed places.
            return None
        if lifecycle.follows(had.status, shown.status):
            changes.append(Change(shown, had.status))
            kept[place] = shown
        elif not lifecycle.is_final(had.status):
            kept[place] = shown
    return Diff(tuple(kept), tuple(changes))


def _in_place(before: tuple[Recipient, ...], after: tuple[Recipient, ...]) -> tuple[Recipient, ...]:
    """`after` with the entries of a number that is there more than once in the order that they had before."""
    counts = Counter(recipient.msisdn for recipient in after)
    if len(counts) == len(after):
        return after
    had: defaultdict[int, list[Recipient]] = defaultdict(list)
    shown: defaultdict[int, list[Recipient]] = defaultdict(list)
    for recipient in before:
        had[recipient.msisdn].append(recipient)
    for recipient in after:
        shown[recipient.msisdn].append(recipient)
    ordered = {msisdn: iter(_matched(had[msisdn], entries)) for msisdn, entries in shown.items()}
    return tuple(next(ordered[recipient.msisdn]) for recipient in after)


def _matched(before: list[Recipient], after: list[Recipient]) -> list[Recipient]:
    in_state: defaultdict[str, deque[int]] = defaultdict(deque)
    for place, shown in enumerate(after):
        in_state[shown.status].append(place)
    places = [in_state[had.status].popleft() if in_state[had.status] else None for had in before[: len(after)]]
    taken = set(places)
    left = deque(shown for place, shown in enumerate(after) if place not in taken)
    return [after[place] if place is not None else left.popleft() for place in places] + list(left)


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
