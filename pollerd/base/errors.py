"""Every error that pollerd raises on purpose, with the exit code it ends in.

Exit codes are part of the public contract: 0 done, 1 tried and failed, 2 wrong usage, 69 the daemon or the
gateway cannot be reached, 75 another daemon holds this database, 78 bad configuration.
"""

from __future__ import annotations

from typing import ClassVar


class PollerdError(Exception):
    """Base of all deliberate errors; its text is written for the person at the screen."""

    exit_code: ClassVar[int] = 1


class UnavailableError(PollerdError):
    """The daemon or the gateway cannot be reached."""

    exit_code = 69


class DatabaseMissingError(UnavailableError):
    """There is no database yet."""


class DatabaseBusyError(PollerdError):
    """Another process owns this database: a daemon, or for a moment a command."""

    exit_code = 75

    def __init__(self, text: str, *, holder: str, daemon: bool) -> None:
        """`holder` says who owns it, `daemon` whether that is one."""
        super().__init__(text)
        self.holder = holder
        self.daemon = daemon


class StoreError(PollerdError):
    """The database cannot be used as it is (damaged, too new, not writable)."""


class StoreForbiddenError(StoreError):
    """This user may not use the database as the call needs it; another user may, the daemon's above all."""


class StoreUnavailableError(StoreError):
    """The database cannot be written for now (disk full, locked by others); the same call may work later."""


class StoreAwayError(StoreUnavailableError):
    """The server that keeps the database cannot be reached."""

    exit_code = 69


class StoreDoubtError(StoreAwayError):
    """The connection to the database broke in the middle of a commit: what was asked for may have taken effect."""


class StoreBusyError(StoreUnavailableError):
    """Another process is writing; it is most likely done in a moment."""


class DatabaseLostError(StoreUnavailableError):
    """The database, or one of its files, was removed or replaced while it was open; only a new start helps."""


class StoreFencedError(StoreError):
    """Another process has taken over the store: nothing that this one writes takes effect any more."""


class StoreWentBackError(StoreFencedError):
    """The store may lack what was committed last: another server has taken over, or an older copy was put in place."""


class OutputError(PollerdError):
    """An output cannot be opened or is in a state that only a person can decide about."""


class DurabilityError(PollerdError):
    """The operating system could not promise that data is on disk (a failed fsync).

    What the page cache holds afterwards is unknown, so nothing may be tried again: the process ends and the
    restart recovers from what really is on disk.
    """


def root_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a person is shown of a group: the deliberate error in it, else the first one."""
    found: list[BaseException] = []

    def walk(errors: BaseExceptionGroup[BaseException]) -> None:
        for error in errors.exceptions:
            if isinstance(error, BaseExceptionGroup):
                walk(error)
            else:
                found.append(error)

    walk(group)
    return next((error for error in found if isinstance(error, PollerdError)), found[0])
