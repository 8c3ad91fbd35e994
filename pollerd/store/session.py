"""What an engine gives to the code that is any engine's: statements, and transactions around them.

No error of the engine's own leaves it: what fails raises as `core.ports.store` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pollerd.core.ports import StoreSize
from pollerd.store.statements import Statements

if TYPE_CHECKING:
    from pollerd.core.ports.view import ClusterView

T = TypeVar("T")
Values = Sequence[Any]


class Speaking(Protocol):
    """Whatever runs statements says in which words: those of its engine."""

    @property
    def sql(self) -> Statements: ...


class Session(Speaking, Protocol):
    """Statements within one transaction, on the thread of the connection."""

    def execute(self, sql: str, values: Values = ()) -> int:
        """Run a statement; how many rows it changed."""
        ...

    def executemany(self, sql: str, rows: Sequence[Values]) -> int:
        """Run a statement once for each row of values; how many rows were changed in all."""
        ...

    def query(self, sql: str, values: Values = ()) -> list[Any]:
        """The rows that a reading statement gives."""
        ...


class Transactions(Speaking, Protocol):
    """The open database of the daemon: one connection that writes, and one that reads."""

    async def query(self, sql: str, values: Values = ()) -> list[Any]:
        """The rows of a reading statement, as of now."""
        ...

    async def write(self, change: Callable[[Session], T]) -> T:
        """Run `change` on the writer's thread in a transaction of its own, whole or not at all, even when cancelled.

        Every commit waits for it, so it must be short.
        """
        ...

    async def prune(self, delete: Callable[[Session], tuple[int, T]]) -> T:
        """Run `delete` as `write` does. It returns up to which `seq` it deletes events, and what this call returns.

        No reader is given what follows the deleted events without learning that they are gone, nor learns that they
        are gone when the transaction fails.
        """
        ...


class Querying(Speaking, Protocol):
    """Whatever gives the rows of a reading statement: a `Session`, or a connection."""

    def query(self, sql: str, values: Values = ()) -> list[Any]: ...


class ReadConnection(Speaking, Protocol):
    """The database opened for reading by anybody. No transaction stays open between calls."""

    def query(self, sql: str, values: Values = ()) -> list[Any]:
        """The rows of a reading statement."""
        ...

    def query_within(self, seconds: float, sql: str, values: Values = ()) -> list[Any] | None:
        """The same, None when it takes longer."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """All reads within see the database as it is at the first of them."""
        ...

    def changed(self) -> bool:
        """Whether anything was committed since the last call (true the first time)."""
        ...

    @property
    def replaced(self) -> bool:
        """Whether another database is in its place by now: open it again."""
        ...

    @property
    def owner(self) -> int | None:
        """The process id of the daemon that owns the database (0: not known yet); None when none runs."""
        ...

    @property
    def cluster(self) -> ClusterView | None:
        """The daemons that share the database; None where none can."""
        ...

    @property
    def size(self) -> StoreSize:
        """What it takes on disk now."""
        ...

    def close(self) -> None: ...


class WriteConnection(Speaking, Protocol):
    """The database opened for writing by a command beside the daemon, or without one."""

    def transaction(self) -> AbstractContextManager[Session]:
        """A transaction: on disk when the block ends, and not at all when it raises."""
        ...

    def query(self, sql: str, values: Values = ()) -> list[Any]:
        """The rows of a reading statement."""
        ...

    def close(self) -> None: ...
