"""The store in PostgreSQL: reached, of a version and schema that we know, with all rights, and durable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pollerd.base.errors import StoreError
from pollerd.base.text import counted, duration, size
from pollerd.config import StoreConfig
from pollerd.config.secret import RESTART
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.deployment.doctor.database import kept
from pollerd.store.engine import engine_of

if TYPE_CHECKING:
    from pollerd.store.postgresql.examine import Examination

NAME: Final = "database"
SCHEMA: Final = "database schema"
RIGHTS: Final = "database rights"
CLOCK: Final = 5.0
"""Seconds between the clocks of this machine and of the server that are worth a word."""
LONG: Final = 3600.0
"""Seconds after which a transaction hinders the server's cleaning up."""
RECENT: Final = 7 * 86400.0
"""Seconds for which a failover that may have lost something is worth a word."""
DEAD: Final = 100_000
"""Rows that are deleted and not cleaned up, from which on more of them than living ones are worth a word."""


def checks(config: StoreConfig) -> Iterator[Check]:
    """Everything about the server, and about the store in it."""
    try:
        engine_of(config)
    except StoreError as error:
        yield _failed(str(error))
        return
    # Here only: the driver is an extra.
    from pollerd.store.postgresql.engine import target_of
    from pollerd.store.postgresql.examine import examine
    from pollerd.store.postgresql.reader import PostgresReader

    target = target_of(config)
    try:
        found = examine(target)
    except StoreError as error:
        yield _failed(str(error))
        return
    how = "TLS" if found.encrypted else "without TLS"
    yield ok(NAME, f"PostgreSQL {found.version} at {config.where}, {how}, {size(found.size)}")
    yield from _durable(found, lossless=config.lossless)
    yield from _tidy(found)
    if abs(found.ahead) > CLOCK:
        way = "ahead of" if found.ahead > 0 else "behind"
        facts = f"this machine's clock is {duration(abs(found.ahead))} {way} the database server's"
        yield warning("database clock", facts, "set both by NTP (chrony, systemd-timesyncd)")
    for function in found.uncallable:
        facts = f"the user of [store] url may not call {function}"
        yield failure(
            RIGHTS, facts, f"as an administrator, in this database: GRANT EXECUTE ON FUNCTION {function} TO that user"
        )
    if not found.tables:
        yield from _no_tables(found)
    elif found.lacking:
        facts = f"the user of [store] url lacks rights on {', '.join(found.lacking)}"
        yield failure(RIGHTS, facts, "make it the owner of the tables, or grant it all rights on them")
    elif not found.uncallable:
        yield from _members(found)
        yield from _news(found)
        if found.schema < found.newest:
            facts = f"it has schema {found.schema}, and what this version of pollerd reads is {found.newest}"
            yield warning(SCHEMA, facts, f"start the daemon of this version, which brings it up to date: {RESTART}")
            return
        with PostgresReader.open(target) as reader:
            yield from kept(reader)


def _failed(said: str) -> Check:
    """What is wrong and what to do, apart from each other."""
    for mark in ("): ", ": ", ". "):
        facts, found, step = said.rstrip(".").partition(mark)
        if found:
            break
    facts += mark.rstrip(": .")
    return failure(NAME, facts, step[:1].lower() + step[1:])


def _durable(found: Examination, *, lossless: bool) -> Iterator[Check]:
    from pollerd.store.postgresql.failover import STEP

    for name, on in (("fsync", found.fsync), ("synchronous_commit", found.synchronous_commit)):
        if not on:
            facts = f"{name} is off: a crash of the server may take back events that were reported already"
            yield warning("database durability", facts, f"set {name} = on in postgresql.conf")
    if found.replicas and not found.replicated:
        facts = f"no commit waits for the server's {counted(found.replicas, 'replica')}"
        if lossless:
            yield ok("database replication", f"{facts}; that no failover loses one is said by [store] lossless")
        else:
            yield warning("database replication", f"{facts}: a failover may lose what was reported already", STEP)
    if found.jump is not None and found.jump.ago < RECENT:
        yield warning("database failover", f"{duration(found.jump.ago)} ago {found.jump}", STEP)


def _tidy(found: Examination) -> Iterator[Check]:
    if found.longest > LONG:
        facts = f"a transaction in this database has been open for {duration(found.longest)}: nothing is cleaned up"
        yield warning("database transactions", facts, "end it; see pg_stat_activity, ordered by xact_start")
    if not found.autovacuum:
        facts = "autovacuum is off: rows change with each poll, and what they leave is not cleaned up"
        yield warning("database cleaning", facts, "set autovacuum = on in postgresql.conf")
    elif found.dead > max(DEAD, found.live):
        facts = f"{found.dead:,} rows are deleted and not cleaned up, with {found.live:,} living ones"
        yield warning("database cleaning", facts, "see that autovacuum is on and comes to an end")


def _no_tables(found: Examination) -> Iterator[Check]:
    if found.may_create:
        yield ok("database tables", "there are none yet; the first start makes them")
    else:
        facts = "there are none yet, and the user of [store] url may not make them"
        yield failure(
            "database tables", facts, "let it own the database, or GRANT USAGE, CREATE ON SCHEMA public TO that user"
        )


def _members(found: Examination) -> Iterator[Check]:
    names = Counter(member.name for member in found.members if not member.over)
    for name, count in names.items():
        if count > 1:
            facts = f"{count} members call themselves {name!r}"
            yield failure("members", facts, "give each a [cluster] name of its own")
            return
    for member in found.members:
        does = "polls" if member.active else "stands by"
        over = ", and its lease is over: it has ended or does not reach the server" if member.over else ""
        yield ok("members", f"{member.name} ({member.process}) {does}{over}")


def _news(found: Examination) -> Iterator[Check]:
    # Here only, as above.
    from pollerd.store.postgresql.news import FOLLOW

    if not found.unheard:
        yield ok("database notifications", "NOTIFY arrives: a member that stands by hears of each commit at once")
    else:
        facts = f"NOTIFY does not arrive ({found.unheard}): a member that stands by looks for commits every {FOLLOW} s"
        yield warning("database notifications", facts, "name the server itself in [store] url where that is too much")
