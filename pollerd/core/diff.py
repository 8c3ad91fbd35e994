"""Before and after: what one answer of the gateway changes, as values. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator

import msgspec

from pollerd.core import event as events
from pollerd.core import lifecycle
from pollerd.core.model import UNIDENTIFIED, GiveUpReason, HoldReason, Message, Recipient, State

_Key = tuple[int, int]
"""A recipient within its message: its number, and which of those with that number."""


_Standing = tuple[str, str | None]
"""State and charge status."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One recipient's step from `previous` (None: never seen before) to what it is now.

    The state is the same where only the charge of a recipient in a final state went on.
    """

    recipient: Recipient
    previous: str | None

    @property
    def ends(self) -> bool:
        """Whether the recipient reached its final state with it."""
        return lifecycle.is_final(self.recipient.status) and self.previous != self.recipient.status


class Diff(msgspec.Struct, frozen=True, gc=False):
    """What an answer changes: the recipients to keep, the changes to report, in the answer's order."""

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
    """What one poll (or one decision without a poll) leaves behind: the row as it shall be, and the events."""

    message: Message
    bodies: tuple[events.Body, ...] = ()
    was: State = State.PENDING
    """The state before, for the counters."""
    polls: int = 0
    """How many polls led to this."""
    doubted: bool = False
    """Whether polling would have ended here, had the gateway's refusal been believed."""
    full: bool = True
    """False when only the schedule moved (a poll that changed nothing): cheaper, and may be written behind."""
    steady: bool = False
    """Whether an answer followed an answer, and the message is still pending: beside what that answer shows, only its
    times and polls are new. Cheaper."""
    first: bool = False
    """Whether the message was planned for the first time, and nothing else happened to it: cheaper, too."""


def waiting(recipients: Iterable[Recipient]) -> list[Recipient]:
    """Those of `recipients` that have no final state."""
    # `counted`, written out: this runs at every poll, over ten thousand of a mailing.
    return [r for r in recipients if (r.status if r.counts_as is None else r.counts_as) not in lifecycle.FINAL]


def pending(recipients: Iterable[Recipient]) -> int:
    """How many of `recipients` have no final state."""
    return len(waiting(recipients))


def diff(before: tuple[Recipient, ...], after: tuple[Recipient, ...], now: float = math.inf) -> Diff:
    """Compare what is stored with what the gateway shows at `now` by its own clock.

    A final state is kept whatever is shown after it; only its charge goes on. A recipient that an answer leaves out
    keeps its state. The same number twice in one message is two recipients: each goes with what is shown in its state,
    else by order. Entries without a usable number are matched in the same way, see `_unidentified`; one that stands for
    a known recipient is no change of that one, because nothing proves it.
    """
    if before is after or before == after:
        return Diff(before, ())
    if len(before) == len(after) and (found := _aligned(before, after, now)) is not None:
        return found
    known = dict(_numbered(before))
    pairs = list(_keyed(before, tuple(recipient for recipient in after if recipient.msisdn)))
    if any(not recipient.msisdn for recipient in (*before, *after)):
        pairs += _unidentified(known, pairs, [recipient for recipient in after if not recipient.msisdn])
    changes: list[Change] = []
    for key, shown in pairs:
        had = known.get(key)
        if had is not None and had.msisdn and not shown.msisdn:
            known[key] = _stood_for(had, shown)
            continue
        known[key], change = _step(had, shown, now)
        if change is not None:
            changes.append(change)
    return _found(before, known.values(), changes)


def _found(before: tuple[Recipient, ...], kept: Iterable[Recipient], changes: list[Change]) -> Diff:
    """The difference; the stored tuple itself where nothing is to be stored, which saves a transaction."""
    recipients = tuple(kept)
    return Diff(before if recipients == before else recipients, tuple(changes))


def _step(had: Recipient | None, shown: Recipient, now: float) -> tuple[Recipient, Change | None]:
    """What is kept of a recipient that is shown, and the change to report."""
    kept = shown if had is None else _kept(had, shown, now)
    previous = None if had is None else had.status or None
    changed = lifecycle.follows(previous, kept.status)
    if had is not None and _charged(had, shown):
        kept, changed = msgspec.structs.replace(kept, charge_status=shown.charge_status), True
    return kept, Change(kept, previous) if changed else None


def _charged(had: Recipient, shown: Recipient) -> bool:
    """Whether a final state is shown again, and its charge has gone on."""
    return (
        had.status == shown.status
        and lifecycle.is_final(had.status)
        and lifecycle.charge_goes_on(had.charge_status, shown.charge_status)
    )


def _kept(had: Recipient, shown: Recipient, now: float) -> Recipient:
    stays = lifecycle.is_final(had.status) or not shown.status
    if not stays and had.status and not lifecycle.is_final(shown.status):
        stays = lifecycle.is_older(had.time, shown.time, now)
    if stays:
        return had if had.counts_as is None else msgspec.structs.replace(had, counts_as=None)
    # What an answer leaves out, or shows damaged, is still known from the one before.
    same = shown.status == had.status
    place = shown.country and shown.mcc and shown.mnc
    charge = shown.charge_status or not had.charge_status
    sms = (shown.sent or not had.sent) and (shown.sender or not had.sender) and (shown.parts or not had.parts)
    if place and charge and sms and not (same and shown.time is None):
        return shown
    return msgspec.structs.replace(
        shown,
        time=had.time if same and shown.time is None else shown.time,
        country=shown.country or had.country,
        mcc=shown.mcc or had.mcc,
        mnc=shown.mnc or had.mnc,
        charge_status=shown.charge_status or had.charge_status,
        sent=shown.sent or had.sent,
        sender=shown.sender or had.sender,
        parts=shown.parts or had.parts,
    )


def _stood_for(had: Recipient, shown: Recipient) -> Recipient:
    """A known recipient whose place is taken by an entry without a usable number: it counts as that one."""
    if not shown.status or shown.status == had.counted or lifecycle.is_final(had.counted):
        return had
    return msgspec.structs.replace(had, counts_as=shown.status)


def _aligned(before: tuple[Recipient, ...], after: tuple[Recipient, ...], now: float) -> Diff | None:
    """The same when the answer shows the same numbers in the same order, as it nearly always does; None when not.

    Ten times as fast, which counts with 10,000 recipients.
    """
    kept = list(before)
    changes: list[Change] = []
    unique = len(after) == 1
    for place, (had, shown) in enumerate(zip(before, after, strict=True)):
        if had == shown:
            continue
        if had.msisdn != shown.msisdn:
            return None
        if (had.status != shown.status or had.charge_status != shown.charge_status) and not unique:
            if len({recipient.msisdn for recipient in after}) < len(after):
                # Two entries of one number may have changed places.
                return None
            unique = True
        kept[place], change = _step(had, shown, now)
        if change is not None:
            changes.append(change)
    return _found(before, kept, changes)


def _keyed(before: tuple[Recipient, ...], after: tuple[Recipient, ...]) -> Iterator[tuple[_Key, Recipient]]:
    """What is shown, each under the key that `_numbered` gives to the entry of `before` which it belongs to."""
    counts = Counter(recipient.msisdn for recipient in after)
    twice = {msisdn for msisdn, count in Counter(recipient.msisdn for recipient in before).items() if count > 1}
    twice.update(msisdn for msisdn, count in counts.items() if count > 1)
    if not twice:
        yield from (((recipient.msisdn, 0), recipient) for recipient in after)
        return
    had: defaultdict[int, list[_Standing]] = defaultdict(list)
    shown: defaultdict[int, list[Recipient]] = defaultdict(list)
    for recipient in before:
        had[recipient.msisdn].append((recipient.status, recipient.charge_status))
    for recipient in after:
        shown[recipient.msisdn].append(recipient)
    places = {msisdn: iter(_places(had[msisdn], shown[msisdn])) for msisdn in counts}
    for recipient in after:
        yield (recipient.msisdn, next(places[recipient.msisdn])), recipient


def _places(known: list[_Standing], shown: list[Recipient]) -> list[int]:
    """For each of `shown`, all of one number, the place among `known` that it continues; new ones come behind.

    What is shown in a known state is that one, first with the same charge; the rest goes to those that wait, then to
    the final ones.
    """
    found: dict[int, int] = {}
    left = dict.fromkeys(range(len(known)))
    for charged in (True, False):
        at: defaultdict[_Standing, deque[int]] = defaultdict(deque)
        for place in left:
            status, charge = known[place]
            at[status, charge if charged else None].append(place)
        for number, one in enumerate(shown):
            if number not in found and (places := at[one.status, one.charge_status if charged else None]):
                found[number] = places.popleft()
                del left[found[number]]
    rest = sorted(left, key=lambda place: (lifecycle.is_final(known[place][0]), place))
    free = iter([*rest, *range(len(known), len(known) + len(shown))])
    return [found[number] if number in found else next(free) for number in range(len(shown))]


def _unidentified(
    known: dict[_Key, Recipient], named: list[tuple[_Key, Recipient]], shown: list[Recipient]
) -> list[tuple[_Key, Recipient]]:
    """Entries without a usable number, each under the key in `known` of what it continues. Takes from `known` those
    that have a number by now.

    They have only their states to go by. The recipients of a message are fixed when it is sent, so as few as possible
    are taken for new: a number that is new takes the place of one without; an entry without a number continues one
    that is left, else stands for a known recipient that the answer leaves out.
    """
    seen = {key for key, _ in named}
    missing = [key for key in known if key[0] and key not in seen]
    nameless = [key for key in known if not key[0]]
    found = {key for key, _ in _paired(known, nameless, [one for key, one in named if key not in known])[0]}
    pool = [key for key in nameless if key not in found]
    pool += [key for key in missing if known[key].counts_as is not None]
    pairs, rest = _paired(known, pool, shown)
    others, new = _paired(known, [key for key in missing if known[key].counts_as is None], rest)
    for key in found:
        del known[key]
    return [*pairs, *others, *(((UNIDENTIFIED, len(nameless) + place), one) for place, one in enumerate(new))]


def _paired(
    known: dict[_Key, Recipient], keys: list[_Key], shown: list[Recipient]
) -> tuple[list[tuple[_Key, Recipient]], list[Recipient]]:
    """Each of `shown` with one of `keys`, as `_places` finds them, and those for which none is left."""
    pairs: list[tuple[_Key, Recipient]] = []
    rest: list[Recipient] = []
    for place, one in zip(
        _places([(known[key].counted, known[key].charge_status) for key in keys], shown), shown, strict=True
    ):
        if place < len(keys):
            pairs.append((keys[place], one))
        else:
            rest.append(one)
    return pairs, rest


def _numbered(recipients: tuple[Recipient, ...]) -> Iterator[tuple[_Key, Recipient]]:
    if len(recipients) == 1:
        yield (recipients[0].msisdn, 0), recipients[0]
        return
    seen: Counter[int] = Counter()
    for recipient in recipients:
        yield (recipient.msisdn, seen[recipient.msisdn]), recipient
        seen[recipient.msisdn] += 1


def bodies(message: Message, result: Diff, now: float) -> list[events.Body]:
    """The events of an answer: one `message.status` a change of a recipient with a usable number, then
    `message.completed` when all are final.

    `now` is the wall clock's, as people see it. `message` is pending, and already as it will be stored
    (its `polls` counts this poll).
    """
    observed_at = events.instant(now)
    bodies: list[events.Body] = [
        _status(message, change, now, observed_at) for change in result.changes if change.recipient.msisdn
    ]
    if result.complete:
        counts = Counter(recipient.counted for recipient in result.recipients)
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
    """The event that ends a message without a final state; `now` is the wall clock's."""
    return events.GaveUp(
        id=message.id,
        account=message.account,
        userref=message.userref,
        reason=reason.value,
        pending=pending(message.recipients),
        polls=message.polls,
        observed_at=events.instant(now),
    )


def overdue(message: Message, wall: float) -> events.Body:
    """The event that a message has no final state yet though it should; `wall` is the wall clock's time."""
    left = waiting(message.recipients)
    named = [
        events.OverdueRecipient(recipient.msisdn or None, lifecycle.name(recipient.counted))
        for recipient in left[: events.OVERDUE_NAMED]
    ]
    return events.Overdue(
        id=message.id,
        account=message.account,
        userref=message.userref,
        pending=None if message.seen_at is None else len(left),
        recipients=tuple(named),
        observed_at=events.instant(wall),
    )


def resumed(message: Message, reason: HoldReason, wall: float) -> events.Body:
    """The event that takes a message up again because of its account's hold, at `wall` by the wall clock."""
    return events.Resumed(
        id=message.id,
        account=message.account,
        userref=message.userref,
        reason=reason.value,
        pending=pending(message.recipients),
        polls=message.polls,
        observed_at=events.instant(wall),
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
        senttime=recipient.sent,
        csms=recipient.parts,
        charge_status=recipient.charge_status,
        actual_sender=recipient.sender,
        observed_at=observed_at,
        polls=message.polls,
    )
