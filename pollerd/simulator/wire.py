"""Bodies on the wire: the reading answer, the sending request, errors."""

from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from pollerd.simulator.config import AnswerStyle
from pollerd.simulator.fate import ERROR_TEXTS, FINAL_STATES, READ, uniforms
from pollerd.simulator.networks import operator_of
from pollerd.simulator.truth import SimulatedMessage, StatusChange, Truth, state_at

_TIMELESS: Final = frozenset({"UNKNOWN", "SCHEDULED"})


class RecipientAnswer(msgspec.Struct):
    """One recipient as the vendor shows it; `actual_sender` is the field that no documentation has, and only charged
    messages have `charge_status`.
    """

    msisdn: int
    country: str
    csms: int
    dsnstatus: str
    dsntime: float | None
    dsnerror: str | None
    dsnerrorcode: str | int | None
    mcc: int | str
    mnc: int | str
    senttime: float
    tagvalues: list[str] | None = None
    actual_sender: str = ""
    charge_status: str | msgspec.UnsetType = msgspec.UNSET


class MessageAnswer(msgspec.Struct):
    """One message as the vendor shows it."""

    id: int
    class_: str = msgspec.field(name="class")
    message: str
    payload: str | None
    label: str | None
    sender: str
    sendtime: float
    tags: list[str]
    userref: str | None
    priority: str
    validity_period: int | None
    encoding: str
    destaddr: str
    udh: str | None
    callback_url: str | None
    recipients: list[RecipientAnswer]


PriorityName = Literal["BULK", "NORMAL", "URGENT", "VERY_URGENT"]


class SendRecipient(msgspec.Struct):
    """A receiver in the sending request; numbers written as text are taken, too."""

    msisdn: int


class SendRequest(msgspec.Struct):
    """What of `POST /rest/mtsms` the simulator makes use of; other fields are ignored."""

    recipients: list[SendRecipient]
    message: str = ""
    sender: str | None = None
    userref: str | None = None
    sendtime: float | None = None
    validity_period: int | None = None
    payload: str | None = None
    priority: PriorityName = "NORMAL"


_encoder = msgspec.json.Encoder()
encode = _encoder.encode


def error_body(code: int | None, text: str, *variables: str, serial: int = 0) -> bytes:
    """The vendor's error object; `serial` makes the incident's id unlike the one before."""
    body: dict[str, Any] = {
        "incident_uuid": str(UUID(int=(0x5EED << 112) | (0x4 << 76) | (0x8 << 60) | serial)),
        "message": text,
    }
    if code is not None:
        body = {"code": f"0x{code:04x}", **body, "variables": list(variables)}
    return encode(body)


class Reading:
    """One reading of one message: the body, and what it shows.

    `shown` has a bit for each recipient, in the message's own order, that the body shows in a final state.
    """

    __slots__ = ("body", "shown", "states")

    def __init__(self, body: bytes, states: dict[str, int], shown: int) -> None:
        self.body = body
        self.states = states
        self.shown = shown


class Renderer:
    """Builds readings in the style that was asked for."""

    def __init__(self, truth: Truth, style: AnswerStyle, seed: int) -> None:
        self._truth = truth
        self._style = style
        self._seed = seed

    def read(self, message: SimulatedMessage, now: float) -> Reading:
        """What the gateway answers about the message at `now`; changes nothing."""
        recipients: list[RecipientAnswer] = []
        states: dict[str, int] = {}
        shown = 0
        as_text = bool((message.id + message.polls) & 1)
        for index, msisdn in enumerate(message.recipients):
            current = state_at(self._truth.changes(message, msisdn), now)
            if message.shown >> index & 1 and self._lies(message, msisdn):
                current = StatusChange(now, "ENROUTE", None)
            if current.status in FINAL_STATES or current.status == READ:
                shown |= 1 << index
            states[current.status] = states.get(current.status, 0) + 1
            recipients.append(self._recipient(message, msisdn, current, as_text))
        if self._style.shuffle and len(recipients) > 1:
            recipients = self._shuffled(message, recipients)
        return Reading(self._body(message, recipients), states, shown)

    def _lies(self, message: SimulatedMessage, msisdn: int) -> bool:
        share = self._style.late_transient
        return share > 0 and uniforms(self._seed, f"late{message.polls}", message.id, msisdn)[0] < share

    def _shuffled(self, message: SimulatedMessage, recipients: list[RecipientAnswer]) -> list[RecipientAnswer]:
        purpose = f"order{message.polls}"
        order = {r.msisdn: uniforms(self._seed, purpose, message.id, r.msisdn)[0] for r in recipients}
        return sorted(recipients, key=lambda r: order[r.msisdn])

    def _recipient(
        self, message: SimulatedMessage, msisdn: int, now_in: StatusChange, as_text: bool
    ) -> RecipientAnswer:
        operator = operator_of(msisdn)
        code = now_in.code
        timeless = self._style.null_times or now_in.status in _TIMELESS
        return RecipientAnswer(
            msisdn=msisdn,
            country=operator.country,
            csms=1 + len(message.text) // 160,
            dsnstatus=now_in.status,
            dsntime=None if timeless else now_in.at,
            dsnerror=None if code is None else ERROR_TEXTS.get(code, "Unspecified error"),
            dsnerrorcode=None if code is None else self._code(code, as_text),
            mcc=str(operator.mcc) if as_text else operator.mcc,
            mnc=str(operator.mnc) if as_text else operator.mnc,
            senttime=message.sent_at,
            actual_sender=message.sender,
            charge_status=msgspec.UNSET if now_in.charge is None else now_in.charge,
        )

    def _code(self, code: int, as_text: bool) -> str | int:
        style = self._style.error_codes
        if style == "number" or (style == "mixed" and not as_text):
            return code
        return f"0x{code:04X}"

    def _body(self, message: SimulatedMessage, recipients: list[RecipientAnswer]) -> bytes:
        answer = MessageAnswer(
            id=message.id,
            class_="standard",
            message=message.text,
            payload=None,
            label=None,
            sender=message.sender,
            sendtime=message.sendtime or message.sent_at,
            tags=[],
            userref=message.userref,
            priority=message.priority,
            validity_period=None if message.validity is None else int(message.validity),
            encoding="UTF8",
            destaddr="MOBILE",
            udh=None,
            callback_url=None,
            recipients=recipients,
        )
        shape = self._style.shape
        bare = shape == "object" or (shape == "alternating" and message.polls & 1)
        return encode(answer if bare else [answer])
