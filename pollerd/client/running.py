"""The running daemon, found without its configuration: that may be broken by now, or closed to this user."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from pollerd.client.live import fetch_status
from pollerd.config import BUILT_IN, SYSTEM_FILE, Config, ConfigError
from pollerd.config.environment import LoadContext
from pollerd.config.loader import build
from pollerd.config.reader import Diagnostics
from pollerd.config.store_url import STORE_URL
from pollerd.config.tables import ControlConfig, StoreConfig

SYSTEM_SOCKET: Final = Path("/run/pollerd/control.sock")
"""Where the installed service listens."""
_FAULTS: Final = 20
"""Lines that are no TOML and are passed over; a file with more is another file."""
_AT_LINE: Final = re.compile(r"\(at line (\d+), column \d+\)")


def running_config(error: ConfigError) -> Config | None:
    """What the daemon that was started with the file in `error` says of itself: its database, socket and accounts.

    All else is the default. None when there is no such daemon, or this user may not ask it.
    """
    file = Path(error.problems[0].file)
    for socket in dict.fromkeys(_sockets(file)):
        found = fetch_status(socket)
        if found is None or Path(found.configuration) != file:
            continue
        plain = build({}, LoadContext(BUILT_IN, file.parent, {}, built_in=True), Diagnostics(BUILT_IN))
        (account,) = plain.accounts.values()
        return replace(
            plain,
            accounts={each.name: replace(account, name=each.name) for each in found.accounts},
            store=_store(found.database.path, plain.store),
            control=ControlConfig(socket),
            source=str(file),
        )
    return None


def _store(where: str, plain: StoreConfig) -> StoreConfig:
    """The store that a daemon says it has: a file, or a URL."""
    if "://" in where:
        return replace(plain, url=STORE_URL.check(where))
    return StoreConfig(path=Path(where))


def _sockets(file: Path) -> Iterator[Path]:
    if (read := _as_far_as_possible(file)) is not None:
        if read.control.socket is not None:
            yield read.control.socket
        yield read.store.path.parent / "control.sock"
    if file == SYSTEM_FILE:
        yield SYSTEM_SOCKET


def _as_far_as_possible(file: Path) -> Config | None:
    """The configuration with defaults where it is wrong."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for _ in range(_FAULTS):
        try:
            data = tomllib.loads("\n".join(lines))
        except tomllib.TOMLDecodeError as error:
            if (at := _AT_LINE.search(str(error))) is None or int(at[1]) > len(lines):
                return None
            lines[int(at[1]) - 1] = ""
        else:
            return build(data, LoadContext(str(file), file.parent, os.environ), Diagnostics(str(file)))
    return None
