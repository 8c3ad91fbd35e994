"""What pollerd reports: one typed value for each kind of event, its JSON form and its JSON Schema.

`seq` is given by the transaction that stores the event, so a body is encoded without it and a line is put together
from both. Field names and meanings are the public contract; `message.status` is a superset of the vendor's webhook
body.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Annotated, Any, Final, NamedTuple, get_args

import msgspec

from pollerd.base.text import harmless

MESSAGE_STATUS: Final = "message.status"
MESSAGE_COMPLETED: Final = "message.completed"
MESSAGE_GAVE_UP: Final = "message.gave_up"
MESSAGE_RESUMED: Final = "message.resumed"
MESSAGE_OVERDUE: Final = "message.overdue"
MESSAGE_RECEIVED: Final = "message.received"
ACCOUNT_HELD: Final = "account.held"
ACCOUNT_RECOVERED: Final = "account.recovered"
CREDIT_LOW: Final = "account.credit_low"
CREDIT_OK: Final = "account.credit_ok"
EVENT_FORGOTTEN: Final = "event.forgotten"

JUMP: Final = 1_000_000
"""Numbers that are left out at once where the store may have lost some that it had given: more events than a replica,
or another member's file, is ever behind by.
"""


class Status(msgspec.Struct, frozen=True, tag=MESSAGE_STATUS, tag_field="type", kw_only=True):
    """A recipient's state changed. `time` is the gateway's, in whole UNIX seconds, or ours when it gave none.

    `senttime` is when its SMS was sent (UNIX seconds), `csms` how many parts it had, `actual_sender` the sender that
    the phone shows; null when not known. `previous` and `status` are the same where only `charge_status` went on
    after a final state.
    """

    id: int
    account: str
    msisdn: int
    status: str
    previous: str | None
    final: bool
    time: int
    error: str | None
    code: str | None
    userref: str | None
    country_code: str | None
    country_prefix: int | None
    mcc: str | None
    mnc: str | None
    senttime: float | None = None
    csms: int | None = None
    charge_status: str | None = None
    actual_sender: str | None = None
    observed_at: str
    polls: int


class Completed(msgspec.Struct, frozen=True, tag=MESSAGE_COMPLETED, tag_field="type", kw_only=True):
    """The last recipient reached a final state; `counts` maps state to number of recipients."""

    id: int
    account: str
    userref: str | None
    counts: dict[str, int]
    polls: int
    observed_at: str


class GaveUp(msgspec.Struct, frozen=True, tag=MESSAGE_GAVE_UP, tag_field="type", kw_only=True):
    """Polling ended without a final state; `pending` recipients (0 when none was ever seen) have none."""

    id: int
    account: str
    userref: str | None
    reason: str
    pending: int
    polls: int
    observed_at: str


class Resumed(msgspec.Struct, frozen=True, tag=MESSAGE_RESUMED, tag_field="type", kw_only=True):
    """A message that was given up is polled again; `reason` is that of its account's hold, found out only after it."""

    id: int
    account: str
    userref: str | None
    reason: str
    pending: int
    polls: int
    observed_at: str


OVERDUE_NAMED: Final = 100
"""Recipients that `message.overdue` names at most; `pending` counts them all."""


class OverdueRecipient(msgspec.Struct, frozen=True):
    """A recipient without a final state, and the state it was last seen in. `msisdn` is null where no usable number is
    known.
    """

    msisdn: int | None
    status: str


class Overdue(msgspec.Struct, frozen=True, tag=MESSAGE_OVERDUE, tag_field="type", kw_only=True):
    """`overdue_after` passed without a final state for `pending` recipients; reported once, and nothing ends by it.

    `recipients` names the first 100 of them. `pending` is null when the gateway has never shown the message.
    """

    id: int
    account: str
    userref: str | None
    pending: int | None
    recipients: Annotated[tuple[OverdueRecipient, ...], msgspec.Meta(max_length=OVERDUE_NAMED)]
    observed_at: str


class Received(msgspec.Struct, frozen=True, tag=MESSAGE_RECEIVED, tag_field="type", kw_only=True):
    """Somebody sent a message to one of the account's numbers. `incoming_id` is of a kind of its own: no id of a
    message that was sent.

    `text` is null where the gateway showed none, and once it was removed (`text_removed`). `senttime` is the gateway's,
    in UNIX seconds. `msisdn` is who sent it, null when no usable number is known; `sender` and `encoding` are as the
    gateway gives them, `webhook_label` the label of the vendor's webhook that it belongs to.
    """

    incoming_id: int
    account: str
    msisdn: int | None
    receiver: int | str | None
    text: str | None
    senttime: float | None
    sender: str | None = None
    encoding: str | None = None
    webhook_label: str | None = None
    text_removed: bool = False
    observed_at: str


class Held(msgspec.Struct, frozen=True, tag=ACCOUNT_HELD, tag_field="type", kw_only=True):
    """Polling of the account is paused; `until` is when it is tried again (RFC 3339, UTC)."""

    account: str
    reason: str
    detail: str
    until: str | None
    observed_at: str


class Recovered(msgspec.Struct, frozen=True, tag=ACCOUNT_RECOVERED, tag_field="type", kw_only=True):
    """Polling of the account goes on after a hold; `reason` is the hold's."""

    account: str
    reason: str
    detail: str
    until: str | None
    observed_at: str


class CreditLow(msgspec.Struct, frozen=True, tag=CREDIT_LOW, tag_field="type", kw_only=True):
    """The balance fell below `warn_below`."""

    account: str
    credit: float
    currency: str
    observed_at: str


class CreditOk(msgspec.Struct, frozen=True, tag=CREDIT_OK, tag_field="type", kw_only=True):
    """The balance is above `warn_below` again."""

    account: str
    credit: float
    currency: str
    observed_at: str


class Forgotten(msgspec.Struct, frozen=True, tag=EVENT_FORGOTTEN, tag_field="type", kw_only=True):
    """What this event said was removed from the database (`pollerd forget`); its `seq` stays."""

    account: str
    observed_at: str


Body = Status | Completed | GaveUp | Resumed | Overdue | Received | Held | Recovered | CreditLow | CreditOk | Forgotten
TYPES: Final = (
    MESSAGE_STATUS,
    MESSAGE_COMPLETED,
    MESSAGE_GAVE_UP,
    MESSAGE_RESUMED,
    MESSAGE_OVERDUE,
    MESSAGE_RECEIVED,
    ACCOUNT_HELD,
    ACCOUNT_RECOVERED,
    CREDIT_LOW,
    CREDIT_OK,
    EVENT_FORGOTTEN,
)


class Event(msgspec.Struct, frozen=True):
    """A committed event: its number in the log, its message (None: about an account) and its JSON without `seq`."""

    seq: int
    type: str
    message_id: int | None
    body: bytes

    @property
    def line(self) -> bytes:
        """The NDJSON line, newline included."""
        return b'{"seq":%d,%b\n' % (self.seq, self.body[1:])


def left_out(before: int, after: int) -> bool:
    """Whether numbers between those of two successive events, or places, were left out: a JUMP. The store lost some,
    and what had them; whoever stands on one that was lost is ahead of the others by less than half of it.
    """
    return after - before > JUMP // 2


def runs(place: int, events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """The events, which follow `place`, cut where numbers were left out; where there are none, once nothing."""
    start = 0
    for end, event in enumerate(events):
        if left_out(place, event.seq) and end > start:
            yield events[start:end]
            start = end
        place = event.seq
    yield events[start:]


class EventFilter(NamedTuple):
    """Which events: of one message, of one type, or all."""

    message_id: int | None = None
    kind: str | None = None

    def fits(self, event: Event) -> bool:
        """Whether the event is one of them."""
        if self.message_id is not None and event.message_id != self.message_id:
            return False
        return self.kind is None or event.type == self.kind


_encoder = msgspec.json.Encoder()


def encode(body: Body) -> bytes:
    """The JSON of an event without `seq`: UTF-8, no NaN, and escaped whatever ends a line or steers a terminal.

    That is U+2028 and U+2029 above all: readers in some languages end a line there.
    """
    return harmless(_encoder.encode(body))


def event_type(body: Body) -> str:
    """The event's `type` field."""
    tag = body.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


class _About(msgspec.Struct, frozen=True):
    id: int | None = None
    msisdn: int | None = None
    account: str = ""


_about = msgspec.json.Decoder(_About)


def recipient(body: bytes) -> int:
    """The number of the recipient that an event with the JSON `body` is about; 0 when it is about no single one."""
    return _about.decode(body).msisdn or 0


def thread(event: Event) -> int:
    """What the event is delivered in order with: its message; the sender of an incoming message, as a negative number;
    0: the account's other events.
    """
    if event.type == MESSAGE_RECEIVED:
        return -recipient(event.body)
    return event.message_id or 0


def without_text(body: bytes) -> bytes:
    """The JSON of a `message.received` with its text removed; that of any other event as it is."""
    try:
        found = _received.decode(body)
    except msgspec.DecodeError:
        return body
    return encode(msgspec.structs.replace(found, text=None, text_removed=True))


_received = msgspec.json.Decoder(Received)


def account_of(body: bytes) -> str:
    """The account in an event's JSON."""
    return _about.decode(body).account


def subject(kind: str, body: bytes, *, each_recipient: bool = True) -> str | None:
    """What an event of type `kind` with the JSON `body` is about: a later one with the same subject supersedes it.

    The state of a recipient (not `each_recipient`: of the message), the end of a message, the hold of an account, its
    credit. None: the event stands for itself.
    """
    match kind:
        case "message.status":
            about = _about.decode(body)
            return f"status {about.id} {about.msisdn}" if each_recipient else f"status {about.id}"
        case "message.completed" | "message.gave_up" | "message.resumed" | "message.overdue":
            return f"end {_about.decode(body).id}"
        case "account.held" | "account.recovered":
            return f"hold {_about.decode(body).account}"
        case "account.credit_low" | "account.credit_ok":
            return f"credit {_about.decode(body).account}"
        case _:
            return None


def instant(when: float) -> str:
    """An instant as RFC 3339 in UTC with milliseconds, as `observed_at` and `until` carry it."""
    part, whole = math.modf(when)
    # Rounded to microseconds first, as `datetime` does.
    second, left = divmod(int(whole) * 1_000_000 + round(part * 1_000_000), 1_000_000)
    return f"{_second(second)}.{left // 1000:03d}Z"


@lru_cache(maxsize=8)
def _second(whole: int) -> str:
    # Thousands of events carry the same one.
    return datetime.fromtimestamp(whole, UTC).isoformat().removesuffix("+00:00")


@cache
def country_prefix(country: str) -> int | None:
    """The telephone country code of an ISO 3166 alpha-2 country; None when there is none."""
    from phonenumbers.phonenumberutil import country_code_for_region

    return country_code_for_region(country.upper()) or None


def field_names() -> frozenset[str]:
    """Every field that an event of any type may have."""
    return frozenset({"seq", "type"}).union(*(kind.__struct_fields__ for kind in get_args(Body)))


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of an event as outputs carry it, `seq` included."""
    schema = msgspec.json.schema(Body)
    # So that each definition is that of an event.
    schema["$defs"]["Overdue"]["properties"]["recipients"]["items"] = schema["$defs"].pop("OverdueRecipient")
    for name, definition in schema["$defs"].items():
        definition["properties"] = {
            "seq": {"type": "integer", "minimum": 1, "description": "Rises by one for each event, never repeats."},
            **definition["properties"],
        }
        definition["required"] = ["seq", *definition["required"]]
        definition["title"] = name
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pollerd event",
        **schema,
    }
