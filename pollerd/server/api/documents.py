"""What the control socket answers beside the status document, as typed values: the JSON and its schema come from the
same place.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pollerd.intake.body import NAMED, RefusedId
from pollerd.status.message import MessageDocument


class TrackedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the ids handed over: newly followed, followed before, and refused.

    `refused` names the first 100 of `refused_count`, each with its reason. `given_up` of the known ones are not polled
    any more; `POST /messages/ID/retry` takes one up again.
    """

    tracked: int
    known: int
    given_up: int
    refused_count: int
    refused: Annotated[list[RefusedId], msgspec.Meta(max_length=NAMED)]


class MessagesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A page of messages. `next` is what to give as `after` for the next page, null on the last one."""

    messages: list[MessageDocument]
    next: str | None


class ForgottenDocument(msgspec.Struct, frozen=True):
    """The network about which all that was learned is forgotten; null: all networks."""

    forgotten: str | None


class PersonalDataDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a telephone number or of a message; after a DELETE, what was removed. `still_polled` messages
    (at most 100 of them) stay: they have other recipients, and the next answer would bring the number back.
    """

    messages: int
    events: int
    undelivered: int
    still_polled: list[int]


class RetriedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """So many events of the webhook are posted again, with all their attempts."""

    taken_up: int


class ProofDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the daemon asks for this account with the same secret."""

    account: str
    same: bool


class ResumedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The account is polled again; what the gateway refuses from now on is believed."""

    account: str


class HealthDocument(msgspec.Struct, frozen=True, kw_only=True):
    """All is well."""

    status: Literal["ok"]


class GapDocument(msgspec.Struct, frozen=True, kw_only=True, tag="gap", tag_field="type"):
    """In the stream of events: those after `after` and before `first` were deleted by retention, or their numbers were
    left out, since a failover of PostgreSQL may have lost some of them: what had those is reported again.
    """

    after: int
    first: int
