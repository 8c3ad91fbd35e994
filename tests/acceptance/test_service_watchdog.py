"""The watchdog as systemd would use it: signs of life come, a blocked event loop gives none, a restart mends it."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollerd.simulator import Population, Simulator, SimulatorConfig
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until

ALLOWED = 3.0
"""WatchdogSec= of this test."""
PATIENCE = 60.0


class Supervisor:
    """systemd's end: hears notifications, and gives up on a daemon that says nothing for too long."""

    def __init__(self) -> None:
        self.address = f"@pollerd-watchdog-{secrets.token_hex(8)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind("\0" + self.address[1:])

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(int(ALLOWED * 1_000_000))}

    async def hear(self, wanted: str) -> bool:
        """Whether `wanted` comes before the watchdog's time is up."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ALLOWED):
                while wanted not in (await loop.sock_recv(self._socket, 4096)).decode().split("\n"):
                    pass
        except TimeoutError:
            return False
        return True

    async def started(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await self.hear("READY=1"):
                pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor()
    yield made
    made.close()


def world() -> Simulator:
    return Simulator(SimulatorConfig(speed=1000.0, population=Population(any_id=True, visibility_median=0.0)))


async def test_signs_of_life_keep_coming_while_nothing_is_due(tmp_path: Path, supervisor: Supervisor) -> None:
    async with world() as gateway, Deployment(tmp_path, gateway) as deployment:
        await deployment.launch(environment=supervisor.environment)
        await supervisor.started()
        for _ in range(4):
            assert await supervisor.hear("WATCHDOG=1")
        assert await deployment.stop() == 0


async def test_a_blocked_loop_falls_silent_and_the_restart_goes_on_where_it_stood(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    async with world() as gateway, Deployment(tmp_path, gateway, backoff='first_poll_after = "100ms"') as deployment:
        blocking = {**supervisor.environment, "POLLERD_FAILPOINTS": "file.before_cursor=block:2"}
        process = await deployment.launch(environment=blocking)
        await supervisor.started()
        assert await supervisor.hear("WATCHDOG=1")
        deployment.insert([7001])
        async with asyncio.timeout(PATIENCE):
            while await supervisor.hear("WATCHDOG=1"):
                pass
        assert process.returncode is None, "it was to stand still, not to end"
        # What systemd sends when the watchdog's time is up.
        process.send_signal(signal.SIGABRT)
        assert await process.wait() == -signal.SIGABRT

        await deployment.launch(environment=supervisor.environment)
        await supervisor.started()
        await until(lambda: deployment.pending() == 0, "the message ends")
        await until(lambda: any(e["type"] == "message.completed" for e in deployment.events()), "its end is told")
        numbers = [event["seq"] for event in deployment.events()]
        assert numbers == list(range(1, len(numbers) + 1))
        assert await supervisor.hear("WATCHDOG=1")
        assert await deployment.stop() == 0
