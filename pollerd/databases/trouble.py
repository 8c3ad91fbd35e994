"""The kinds of trouble with a database of others, and what its user reads of each. Known without SQLAlchemy, too."""

from __future__ import annotations

from enum import Enum


class Trouble(Enum):
    """The kinds of trouble, each with what is said of the database; `{said}` is the driver's own word."""

    AWAY = "cannot be reached ({said}); see that the server runs, and that host and port in the url are right"
    TLS = "cannot be reached by TLS ({said}); see its certificate, and the url's options for TLS"
    PASSWORD = "refuses the user or the password ({said}); correct the user in the url, or password_file"  # noqa: S105
    LOCKED = "is locked ({said}); another program holds a lock: let it end its transaction"
    CONFLICT = "undid a transaction for that of another program ({said})"
    SLOW = "takes too long ({said}); pollerd doctor says whether an index is missing"
    FULL = "has no room ({said}); free space on its disk"
    READ_ONLY = "is read-only ({said}); name the primary server in the url, or make it writable"
    FORBIDDEN = "gives this user no right ({said}); grant it, or correct the name in the {sql}"
    NO_DATABASE = (
        "has no such database for this user ({said}); correct its name in the url, create it, or grant the right to it"
    )
    MISSING = "does not have what the {sql} names ({said}); correct the {sql}, or the table"
    SETUP = "cannot be used here: {said}"
    """A library, a password or an option is missing or wrong; the text says what to do."""
    STATEMENT = "cannot run the {sql} ({said}); correct the {sql}"
    REFUSED = "refuses a value ({said}); correct the {sql}, or the value"
    OTHER = "fails ({said})"


class DatabaseError(Exception):
    """The database did not do what it was asked for; the text says why, and what to do. No secret is in it."""

    def __init__(self, trouble: Trouble, said: str, sql: str = "statement") -> None:
        """`said` is the driver's word, `sql` how its user calls what was run: query or statement."""
        super().__init__(trouble.value.format(said=said, sql=sql))
        self.trouble = trouble
        self.said = said
        what, _, advice = trouble.value.partition("; ")
        self.what, self.advice = what.format(said=said, sql=sql), advice.format(sql=sql)
