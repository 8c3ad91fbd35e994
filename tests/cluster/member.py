"""A member with every kind of reader, and what it reaches PostgreSQL and the gateway through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import Final

from pollerd.base import failpoints
from pollerd.simulator import Simulator
from tests.acceptance.bad_days_kit import Shim
from tests.acceptance.members_kit import MemberDeployment
from tests.servers.proxy import Proxy
from tests.store_database import StoreDatabase

BACKOFF: Final = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "1s"\nmax_interval = "2s"'

TAIL: Final = 65536
"""Bytes, more than the longest line."""


class Reader:
    """Reads one member's event socket, and comes back with `after N` when it was cut off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.numbers: list[int] = []
        self.lines: list[bytes] = []
        self.gaps: list[dict[str, int]] = []

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_unix_connection(self._path, limit=1 << 20)
                try:
                    writer.write(f"after {self.numbers[-1] if self.numbers else 0}\n".encode())
                    while line := await reader.readuntil(b"\n"):
                        said = json.loads(line)
                        if said["type"] == "gap":
                            self.gaps.append(said)
                            continue
                        self.numbers.append(said["seq"])
                        self.lines.append(line)
                finally:
                    writer.close()
            await asyncio.sleep(0.05)


class Member(MemberDeployment):
    """Started again whenever it ends, as systemd does, while it is `wanted`. It reaches PostgreSQL through `proxy`, and
    the gateway through the other one; `clock` is its machine's.
    """

    def __init__(
        self,
        folder: Path,
        simulator: Simulator,
        store: StoreDatabase,
        name: str,
        proxy: Proxy,
        gateway: Proxy,
        library: Path,
        outputs: str,
    ) -> None:
        through = StoreDatabase(store.database, store.user, proxy.port)
        limits = "requests_per_second = 200"
        super().__init__(folder, simulator, through, name, backoff=BACKOFF, limits=limits, more=outputs)
        self.proxy = proxy
        self.gateway = gateway
        self.machine = self.clock = Shim(library, folder)
        text = self.config.read_text().replace(simulator.url, f"http://127.0.0.1:{gateway.port}")
        # By this name the database knows whose connections are whose.
        self.config.write_text(text.replace("?sslmode=disable", f"?sslmode=disable&application_name={name}"))
        self.ends: list[int] = []
        self.reader = Reader(self.socket)
        self.wanted = asyncio.Event()
        self._armed = ""

    async def live(self) -> None:
        """Run it, again and again."""
        while True:
            await self.wanted.wait()
            armed, self._armed = self._armed, ""
            process = await self.launch(environment={failpoints.VARIABLE: armed} if armed else None)
            self.ends.append(await process.wait())
            await asyncio.sleep(0.2)

    def newest(self) -> int:
        """The number of the last whole line of its file."""
        with contextlib.suppress(OSError, ValueError, IndexError), self.file.open("rb") as file:
            file.seek(max(0, self.file.stat().st_size - TAIL))
            return int(json.loads(file.read().split(b"\n")[-2])["seq"])
        return 0

    @property
    def up(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send its process a signal."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def lose(self) -> None:
        """Its machine is gone: kill -9, and it does not come back until the stage settles."""
        self.wanted.clear()
        self.signal(signal.SIGKILL)

    def end(self, armed: str = "") -> None:
        """SIGTERM; it is started again, with these failpoints."""
        self._armed = armed
        self.signal(signal.SIGTERM)
