"""Where the client reads: the database itself where this user may read it, else the daemon's control socket."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from pollerd.base.errors import PollerdError, StoreError, StoreForbiddenError, UnavailableError
from pollerd.client.values import AnyEvent, Gap, NotFollowedError, Tracked, event_from_line
from pollerd.core.event import left_out, runs
from pollerd.core.particulars import Particulars
from pollerd.core.ports import Engine
from pollerd.status.message import MessageDocument, message_document
from pollerd.store.engine import engine_at, engine_of


class Source(Protocol):
    """Reads that return at once. Raise StoreError or UnavailableError."""

    def message(self, message_id: int) -> MessageDocument:
        """One message. Raises NotFollowedError."""
        ...

    def events(self, after: int, limit: int, message_id: int | None, kind: str | None) -> tuple[list[AnyEvent], int]:
        """At most `limit` events after `after`, and the `seq` up to which all were considered."""
        ...

    def close(self) -> None: ...


class Location(NamedTuple):
    """Where pollerd is: its store, its control socket, its accounts (none: not known)."""

    store: Engine | None
    socket: Path | None
    accounts: tuple[str, ...] = ()


def locate(config: Path | None, database: Path | None, socket: Path | None) -> Location:
    """The place as given; by the configuration when neither database nor socket is. Raises ConfigError."""
    if database is not None or socket is not None:
        return Location(None if database is None else engine_at(database), socket)
    from pollerd.config import ConfigError, load

    try:
        found = load(config)
    except ConfigError as error:
        from pollerd.client.running import running_config

        if (running := running_config(error)) is None:
            raise
        import logging

        log = logging.getLogger(__name__)
        text = "%s; going on with the running daemon at %s"
        log.warning(text, error.problems[0], running.control.socket, extra={"event": "configuration_passed_over"})
        found = running
    return Location(engine_of(found.store), found.control.socket, tuple(found.accounts))


def open_source(location: Location, timeout: float | None = None) -> Source:
    """What can be read from there; a daemon gets `timeout` seconds for an answer. Raises StoreError or UnavailableError
    when nothing can be read.
    """
    trouble: PollerdError = UnavailableError("neither a database nor a control socket is given: name one of them.")
    if location.store is not None:
        try:
            return Database(location.store)
        except (StoreError, UnavailableError) as error:
            trouble = error
    if location.socket is not None and (isinstance(trouble, StoreForbiddenError) or _answers(location)):
        from pollerd.client.remote import Remote

        return Remote(location.socket) if timeout is None else Remote(location.socket, timeout)
    raise trouble


def hand_over(location: Location, ids: Sequence[int], account: str | None, particulars: Particulars) -> Tracked:
    """Follow `ids`: in the database where this user may write it, else through the control socket.

    Raises PollerdError for an account that is not in the configuration, where one was read or the daemon is asked.
    """
    if account is not None and location.accounts and account not in location.accounts:
        known = ", ".join(location.accounts)
        raise PollerdError(f"there is no account {account!r} in the configuration; there is {known}.")
    trouble: PollerdError = UnavailableError("neither a database nor a control socket is given: name one of them.")
    if location.store is not None:
        name = account or (location.accounts[0] if len(location.accounts) == 1 else "default")
        if location.accounts and name not in location.accounts:
            raise PollerdError(f"name the account of these messages; there is {', '.join(location.accounts)}.")
        try:
            with location.store.handover() as handover:
                done = handover.track(ids, name, particulars)
        except StoreError as error:
            trouble = error
        else:
            if done.refused:
                first, count = done.refused[0], len(done.refused)
                raise PollerdError(f"{first.id} {first.reason} ({count} refused in all; the others are followed)")
            return Tracked(done.new, done.known, done.gave_up)
    if location.socket is not None and (isinstance(trouble, StoreForbiddenError) or _answers(location)):
        from pollerd.client.remote import Remote

        return Remote(location.socket).track(ids, account, particulars)
    raise trouble


def _answers(location: Location) -> bool:
    """Whether the socket is worth a try: it is all that is given, or there."""
    return location.store is None or (location.socket is not None and os.path.exists(location.socket))


class Database:
    """Reads the database itself. Fulfils `Source`; to be used in one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._view = engine.view()
        self._quiet: tuple[int, int | None, str | None] | None = None

    def message(self, message_id: int) -> MessageDocument:
        """One message. Raises NotFollowedError."""
        self._renew()
        found = self._view.message(message_id)
        if found is None:
            raise NotFollowedError(f"{message_id} is not followed; track it first")
        return message_document(found)

    def events(self, after: int, limit: int, message_id: int | None, kind: str | None) -> tuple[list[AnyEvent], int]:
        """At most `limit` events after `after`, and the `seq` up to which all were considered."""
        self._renew()
        wanted = (after, message_id, kind)
        if not self._view.changed() and self._quiet == wanted:
            return [], after
        found: list[AnyEvent] = []
        if 0 < after < (pruned := self._view.pruned_seq):
            found.append(Gap(after=after, first=pruned + 1))
            after = pruned
        last = self._view.last_seq
        lines = self._view.events(after, limit, message_id, kind)
        for run in runs(after, lines) if message_id is None and kind is None else [lines]:
            if run and after and left_out(after, run[0].seq):
                found.append(Gap(after=after, first=run[0].seq))
            found += [event_from_line(event.line) for event in run]
            after = run[-1].seq if run else after
        if len(lines) == limit:
            return found, lines[-1].seq
        place = max(after, last, lines[-1].seq if lines else 0)
        self._quiet = (place, message_id, kind)
        return found, place

    def close(self) -> None:
        """Close the database."""
        self._view.close()

    def _renew(self) -> None:
        if self._view.replaced:
            self._view.close()
            self._view = self._engine.view()
            self._quiet = None
