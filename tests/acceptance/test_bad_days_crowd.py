"""Thousands of silent connections wherever others connect, and few file descriptors: polling goes on."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, account_events
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.waiting import until

FILES = 256
EACH = 1000
BACKOFF = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "200ms"\nmax_interval = "1s"'


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def crowd(family: int, address: object, number: int) -> list[socket.socket]:
    """So many connections that say nothing."""
    found = []
    for _ in range(number):
        # Without a time-out: it would fail at once where the system has others waiting.
        connection = socket.socket(family)
        connection.connect(address)  # type: ignore[arg-type]
        found.append(connection)
    return found


def said(connections: list[socket.socket]) -> set[bytes]:
    """How the replies to refused connections begin."""
    words = set()
    for connection in connections:
        connection.setblocking(False)
        try:
            text = connection.recv(1000)
        except OSError:
            continue
        words.add(text.split(b"\r\n")[0] if text.startswith(b"HTTP") else text.split(b',"message"')[0])
    return words


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_a_crowd_at_every_place_stops_nothing(tmp_path: Path, row: Row) -> None:
    """1,000 silent connections at each of four places, 256 file descriptors: messages are polled to their end, the
    operator's commands are answered, refused ones get a reason, and the log says so once for each place.
    """
    page, metrics = free_port(), free_port()
    more = f'[web]\nlisten = "127.0.0.1:{page}"\n[metrics]\nlisten = "127.0.0.1:{metrics}"'
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=BACKOFF, more=more) as deployment,
    ):
        deployment.files = FILES
        process = await deployment.start()
        ids = [simulator.truth.add(steps=[Step(0.0, "ENROUTE")]) for _ in range(30)]
        deployment.insert(ids)
        await until(lambda: all(simulator.truth.polls(i) for i in ids), "every message was asked for")
        connections: dict[str, list[socket.socket]] = {}
        peak = 0
        for name, family, address in (
            ("status page", socket.AF_INET, ("127.0.0.1", page)),
            ("metrics", socket.AF_INET, ("127.0.0.1", metrics)),
            ("control socket", socket.AF_UNIX, str(tmp_path / "control.sock")),
            ("event socket", socket.AF_UNIX, str(deployment.socket)),
        ):
            opening = asyncio.create_task(asyncio.to_thread(crowd, family, address, EACH))
            while not opening.done():
                peak = max(peak, descriptors(process.pid))
                await asyncio.sleep(0)
            connections[name] = await opening
        before = {i: simulator.truth.polls(i) for i in ids}
        await until(lambda: all(simulator.truth.polls(i) > before[i] + 2 for i in ids), "polling goes on")
        code, out, _ = await deployment.command("status", "--json")
        assert code == 0
        assert json.loads(out)["daemon"]["running"]
        fresh = simulator.truth.add(steps=[Step(0.0, "DELIVERED")])
        code, _, error = await deployment.command("track", str(fresh))
        assert code == 0, error
        await until(lambda: finals(deployment.events()), "a message handed over meanwhile ends")
        peak = max(peak, descriptors(process.pid))
        words = {name: said(found) for name, found in connections.items()}
        for found in connections.values():
            for connection in found:
                connection.close()
        assert await deployment.stop() == 0
        assert account_events(deployment) == []
        assert {b"HTTP/1.1 408 Request Timeout"} <= words["status page"]
        assert {b"HTTP/1.1 408 Request Timeout"} <= words["metrics"]
        assert {b"HTTP/1.1 408 Request Timeout"} <= words["control socket"]
        assert b'{"type":"error","reason":"too_many_readers"' in words["event socket"]
        full = [line["place"] for line in deployment.log() if line.get("event") == "connections_full"]
        assert sorted(full) == sorted(connections)
        assert not [line for line in deployment.log() if "no_descriptors" in str(line) or "open files" in str(line)]
        # What is kept for the gateway's connections, the database and files is never taken.
        assert peak <= FILES - 60
        row(f"{len(connections)} x {EACH} silent connections, {FILES} descriptors, at most {peak} in use, 0 holds")
