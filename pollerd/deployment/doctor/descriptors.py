"""The limit of open files, against what the configuration may need."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pollerd.base.descriptors import share
from pollerd.config import Config
from pollerd.config.descriptors import Need
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.deployment.doctor.unit import Unit
from pollerd.store.engine import engine_of

NAME: Final = "open files"
_SETTING: Final = "LimitNOFILE"
_ENDLESS: Final = 1 << 30
"""More than any kernel allows one process."""
_RUNNING: Final = re.compile(r"^Max open files +(\S+) ", re.MULTILINE)
"""The soft limit in /proc/PID/limits; see proc_pid_limits(5)."""


def checks(config: Config, unit: Unit | None) -> Iterator[Check]:
    """One finding, about the daemon that runs, else about the one that would be started."""
    found = _running(config) or _of_unit(unit)
    if found is None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        found = "a daemon started from here", _ENDLESS if hard == resource.RLIM_INFINITY else hard
    yield judge(*found, Need.of(config))


def judge(who: str, limit: int, need: Need) -> Check:
    """`who` may have `limit` files open."""
    if limit >= need.total:
        return ok(NAME, f"{who} may have {_shown(limit)}; this configuration needs up to {need.total}")
    facts = f"{who} may have {_shown(limit)}; this configuration needs up to {need.total}, "
    facts += f"{need.reserve} of them for polling, the database, outputs and sources"
    step = f"set {_SETTING}={need.total} or more (systemctl edit pollerd, under [Service]), or ulimit -n where it is "
    step += "started by hand, and restart the daemon"
    if limit < need.reserve:
        return failure(NAME, facts, step)
    bounds = ", ".join(f"{most} ({name})" for name, most in share(limit, need.reserve, need.places).items())
    return warning(NAME, f"{facts}; others may open no more connections than {bounds}", step)


def _shown(limit: int) -> str:
    return "any number of files open" if limit >= _ENDLESS else f"{limit} files open"


def _running(config: Config) -> tuple[str, int] | None:
    if not (pid := engine_of(config.store).owner()):
        return None
    try:
        found = _RUNNING.search(Path(f"/proc/{pid}/limits").read_text(encoding="ascii"))
    except OSError:
        return None
    return None if found is None else (f"process {pid}", _number(found[1]))


def _of_unit(unit: Unit | None) -> tuple[str, int] | None:
    """The daemon raises the soft limit as far as the hard one lets it: of SOFT:HARD the second counts."""
    hard = unit.last(_SETTING).rpartition(":")[2] if unit is not None else ""
    known = hard == "infinity" or hard.isdecimal()
    return (f"{unit.path.name} ({_SETTING})", _number(hard)) if unit is not None and known else None


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else _ENDLESS
