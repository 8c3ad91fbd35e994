"""Where a member runs: enough to tell on its own machine that it is gone, without waiting for its lease to end."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

import msgspec

_PROC: Final = Path("/proc")


class Process(msgspec.Struct, frozen=True):
    """A process. `boot` names one start of one machine, `namespace` whose process ids these are, `started` tells apart
    two processes with the same id. `command`: it owns the store for a moment only.
    """

    host: str
    pid: int
    boot: str = ""
    namespace: str = ""
    started: str = ""
    command: bool = False

    @property
    def here(self) -> bool:
        """Whether its process id means something to this process."""
        return bool(self.boot and self.namespace) and (self.boot, self.namespace) == (_boot(), _namespace())

    @property
    def gone(self) -> bool:
        """Whether it has certainly ended."""
        return self.here and _started(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}{', a command' if self.command else ''}"


def this_process(*, command: bool) -> Process:
    """The one that calls."""
    pid = os.getpid()
    return Process(socket.gethostname(), pid, _boot(), _namespace(), _started(pid), command)


def _boot() -> str:
    return _read(_PROC / "sys/kernel/random/boot_id")


def _namespace() -> str:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Its start in clock ticks since that of the machine; empty when there is no such process, or only its remains."""
    # The name of the program, in parentheses, may hold anything.
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return "" if not fields or fields[0] in "ZX" else fields[19]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
