"""The form in which sources gave the ids of messages, for the statements of outputs that search for the same rows.

Only a form that is not the whole number itself is kept, for as long as its message or an event of it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from pollerd.store.session import Session, Transactions


class SourceForms:
    """Remembers the forms that one source gives, which reads `database`."""

    def __init__(self, store: Transactions, source: str, database: str) -> None:
        self._store = store
        self._source = source
        self._database = database
        self._sql = store.sql("source_ids")
        self._any: bool | None = None

    async def remember(self, forms: Mapping[int, object], new: Collection[int]) -> None:
        """Keep how ids were given (None: as the number itself); on disk when this returns.

        `new` ones are about to be followed; of the others those are kept that are. Raises as `Store.commit`.
        """
        if self._any is None:
            self._any = bool((await self._store.query(self._sql["any"], (self._source,)))[0][0])
        if not self._any and not any(form is not None for form in forms.values()):
            return
        rows = msgspec.json.encode([(number, form, number in new) for number, form in forms.items()]).decode()
        changed = [row[0] for row in await self._store.query(self._sql["changed"], (rows, self._source))]
        if not changed:
            return
        self._any = True
        known = [(number, form) for number in changed if (form := forms[number]) is not None]
        kept = [(self._source, number, self._database, form) for number, form in known]
        gone = [(self._source, number) for number in changed if forms[number] is None]

        def write(session: Session) -> None:
            session.execute(self._sql["remember"], (msgspec.json.encode(kept).decode(),))
            session.executemany(self._sql["forget"], gone)

        await self._store.write(write)


class SourceIds:
    """How ids were given by sources that read `database`; None: by any source."""

    def __init__(self, store: Transactions, database: str | None) -> None:
        self._store = store
        self._database = database
        self._sql = store.sql("source_ids")

    async def find(self, messages: Iterable[int]) -> dict[int, str | float]:
        """The forms of those ids that were not given as the number itself. Raises as `Store.commit`."""
        wanted = msgspec.json.encode(sorted(messages)).decode()
        return dict(await self._store.query(self._sql["find"], (wanted, self._database)))


def drop_unused(session: Session, messages: Iterable[int]) -> None:
    """Forget the forms of those messages that are gone with all their events.."""
    session.executemany(session.sql("source_ids")["drop_unused"], [(message,) for message in messages])
