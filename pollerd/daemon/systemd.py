"""Speaks to systemd: readiness, status and the watchdog (sd_notify(3)). Outside systemd it does nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final, Self

log = logging.getLogger(__name__)

_SEND_TIMEOUT: Final = 0.2
"""Seconds that the event loop may be blocked when systemd's queue is full."""


class Notifier:
    """Sends datagrams to systemd's socket at `address`, as in ``$NOTIFY_SOCKET``; None: nowhere. Never raises."""

    def __init__(self, address: str | None) -> None:
        self._address = address.replace("@", "\0", 1) if address and address.startswith("@") else address
        self._failed = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The one that this process was started with. The variable stays, a re-executed daemon needs it again."""
        return cls(environment.get("NOTIFY_SOCKET") or None)

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return self._address is not None

    def ready(self) -> None:
        """The start, or a reload, is done."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Something moved."""
        self._send("WATCHDOG=1")

    def extend_timeout(self, usec: int) -> None:
        """The start or the stop takes at least this many microseconds more."""
        self._send(f"EXTEND_TIMEOUT_USEC={usec:d}")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND_TIMEOUT)
                sender.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except (OSError, ValueError) as error:
            if not self._failed:
                log.debug("systemd cannot be reached: %s", error, extra={"event": "notify_failed"})
            self._failed = True


def watchdog_interval(environment: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """Seconds between two signs of life: half of what systemd allows; None when it does not watch this process."""
    usec = environment.get("WATCHDOG_USEC", "")
    watched = environment.get("WATCHDOG_PID", "")
    if watched and watched != str(os.getpid() if pid is None else pid):
        return None
    return int(usec) / 2_000_000 if usec.isascii() and usec.isdigit() and int(usec) > 0 else None


async def feed(notifier: Notifier, stuck: Callable[[], str | None], interval: float) -> None:
    """Give a sign of life every `interval` seconds, until cancelled, as long as `stuck` finds nothing to say.

    A blocked event loop gives none.
    """
    withheld = False
    while True:
        reason = stuck()
        if reason is None:
            notifier.watchdog()
            if withheld:
                log.warning("moving again, the watchdog is fed", extra={"event": "watchdog_fed"})
        elif not withheld:
            log.error(
                "stuck: %s; the watchdog is not fed any more, systemd will restart the daemon",
                reason,
                extra={"event": "watchdog_withheld"},
            )
        withheld = reason is not None
        await asyncio.sleep(interval)
