"""How the daemon reads messages, for every engine. An unusable row is set aside on the way."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from pollerd.core.model import Message, Priority
from pollerd.core.ports import Due
from pollerd.store import aside, damage, rows
from pollerd.store.session import Session, Transactions

STRETCH: Final = 5000
"""Rows that one statement over all messages goes through: commits wait behind it for some hundredths of a second."""
_STRANGE: Final = 1000
"""Rows that are set aside at a time."""


class StoredMessages(Transactions):
    """Fulfils the part of `ports.Store` that reads messages; `wall` gives the wall clock's time, which stands in where
    another program wrote no time that can be understood.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._sql = self.sql("store")
        self.taken: Callable[[float], float] = lambda wall: wall
        self.on_set_aside: Callable[[Iterable[int]], None] = lambda ids: None

    @abstractmethod
    async def query_in_order(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """As `query`, in the writer's order: everything committed before this call is seen, nothing committed after."""

    async def due(self, account: str, after: Due, until: float, limit: int) -> list[Message]:
        return await self._messages("due", (account, after[0], after[0], after[1], until, limit))

    async def due_latest(self, account: str, until: float, limit: int) -> list[Message]:
        return await self._messages("due_latest", (account, until, limit))

    async def due_urgent(self, account: str, priority: Priority, until: float, limit: int) -> list[Message]:
        return await self._messages("due_urgent", (account, priority.name, until, limit))

    async def new(self, limit: int) -> list[Message]:
        found = await self._in_order("handed_over", (limit,))
        messages = [message for *row, bare in found if bare and (message := rows.handed_over(row)) is not None]
        # What needs a closer look makes all of them slow, and is seldom.
        return messages if len(messages) == len(found) else await self._messages("new", (limit,))

    async def pending(self, after: int, limit: int) -> list[Message]:
        return await self._messages("pending", (after, limit))

    async def message(self, message_id: int) -> Message | None:
        found = await self._messages("message", (message_id,))
        return found[0] if found else None

    async def refused(self, account: str, refusal: str, after: Due, limit: int) -> list[Message]:
        return await self._messages("refused", (account, refusal, after[0], after[0], after[1], limit))

    async def given_up(self, after: int, limit: int = 1000) -> list[int]:
        return [row[0] for row in await self._in_order("gave_up", (after, limit))]

    async def overdue_accounts(self) -> list[str]:
        return [row[0] for row in await self._in_order("overdue_accounts")]

    async def overdue(self, account: str, after: Due, until: float, limit: int) -> list[Due]:
        found = await self._in_order("overdue", (account, *after, until, limit))
        return [(row[0], row[1]) for row in found]

    async def set_overdue(self, account: str, after: float | None) -> None:
        start = 0
        while (end := (await self._in_order("stretch", (start, STRETCH)))[0][0]) is not None:
            await self.write(partial(_execute, self._sql["set_overdue"], (after, start, end, account)))
            start = end

    async def set_strange_aside(self) -> None:
        """Set aside what no other reading call comes upon: rows in no state, and where the schedule finds none."""
        while found := await self._in_order("strange", (damage.BEYOND, _STRANGE)):
            await self._set_aside([aside.Damaged(row, damage.reason(row)) for row in found])

    async def _messages(self, name: str, values: Sequence[Any]) -> list[Message]:
        while True:
            read = aside.read(await self._in_order(name, values), self._wall(), self.taken)
            if not read.damaged:
                return read.messages
            # Read again: whoever asks for so many takes fewer for all that there are.
            await self._set_aside(read.damaged)

    async def _set_aside(self, damaged: Sequence[aside.Damaged]) -> None:
        wall = self._wall()
        done = await self.write(lambda db: aside.set_aside(db, damaged, wall))
        self.on_set_aside(row[0] for row, _ in done)
        aside.log_damaged(done)

    async def _in_order(self, name: str, values: Sequence[Any] = ()) -> list[Any]:
        return await self.query_in_order(self._sql[name], values)


def _execute(sql: str, values: Sequence[Any], session: Session) -> int:
    return session.execute(sql, values)
