"""Who does what a command asks: the database itself, or the daemon behind its control socket where this user may not
write the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self, TypeVar

from pollerd.base.errors import (
    DatabaseBusyError,
    DatabaseMissingError,
    StoreError,
    StoreForbiddenError,
    StoreUnavailableError,
    UnavailableError,
)
from pollerd.core.particulars import Particulars
from pollerd.core.ports import Asked, Engine, Handover, RequestKind, TrackResult
from pollerd.core.ports.erasure import About, Known
from pollerd.core.ports.view import Standing
from pollerd.status.message import STATES
from pollerd.store.engine import engine_of

if TYPE_CHECKING:
    from pollerd.client.remote import Remote
    from pollerd.config import Config

T = TypeVar("T")

_STAYS: Final = "The request stays in the database and is done when a daemon can do it."
TIMEOUT: Final = 10.0
"""Seconds that the daemon gets to do what is asked."""
_CHECK_EVERY: Final = 0.05  # Seconds between two checks whether it is done.


class AccountHold(NamedTuple):
    """A hold of an account: why, and when it is tried again (by the wall clock; None: not known)."""

    account: str
    reason: str
    until: float | None


class Owner(Protocol):
    """Reads messages and makes requests, of whoever owns the database."""

    def standings(self, ids: Sequence[int]) -> dict[int, Standing]:
        """Where those of `ids` stand that are followed."""
        ...

    def settle(self, kind: RequestKind, ids: Sequence[int]) -> bool:
        """Ask and return when it is done; whether a daemon runs. Raises UnavailableError when it does not do it."""
        ...

    def forget(self, network: str | None) -> None:
        """Forget what the backoff learned about a network, or about all. Raises as `settle`."""
        ...

    def known(self, about: About) -> Known:
        """How much is known of a message, or of a telephone number."""
        ...

    def erase(self, about: About) -> None:
        """Remove it. Raises as `settle`."""
        ...

    def hold(self, account: str) -> AccountHold | None:
        """The hold that the account is on."""
        ...

    def resume(self, account: str) -> None:
        """End the account's hold for `refusing`. Raises as `settle`."""
        ...

    def given_up(self) -> int:
        """How many messages are given up."""
        ...

    def retry_all(self) -> None:
        """Take up again whatever was given up. Raises as `settle`."""
        ...


def ask_owner(config: Config, work: Callable[[Owner], T]) -> T:
    """What `work` returns: done in the database, or by the daemon where this user may not.

    `work` may be begun a second time. Raises StoreError, UnavailableError when neither is possible.
    """
    try:
        return work(DatabaseOwner(config))
    except StoreForbiddenError as error:
        return through_daemon(config, error, lambda remote: work(RemoteOwner(remote)))


def through_daemon(config: Config, why: StoreForbiddenError, work: Callable[[Remote], T]) -> T:
    """What `work` makes of the control socket. Raises UnavailableError with both reasons when no daemon answers."""
    from pollerd.client.remote import Remote

    if config.control.socket is None:
        raise UnavailableError(f"{why} The daemon cannot do it either: it has no control socket.") from why
    try:
        return work(Remote(config.control.socket))
    except UnavailableError as error:
        raise UnavailableError(f"{why} The daemon cannot do it either: {error}") from error


class DatabaseOwner:
    """The database, opened by this command. Fulfils `Owner`."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def standings(self, ids: Sequence[int]) -> dict[int, Standing]:
        try:
            with engine_of(self._config.store).view() as view:
                found = {message_id: view.standing(message_id) for message_id in ids}
        except DatabaseMissingError:
            return {}
        return {message_id: standing for message_id, standing in found.items() if standing is not None}

    def known(self, about: About) -> Known:
        try:
            with engine_of(self._config.store).view() as view:
                return view.known(about)
        except DatabaseMissingError:
            return Known()

    def erase(self, about: About) -> None:
        self._settle(RequestKind.ERASE, [about.message_id], about.argument)

    def hold(self, account: str) -> AccountHold | None:
        try:
            with engine_of(self._config.store).view() as view:
                found = view.hold(account)
        except DatabaseMissingError:
            return None
        if found is None or not found.held_reason:
            return None
        return AccountHold(account, found.held_reason, found.held_until)

    def resume(self, account: str) -> None:
        self._settle(RequestKind.RESUME, [None], account)

    def given_up(self) -> int:
        try:
            with engine_of(self._config.store).view() as view:
                return view.count_gave_up()
        except DatabaseMissingError:
            return 0

    def settle(self, kind: RequestKind, ids: Sequence[int]) -> bool:
        return self._settle(kind, ids)

    def retry_all(self) -> None:
        self._settle(RequestKind.RETRY_ALL, [None])

    def forget(self, network: str | None) -> None:
        self._settle(RequestKind.FORGET, [None], network)

    def _settle(self, kind: RequestKind, ids: Sequence[int | None], argument: str | None = None) -> bool:
        engine = engine_of(self._config.store)
        with engine.handover() as handover:
            if engine.owner() is None:
                # Who could not do it here goes to the daemon, before anything is asked here.
                engine.check_ownable()
            asked = handover.ask(kind, ids, argument)
            try:
                self._wait(engine, handover, asked)
            except StoreUnavailableError as error:
                raise StoreError(f"{error} {_STAYS}") from error
        return engine.owner() is not None

    def _wait(self, engine: Engine, handover: Handover, asked: Asked) -> None:
        deadline = time.monotonic() + TIMEOUT
        while handover.waiting(asked):
            pid = engine.owner()
            if pid is None and self._settle_ourselves():
                continue
            if time.monotonic() >= deadline:
                who = f"process {pid}" if pid else "the process that has the database"
                raise UnavailableError(
                    f"{who} has not done it within {TIMEOUT:.0f} s. The request stays in the database and is done "
                    "when the daemon gets to it; see: pollerd status",
                )
            time.sleep(_CHECK_EVERY)

    def _settle_ourselves(self) -> bool:
        """Whether it could be tried here."""
        # Here only: most commands find a daemon, or have nothing to settle.
        import asyncio
        import logging

        from pollerd.daemon.offline import settle_requests

        # What matters is said by the command itself, in its own words.
        logging.getLogger("pollerd").addHandler(logging.NullHandler())
        try:
            asyncio.run(settle_requests(self._config))
        except DatabaseBusyError:
            # Somebody was faster: a daemon that has just started, or another command. It does our request as well.
            return False
        except StoreForbiddenError:
            raise
        except StoreError as error:
            raise StoreError(f"{error} {_STAYS}") from error
        return True


class RemoteOwner:
    """The daemon's control socket. Fulfils `Owner`."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def standings(self, ids: Sequence[int]) -> dict[int, Standing]:
        from pollerd.client.values import NotFollowedError

        found = {}
        for message_id in ids:
            try:
                message = self._remote.message(message_id)
            except NotFollowedError:
                continue
            found[message_id] = Standing(STATES[message.state], message.account)
        return found

    def settle(self, kind: RequestKind, ids: Sequence[int]) -> bool:
        from pollerd.client.remote import OvertakenError

        for message_id in ids:
            try:
                self._remote.ask(kind, message_id)
            except OvertakenError:
                # It ended, or was forgotten, since it was read: the next check shows it.
                continue
        return True

    def known(self, about: About) -> Known:
        return self._remote.known(about)

    def erase(self, about: About) -> None:
        self._remote.erase(about)

    def hold(self, account: str) -> AccountHold | None:
        from pollerd.status import sentences

        found = self._remote.hold(account)
        return None if found is None else AccountHold(account, found.reason, sentences.at(found.until))

    def forget(self, network: str | None) -> None:
        self._remote.forget(network)

    def resume(self, account: str) -> None:
        from pollerd.client.remote import OvertakenError

        # It ended since it was read: the next check shows it.
        with suppress(OvertakenError):
            self._remote.resume(account)

    def given_up(self) -> int:
        return self._remote.count_gave_up()

    def retry_all(self) -> None:
        # All of them first: a page begins where the one before ended.
        self.settle(RequestKind.RETRY, list(self._remote.gave_up()))


class Tracker:
    """Takes ids to follow, the way that this user may."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._handover: Handover | None = None
        self._why: StoreForbiddenError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handover is not None:
            self._handover.close()

    @property
    def by_daemon(self) -> bool:
        """Whether the daemon took them, since this user may not write the database."""
        return self._why is not None

    def track(self, ids: Sequence[int], account: str, particulars: Particulars) -> TrackResult:
        """Follow `ids`; on disk when this returns. Raises StoreError, UnavailableError, PollerdError."""
        if self._why is None:
            try:
                if self._handover is None:
                    self._handover = engine_of(self._config.store).handover()
                return self._handover.track(ids, account, particulars)
            except StoreForbiddenError as error:
                self._why = error
        done = through_daemon(self._config, self._why, lambda remote: remote.track(ids, account, particulars))
        return TrackResult(done.new, done.known, done.gave_up)
