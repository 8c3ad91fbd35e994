"""The admin prefix `/sim/`: the truth, the counts and the faults over HTTP, without credentials.

GET  /sim/truth          every message as NDJSON (MessageRecord)
GET  /sim/truth/ID       one message; 404 when it does not exist
POST /sim/messages       add messages: NewMessage or a list; answers {"ids": [...]}
GET  /sim/stats          StatsRecord
POST /sim/stats/reset    count anew
GET  /sim/faults         what was set last
POST /sim/faults         put in place of all faults: ["500:0.05", ...], {"faults": [...]} or text lines
POST /sim/credit         {"credit": 12.5}
GET  /sim/incoming       every incoming message as NDJSON
POST /sim/incoming       somebody sends: NewIncoming or a list; answers {"ids": [...]}
POST /sim/incoming/shift {"times": 3, "how": "come" or "swap"}: messages come (and go) while pages are read
POST /sim/clock          {"skip": 3600}: so many seconds pass at once
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

import msgspec
from aiohttp import web

from pollerd.simulator.effects import JSON_HEADERS
from pollerd.simulator.fate import Step
from pollerd.simulator.faults import FaultBoard
from pollerd.simulator.incoming import Inbox
from pollerd.simulator.records import MessageRecord, record_of
from pollerd.simulator.stats import StatsRecord
from pollerd.simulator.truth import SimulatedMessage, Truth
from pollerd.simulator.wire import PriorityName, encode

PREFIX: Final = "/sim/"
_ROWS_AT_ONCE = 200  # Rows written between two breaths of the event loop.


class StepRow(msgspec.Struct, array_like=True):
    """As `fate.Step`, written as a list."""

    after: float
    status: str
    code: int | None = None
    charge: str | None = None


class NewMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A message to add; every field means what it means in `Truth.add`.

    `steps` are lists: seconds after sending (virtual), state and, where there are any, error code and charge status.
    """

    id: int | None = None
    recipients: int | list[int] = 1
    sent_at: float | None = None
    sendtime: float | None = None
    validity: float | None = None
    userref: str | None = None
    steps: list[StepRow] | None = None
    priority: PriorityName = "NORMAL"


class FaultList(msgspec.Struct, forbid_unknown_fields=True):
    """Faults in their text form."""

    faults: list[str]


class Credit(msgspec.Struct, forbid_unknown_fields=True):
    """The account's new balance."""

    credit: float


class NewIncoming(msgspec.Struct, forbid_unknown_fields=True):
    """Incoming messages: `count` of them, each with its number behind `text`, or one with `text` alone."""

    text: str = "burst"
    count: int | None = None
    msisdn: int | None = None
    receiver: int = 451204
    senttime: float | None = None
    label: str | None = None


class Shift(msgspec.Struct, forbid_unknown_fields=True):
    """As `Inbox.shift`."""

    times: int
    how: Literal["come", "swap"] = "come"


class Skip(msgspec.Struct, forbid_unknown_fields=True):
    """Seconds that pass at once."""

    skip: float


class Simulated(Protocol):
    """What the admin prefix shows and changes."""

    @property
    def truth(self) -> Truth:
        """All messages."""

    @property
    def faults(self) -> FaultBoard:
        """Faults in force."""

    @property
    def inbox(self) -> Inbox:
        """All incoming messages."""

    def skip(self, seconds: float) -> None:
        """So many seconds pass at once."""

    def statistics(self) -> StatsRecord:
        """Counts at this moment."""

    def reset_statistics(self) -> None:
        """Count anew."""

    def record(self, message_id: int) -> MessageRecord:
        """The truth about one message; KeyError."""

    def set_credit(self, credit: float) -> None:
        """Change the balance."""

    def now(self) -> float:
        """Real UNIX seconds."""


async def answer_admin(simulator: Simulated, request: web.BaseRequest) -> web.StreamResponse:
    """One request to the admin prefix; errors are 400 or 404 with `{"error": ...}`."""
    path = request.raw_path.partition("?")[0].removeprefix(PREFIX)
    try:
        if request.method == "POST":
            return _change(simulator, path, await request.read())
        if path == "truth":
            return await _stream_truth(simulator, request)
        return _show(simulator, path)
    except (ValueError, msgspec.DecodeError) as error:
        return _json({"error": str(error)}, 400)
    except KeyError:
        return _json({"error": f"nothing at {request.method} {PREFIX}{path}"}, 404)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode(value), headers=JSON_HEADERS)


def _show(simulator: Simulated, path: str) -> web.Response:
    if path == "stats":
        return _json(simulator.statistics())
    if path == "faults":
        return _json([repr(fault) for fault in simulator.faults.active])
    if path == "incoming":
        rows = [encode(each) + b"\n" for each in simulator.inbox.records]
        return web.Response(body=b"".join(rows), headers={"Content-Type": "application/x-ndjson"})
    kind, _, message_id = path.partition("/")
    if kind == "truth":
        return _json(simulator.record(int(message_id)))
    raise KeyError(path)


def _change(simulator: Simulated, path: str, body: bytes) -> web.Response:
    if path == "faults":
        simulator.faults.set(*_fault_texts(body))
        return _json([repr(fault) for fault in simulator.faults.active])
    if path == "messages":
        new = msgspec.json.decode(body, type=list[NewMessage] | NewMessage)
        return _json({"ids": [_add(simulator.truth, m) for m in (new if isinstance(new, list) else [new])]})
    if path == "incoming":
        sent = msgspec.json.decode(body, type=list[NewIncoming] | NewIncoming)
        return _json(
            {"ids": [n for each in (sent if isinstance(sent, list) else [sent]) for n in _sent(simulator.inbox, each)]}
        )
    if path in _SETTINGS:
        _SETTINGS[path](simulator, body)
        return _json({})
    raise KeyError(path)


def _shift(simulator: Simulated, body: bytes) -> None:
    wanted = msgspec.json.decode(body, type=Shift)
    simulator.inbox.shift(wanted.times, wanted.how)


_SETTINGS: Final[Mapping[str, Callable[[Simulated, bytes], None]]] = {
    "credit": lambda simulator, body: simulator.set_credit(msgspec.json.decode(body, type=Credit).credit),
    "clock": lambda simulator, body: simulator.skip(msgspec.json.decode(body, type=Skip).skip),
    "incoming/shift": _shift,
    "stats/reset": lambda simulator, _: simulator.reset_statistics(),
}


def _sent(inbox: Inbox, new: NewIncoming) -> list[int]:
    if new.count is not None:
        return inbox.burst(new.count, new.text)
    return [inbox.add(new.text, msisdn=new.msisdn, receiver=new.receiver, senttime=new.senttime, label=new.label)]


def _fault_texts(body: bytes) -> list[str]:
    text = body.decode().strip()
    if text.startswith(("[", "{")):
        wanted = msgspec.json.decode(body, type=list[str] | FaultList)
        return wanted.faults if isinstance(wanted, FaultList) else wanted
    return text.split()


def _add(truth: Truth, new: NewMessage) -> int:
    return truth.add(
        new.id,
        recipients=new.recipients,
        sent_at=new.sent_at,
        sendtime=new.sendtime,
        validity=new.validity,
        userref=new.userref,
        steps=None if new.steps is None else [Step(*msgspec.structs.astuple(step)) for step in new.steps],
        priority=new.priority,
    )


async def _stream_truth(simulator: Simulated, request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    rows: list[bytes] = []
    for message in simulator.truth.known():
        rows.append(_row(simulator, message))
        # Written in portions, so that polls are answered in between.
        if len(rows) == _ROWS_AT_ONCE:
            await response.write(b"".join(rows))
            rows.clear()
    await response.write(b"".join(rows))
    await response.write_eof()
    return response


def _row(simulator: Simulated, message: SimulatedMessage) -> bytes:
    return encode(record_of(simulator.truth, message, simulator.now())) + b"\n"
