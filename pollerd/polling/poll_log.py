"""What the log says of an account's polling: transitions, not repetitions."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from pollerd.base.text import counted
from pollerd.core import lifecycle, phrases
from pollerd.core.event import Body, GaveUp, Held, Overdue, Recovered, Status
from pollerd.core.model import Message

log = logging.getLogger(__name__)

MOST_UNKNOWN: Final = 50
"""Unknown states that an account's log names, and that are remembered: more are made up by something that is broken."""


class Announcer:
    """Logs one account's holds, each unknown state once (MOST_UNKNOWN of them), and what is given up.

    `renewal`: what a person does so that another secret is taken up.
    """

    def __init__(self, account: str, renewal: str = "") -> None:
        self._account = account
        self._renewal = renewal
        self._unknown: set[str] = set()
        self._alone = False

    def transition(self, bodies: Iterable[Body], due: int) -> None:
        """A hold begins or ends; `due` messages wait."""
        for body in bodies:
            if isinstance(body, Held):
                log.warning(
                    "account %s: %s (%s); polling is held, next try %s; %s; see pollerd doctor",
                    self._account,
                    phrases.hold_cause(body.reason),
                    body.detail,
                    body.until,
                    phrases.hold_step(body.reason, self._account, self._renewal),
                    extra={"event": "account_held", "account": self._account, "reason": body.reason},
                )
            elif isinstance(body, Recovered):
                log.warning(
                    "account %s: polling goes on (%s), %s due",
                    self._account,
                    body.detail,
                    counted(due, "message is", "messages are"),
                    extra={"event": "account_recovered", "account": self._account, "reason": body.reason, "due": due},
                )

    def alone(self, message: Message, detail: str) -> None:
        """A message is refused, and no other was ever answered that could be asked about in its place."""
        if not self._alone:
            self._alone = True
            log.warning(
                "account %s: the gateway refuses message %d (%s), and no other message was ever answered that would "
                "say whose fault it is: it is kept for a day; see pollerd show %d",
                self._account,
                message.id,
                detail,
                message.id,
                extra={"event": "refusal_alone", "account": self._account, "message_id": message.id},
            )

    def resumed(self, count: int) -> None:
        """Messages that were given up are taken up again."""
        if count:
            log.warning(
                "account %s: %s by the same refusal in the hour before, polled again when the hold ends",
                self._account,
                counted(count, "message was given up", "messages were given up"),
                extra={"event": "messages_resumed", "account": self._account, "count": count},
            )

    def reported(self, bodies: Iterable[Body]) -> None:
        """Name a state that the vendor's table does not have, once; and every message that is given up."""
        for body in bodies:
            if isinstance(body, GaveUp):
                # At debug: a hundred thousand messages may end in one minute, and each is an event anyway.
                log.debug(
                    "message %d: given up (%s) after %s; take it up again with pollerd retry %d",
                    body.id,
                    body.reason,
                    counted(body.polls, "poll"),
                    body.id,
                    extra={"event": "message_gave_up", "message_id": body.id, "reason": body.reason},
                )
            if isinstance(body, Overdue):
                overdue(body.id)
            if isinstance(body, Status) and body.status not in lifecycle.KNOWN:
                self._unheard_of(body)

    def _unheard_of(self, body: Status) -> None:
        if body.status in self._unknown or len(self._unknown) >= MOST_UNKNOWN:
            return
        self._unknown.add(body.status)
        last = (
            "" if len(self._unknown) < MOST_UNKNOWN else f"; it is the {MOST_UNKNOWN}th, no further one is named here"
        )
        log.warning(
            "the gateway shows the unknown state %s; it is reported as it is and not taken for final%s",
            body.status,
            last,
            extra={"event": "unknown_state", "status": body.status, "message_id": body.id},
        )


def overdue(message_id: int) -> None:
    """A message is overdue. At debug: a whole mailing may be at once, and each is an event anyway."""
    log.debug(
        "message %d: overdue; see pollerd show %d",
        message_id,
        message_id,
        extra={"event": "message_overdue", "message_id": message_id},
    )
