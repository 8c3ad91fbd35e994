"""Finding the configuration file and turning it into a TOML document."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from pollerd.base.service import JOIN
from pollerd.config.problem import ConfigError, Problem

SYSTEM_FILE = Path("/etc/pollerd/config.toml")
LOCAL_FILE = "pollerd.toml"
VARIABLE = "POLLERD_CONFIG"
_LARGEST_BYTES: Final = 1024 * 1024
"""The example with every key has 14 KB: a larger file is another file, named by mistake."""
_TABLE = re.compile(r"Cannot (declare|mutate immutable namespace|redefine namespace) (\(.*\))(?: twice)?")
_NAMES = re.compile(r"['\"](.*?)['\"](?=[,)])")
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


class ConfigFile(msgspec.Struct, frozen=True):
    """One configuration file: where it is, its text and what the text says."""

    path: Path
    text: str
    data: Mapping[str, object]
    world_readable: bool


def find(path: Path | None, env: Mapping[str, str], cwd: Path, system: Path = SYSTEM_FILE) -> ConfigFile | None:
    """The first of: the named path, ``$POLLERD_CONFIG``, ``./pollerd.toml``, ``/etc/pollerd/config.toml``.

    None when there is no file at all. A file that was named must exist. Raises :class:`ConfigError`.
    """
    if path is not None:
        return _read(cwd / path, "give another path with -c, or write one with: pollerd config init")
    named = env.get(VARIABLE)
    if named:
        return _read(cwd / named, f"${VARIABLE} names it: correct or unset that variable")
    for candidate in (cwd / LOCAL_FILE, system):
        if _there(candidate):
            return _read(candidate, "it was removed a moment ago: try again")
    return None


def _there(candidate: Path) -> bool:
    try:
        candidate.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        # Whoever stands in a folder that they may not search has no configuration of theirs in it. The system's file
        # may well be there: falling back to other settings in silence would be worse than saying so.
        return candidate.name != LOCAL_FILE
    except OSError:
        return True
    return True


def _read(path: Path, when_missing: str) -> ConfigFile:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_BYTES + 1)
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise _error(path, f"does not exist; {when_missing}") from None
    except PermissionError:
        how = f"join the group of the service ({JOIN}), or use sudo" if path == SYSTEM_FILE else "or use -c"
        raise _error(path, f"may not be read by this user; run as the service's user, {how}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise _error(path, f"cannot be read: {reason}") from None
    if len(raw) > _LARGEST_BYTES:
        raise _error(path, "is larger than 1 MiB, which no configuration is")
    text = _decode(path, raw)
    return ConfigFile(path, text, _parse(path, text), bool(mode & 0o004))


def _decode(path: Path, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _error(path, "is not UTF-8 text here; save the file as UTF-8", line) from None


def _parse(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _error(path, "is nested too deeply to be read; no key needs that") from None
    except ValueError as error:
        reason, line = str(error), None
        found = _AT_LINE.search(reason)
        if found is not None:
            reason, line = reason[: found.start()], int(found[1])
        elif not isinstance(error, tomllib.TOMLDecodeError):
            reason = "a number has too many digits"
        # The reasons of Python's reader name keys and single characters, never a value: no secret slips out.
        raise _error(path, f"is not valid TOML: {_plainly(reason)}", line) from None


def _plainly(reason: str) -> str:
    """The reader's reason, without the tuple in which it names a table."""
    if reason == "Cannot overwrite a value":
        return "a key is there twice; keep one of them"
    found = _TABLE.fullmatch(reason)
    if found is None:
        return reason
    name = ".".join(_NAMES.findall(found[2]))
    return f"[{name}] is there {'twice' if found[1] == 'declare' else 'already, in another form'}; keep one of them"


def _error(path: Path, expected: str, line: int | None = None) -> ConfigError:
    return ConfigError((Problem(str(path), "", None, expected, None, line),))
