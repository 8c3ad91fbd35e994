"""Bad days through the installed command: time that runs faster, clocks that are stepped, disks that do not sync."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from pollerd.simulator import Population, Simulator
from tests.acceptance.deployment import Deployment

AT_ONCE: Final = Population(visibility_median=0.0)
"""No 404 for messages that were sent: the simulator's time does not run faster with the daemon's."""
SOURCE: Final = Path(__file__).with_name("shim.c")


def build(folder: Path) -> Path:
    """The preloaded library; the test is skipped where nothing can compile it."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = folder / "shim.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Shim:
    """Environments for a daemon that meets bad days. See shim.c."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._library = library
        self._unsynced = folder / "unsynced"
        step = folder / "step"
        step.write_bytes(bytes(mmap.PAGESIZE))
        self._step = step.open("r+b")
        self._boot = folder / "boot"
        self._boots = 0
        self.off = self.slept = 0.0
        self.reboot()

    def environment(self, *, speed: float = 1.0) -> dict[str, str]:
        """All its clocks run `speed` times faster."""
        return {
            "LD_PRELOAD": str(self._library),
            "SHIM_SPEED": str(speed),
            "SHIM_STEP": self._step.name,
            "SHIM_BOOT": str(self._boot),
            "SHIM_FSYNC": str(self._unsynced),
        }

    def wall(self) -> float:
        """What its wall clock shows, where its clocks do not run faster."""
        return time.time() + self.off + self.slept

    def step(self, seconds: float) -> None:
        """From now on the daemon's wall clock is so far off."""
        self.off = seconds
        self._write()

    def sleep(self, seconds: float) -> None:
        """The machine has slept for so long."""
        self.slept += seconds
        self._write()

    def reboot(self) -> None:
        """What starts from now on runs on a machine that was restarted."""
        self._boots += 1
        self._boot.write_text(f"00000000-0000-0000-0000-{self._boots:012d}\n")

    def _write(self) -> None:
        # Both at once: nobody may see the one without the other.
        self._step.seek(0)
        self._step.write(struct.pack("dd", self.off, self.slept))
        self._step.flush()

    def break_sync(self, part: str) -> None:
        """Syncs of files whose path holds `part` fail; "" ends it. A `$` at the end: paths that end so."""
        if part:
            self._unsynced.write_text(part)
        else:
            self._unsynced.unlink(missing_ok=True)

    def close(self) -> None:
        self._step.close()


def asked(simulator: Simulator, since: float = 0.0) -> list[tuple[float, str]]:
    """When (the simulator's clock) messages were asked for after `since`, and what was answered, in order of time."""
    log = [(at, answer) for record in simulator.records() for at, answer in record.poll_log if at >= since]
    return sorted(log)


def busiest(times: list[float], span: float) -> int:
    """The most of them within any `span` seconds."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] > span:
            first += 1
        most = max(most, last - first + 1)
    return most


def account_events(deployment: Deployment) -> list[Mapping[str, Any]]:
    """The events about accounts."""
    return [event for event in deployment.events() if event["type"].startswith("account.")]


def blamed(deployment: Deployment) -> list[Any]:
    """Messages that anything was held against, and those given up."""
    return deployment.query("SELECT id, state, strikes, last_answer FROM messages WHERE strikes > 0 OR state = 3")
