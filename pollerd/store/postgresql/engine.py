"""The store on PostgreSQL in every way that it is used."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from pollerd.base.errors import DatabaseMissingError, StoreError, StoreForbiddenError
from pollerd.config import StoreConfig
from pollerd.config.problem import ConfigError
from pollerd.core.ports import Handover, Store, View
from pollerd.core.ports.engine import Backup
from pollerd.store.commands import StoredHandover
from pollerd.store.postgresql import schema
from pollerd.store.postgresql.command import CommandConnection
from pollerd.store.postgresql.link import Link, Target
from pollerd.store.postgresql.member import Member
from pollerd.store.postgresql.places import MemberView
from pollerd.store.postgresql.reader import PostgresReader


def target_of(config: StoreConfig) -> Target:
    """What `[store] url` names."""
    url, password = config.url, config.password
    assert url is not None

    def secret() -> str | None:
        try:
            return None if password is None else password.read().reveal()
        except ConfigError as error:
            raise StoreForbiddenError(str(error)) from error

    return Target(dict(url.parameters), url.text, secret, config.lossless)


def engine_of(config: StoreConfig) -> PostgresEngine:
    """The engine of the store that `[store] url` names."""
    return PostgresEngine(target_of(config), config.member or socket.gethostname())


class PostgresEngine:
    """Fulfils `ports.Engine` for the database at `target`; `name` is this member's."""

    def __init__(self, target: Target, name: str) -> None:
        self._target = target
        self._name = name
        self._member: Member | None = None

    @property
    def where(self) -> str:
        """See `Engine`: the URL without its password."""
        return self._target.where

    def own(self, *, daemon: bool = False) -> Member:
        link = Link(self._target)
        try:
            link.run(schema.prepare)
        finally:
            link.close()
        self._member = Member.join(self._target, self._name if daemon else f"{self._name} (a command)", daemon=daemon)
        return self._member

    async def open(self, wall: Callable[[], float]) -> Store:
        from pollerd.store.postgresql.store import PostgresStore

        if self._member is None:
            raise StoreError("the store is opened by its owner only")
        return await PostgresStore.open(self._target, self._member, wall)

    def view(self) -> View:
        return MemberView(PostgresReader.open(self._target), self._name)

    def inspect(self) -> View:
        return self.view()

    def handover(self) -> Handover:
        return StoredHandover(CommandConnection.open(self._target))

    def owner(self) -> int | None:
        try:
            with PostgresReader.open(self._target) as reader:
                return reader.owner
        except DatabaseMissingError:
            return None

    def check_ownable(self) -> None:
        """See `Engine`: who may write is the server's to say."""

    def back_up(self, target: Path, between: Callable[[], None] = lambda: None) -> Backup:
        raise StoreError(
            f"the store is PostgreSQL's ({self.where}): back it up with pg_dump, or copy it into a file "
            f"while the daemon is stopped: pollerd store copy --to {target}"
        )
