"""What systemd hears, on a real datagram socket."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollerd.daemon.systemd import Notifier, feed

PATIENCE = 120.0


class Listener:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self.socket.settimeout(PATIENCE)

    def hear(self) -> str:
        return self.socket.recv(4096).decode()

    def silent(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
        return False

    async def hear_later(self) -> str:
        return await asyncio.to_thread(self.hear)


@pytest.fixture(params=["file", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    abstract = f"@pollerd-{secrets.token_hex(8)}"
    opened = Listener(abstract if request.param == "abstract" else str(tmp_path / "notify"))
    yield opened
    opened.socket.close()


def test_each_state_in_systemds_own_words(listener: Listener) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": listener.address})
    assert notifier.active
    notifier.ready()
    notifier.status("3 pending\nREADY=1\tdue")
    notifier.watchdog()
    notifier.extend_timeout(5_000_000)
    notifier.stopping()
    assert [listener.hear() for _ in range(5)] == [
        "READY=1",
        "STATUS=3 pending READY=1 due",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=5000000",
        "STOPPING=1",
    ]


def test_a_reload_carries_the_monotonic_time(listener: Listener) -> None:
    before = time.monotonic_ns() // 1000
    Notifier(listener.address).reloading()
    first, second = listener.hear().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_outside_systemd_nothing_happens() -> None:
    notifier = Notifier.from_environment({})
    assert not notifier.active
    notifier.ready()


def test_a_socket_that_is_gone_is_named_once_and_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pollerd.daemon.systemd")
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.ready()
    notifier.watchdog()
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_an_address_that_cannot_be_one_harms_nobody() -> None:
    Notifier("/" + "x" * 200).ready()
    Notifier("vsock:2:1234").ready()


async def test_the_watchdog_is_fed_only_while_something_moves(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    looks = asyncio.Queue[str | None]()
    reasons: list[str | None] = [None]

    def stuck() -> str | None:
        looks.put_nowait(reasons[0])
        return reasons[0]

    feeding = asyncio.create_task(feed(Notifier(listener.address), stuck, 0.01))
    assert await listener.hear_later() == "WATCHDOG=1"
    reasons[0] = "account default has polled nothing"
    while await looks.get() is None:
        pass
    while not listener.silent():
        pass
    for _ in range(5):
        assert await looks.get() is not None
    assert listener.silent()
    reasons[0] = None
    assert await listener.hear_later() == "WATCHDOG=1"
    feeding.cancel()
    events = [record.__dict__.get("event") for record in caplog.records]
    assert events == ["watchdog_withheld", "watchdog_fed"]


BLOCKING = """
import asyncio, sys
from pollerd.daemon.systemd import Notifier, feed

async def main():
    notifier = Notifier.from_environment()
    def block():
        sys.stdin.readline()
        notifier.status("blocked")
        sys.stdin.readline()
    asyncio.get_running_loop().add_reader(sys.stdin, block)
    await feed(notifier, lambda: None, 0.02)

asyncio.run(main())
"""


def test_a_blocked_event_loop_gives_no_sign_of_life(listener: Listener) -> None:
    environment = os.environ | {"NOTIFY_SOCKET": listener.address}
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKING], stdin=subprocess.PIPE, env=environment, text=True, bufsize=1
    ) as child:
        try:
            assert child.stdin is not None
            assert listener.hear() == "WATCHDOG=1"
            child.stdin.write("block\n")
            while listener.hear() != "STATUS=blocked":
                pass
            listener.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                listener.hear()
            listener.socket.settimeout(PATIENCE)
            child.stdin.write("go on\n")
            assert listener.hear() == "WATCHDOG=1"
        finally:
            child.kill()
