"""What the operating system says of a process: CPU time and memory, and how busy the machine is besides."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3
from pathlib import Path
from typing import Final

from tests.servers.program import children as children_of

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu(pid: int, *, ended: bool = False) -> float:
    """Seconds of processor time, user and system, that all threads of a process have used; `ended`: and those of its
    children that have ended.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if ended else 13])) / _TICKS


def family(pid: int) -> float:
    """The same of a process, of the processes that it has started, and of those of them that have ended."""
    return sum(cpu(each) for each in children_of(pid)) + cpu(pid, ended=True)


def resident(pid: int) -> float:
    """Resident memory of a process, in MB, the pages of files and libraries it has mapped included."""
    return _status(pid, "VmRSS")


def peak(pid: int) -> float:
    """The largest resident memory that a process has had, in MB."""
    return _status(pid, "VmHWM")


def load() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def children() -> float:
    """Seconds of processor time that ended child processes have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def described() -> str:
    """The machine and what runs on it, in a few words."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    python = platform.python_version()
    return f"{os.cpu_count()} cores ({model}), Python {python}, SQLite {sqlite3.sqlite_version}"
