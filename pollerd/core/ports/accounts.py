"""What is known of an account beside its messages."""

from __future__ import annotations

import msgspec

from pollerd.core.event import Body
from pollerd.core.model import HoldReason


class AccountState(msgspec.Struct, frozen=True):
    """What outlives a restart about an account; `held_total` is in seconds, instants are the daemon's.

    `trusting`: a hold for `refusing` ended without an answer, so refusals are believed until there is one. `refusal`
    is the one that began such a hold, as in `Message.last_answer`.
    """

    name: str
    held_reason: HoldReason | None = None
    held_detail: str = ""
    held_since: float | None = None
    held_until: float | None = None
    held_total: float = 0.0
    credit: float | None = None
    currency: str | None = None
    credit_low: bool = False
    credit_at: float | None = None
    trusting: bool = False
    refusal: str = ""


class CreditState(msgspec.Struct, frozen=True):
    """What is known of an account's balance; `at` is an instant of the daemon's."""

    name: str
    credit: float
    currency: str
    low: bool
    at: float


class Balance(msgspec.Struct, frozen=True):
    """The account's credit."""

    credit: float
    currency: str


class Transition(msgspec.Struct, frozen=True):
    """A hold begins or ends; to be committed with its event before anybody sees it."""

    state: AccountState
    bodies: tuple[Body, ...]
