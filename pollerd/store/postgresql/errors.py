"""PostgreSQL's errors as ours: what may pass, who has taken over, and what to do about the rest."""

from __future__ import annotations

from typing import Final

import psycopg

from pollerd.base.errors import (
    StoreAwayError,
    StoreBusyError,
    StoreDoubtError,
    StoreError,
    StoreFencedError,
    StoreForbiddenError,
    StoreUnavailableError,
    StoreWentBackError,
)

FENCED: Final = "PD001"
WENT_BACK: Final = ("PD002", "PD003")
_LOST: Final = ("08", "57P0", "25P03")
_BUSY: Final = ("40", "55P03")
_REPLICA: Final = ("25006", "55000")
"""A replica takes no writes, and has no place of its own in the log of writes."""
_PASSING: Final = ("53", "58030", *_REPLICA)
_HINTS: Final = (
    ("password authentication failed", "correct the password, see [store] password_file"),
    ("no password supplied", "give the password: [store] password_file"),
    ("no pg_hba.conf entry", "let this machine and user in: a line in pg_hba.conf of the server"),
    ("authentication failed", "correct the user in [store] url, or let it in: pg_hba.conf of the server"),
    ("does not exist", "create it, or correct [store] url"),
    ("permission denied for database", "give the user the right to connect (GRANT CONNECT ON DATABASE ... TO ...)"),
    ("root certificate file", "name the certificate of its authority: sslrootcert=FILE in [store] url"),
    ("certificate verify failed", "name the certificate of its authority: sslrootcert=FILE in [store] url"),
    ("server certificate for", "use the name that is in its certificate in [store] url"),
    (
        "does not support SSL",
        "turn TLS on there, or, where nobody listens on the way, add sslmode=disable to [store] url",
    ),
    ("invalid sslmode", "correct [store] url"),
    ("invalid connection option", "correct [store] url"),
)
"""What libpq says when it cannot connect for a reason that does not pass, and what to do. It gives no code."""
FUNCTION: Final = "permission denied for function"
CALL: Final = "let the user of [store] url call it: GRANT EXECUTE ON FUNCTION ... TO that user"
"""What to do where a hardened server keeps one of its own functions from users."""
_READ_ONLY: Final = ("session is read-only", "server is in hot standby mode")


def unreachable(error: psycopg.Error, where: str) -> StoreError:
    """Why there is no connection."""
    said = _first_line(error)
    for known, step in _HINTS:
        if known in said:
            return StoreForbiddenError(f"PostgreSQL at {where} refuses the connection ({said}): {step}.")
    if any(known in said for known in _READ_ONLY):
        return StoreAwayError(
            f"PostgreSQL at {where} is a replica or read-only ({said}): name the primary, or all, in [store] url."
        )
    return StoreAwayError(f"PostgreSQL at {where} cannot be reached ({said}): start it, or correct [store] url.")


def translated(error: psycopg.Error, where: str) -> StoreError:
    """What PostgreSQL said to a statement, as one of ours."""
    code, said = error.sqlstate or "", _first_line(error)
    if code == FENCED:
        return StoreFencedError(
            f"another member has taken over the store at {where}, or PostgreSQL has failed over; this one ends and "
            "starts anew."
        )
    if code in WENT_BACK:
        # The number is another one than this process expects, or the server is.
        return StoreWentBackError(f"the store at {where} lacks what was committed last; this one ends and starts anew.")
    if not code or code.startswith(_LOST):
        return StoreAwayError(f"the connection to PostgreSQL at {where} is lost ({said}); it is tried again.")
    what = f"the store at {where} cannot be used ({said})"
    if code.startswith(_BUSY):
        return StoreBusyError(f"{what}: another program locks it; end long transactions in other programs.")
    if code.startswith(_PASSING):
        hint = "name the primary in [store] url" if code in _REPLICA else "give the server more room or connections"
        return StoreUnavailableError(f"{what}: {hint}.")
    if code == "42501":
        step = "make the user of [store] url the owner of the tables, or grant it all rights on them"
        return StoreForbiddenError(f"{what}: {CALL if FUNCTION in said else step}.")
    return StoreError(f"{what}: see pollerd doctor.")


def doubt(where: str) -> StoreDoubtError:
    """Nobody can say whether a transaction was carried out."""
    return StoreDoubtError(
        f"the connection to PostgreSQL at {where} broke in the middle of a commit, and the server does not say what "
        "became of it: it may have taken effect. Do it again once the server answers; what was done is not done twice."
    )


def _first_line(error: psycopg.Error) -> str:
    said = error.diag.message_primary or str(error)
    return " ".join(said.split("\n", 1)[0].split()).rpartition("failed: ")[2] or type(error).__name__
