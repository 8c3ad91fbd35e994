"""What the simulator counts, its limits, and the admin prefix."""

import asyncio
import time
from typing import Any, Self

import aiohttp
import msgspec
import pytest

from pollerd.simulator import (
    DEMO_CREDENTIAL,
    MessageRecord,
    Population,
    Simulator,
    SimulatorConfig,
    StatsRecord,
    Step,
    serve,
)
from tests.acceptance.waiting import PATIENCE

TOKEN = {"Authorization": f"Token {DEMO_CREDENTIAL}"}
AT_ONCE = Population(visibility_median=0.0)
ME = f"GET /rest/me HTTP/1.1\r\nHost: x\r\nAuthorization: Token {DEMO_CREDENTIAL}\r\n\r\n".encode()


class Clients:
    """Raw connections, all closed at the end."""

    def __init__(self, simulator: Simulator) -> None:
        self._port = simulator.port
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()
            try:
                await writer.wait_closed()
            except ConnectionError:
                continue

    async def connect(self, address: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(address, 0))
        self._writers.append(writer)
        return reader, writer

    async def ask(self, request: bytes = ME, address: str = "127.0.0.1") -> bytes:
        """The first line answered on a new connection, which stays open; nothing when it was closed."""
        reader, writer = await self.connect(address)
        writer.write(request)
        try:
            return await reader.readline()
        except ConnectionResetError:
            return b""


def lasting(record: MessageRecord) -> MessageRecord:
    """The record without the present state, which moves on between two reads."""
    recipients = [msgspec.structs.replace(r, status="") for r in record.recipients]
    return msgspec.structs.replace(record, recipients=recipients)


async def get(client: aiohttp.ClientSession, url: str) -> Any:
    async with client.get(url) as response:
        assert response.status == 200
        return await response.json(content_type=None)


async def post(client: aiohttp.ClientSession, url: str, **body: Any) -> tuple[int, Any]:
    async with client.post(url, **body) as response:
        return response.status, await response.json()


@pytest.mark.parametrize(("over_limit", "surplus"), [("close", b""), ("503", b"HTTP/1.1 503 Service Unavailable\r\n")])
async def test_connections_above_the_limit_are_turned_away(over_limit: Any, surplus: bytes) -> None:
    config = SimulatorConfig(connection_limit=3, over_limit=over_limit)
    async with Simulator(config) as simulator, Clients(simulator) as clients:
        answers = [await clients.ask() for _ in range(5)]
        assert answers == [b"HTTP/1.1 200 OK\r\n"] * 3 + [surplus] * 2
        stats = simulator.statistics()
        assert (stats.max_connections, stats.connections, stats.rejected_connections) == (3, 3, 2)


async def test_forty_connections_are_the_limit_unless_set_otherwise() -> None:
    async with Simulator() as simulator, Clients(simulator) as clients:
        answers = [await clients.ask() for _ in range(41)]
        assert answers == [b"HTTP/1.1 200 OK\r\n"] * 40 + [b""]


async def test_a_closed_connection_makes_room() -> None:
    async with Simulator(SimulatorConfig(connection_limit=1)) as simulator:
        for _ in range(3):
            async with Clients(simulator) as clients:
                assert await clients.ask() == b"HTTP/1.1 200 OK\r\n"
            async with asyncio.timeout(PATIENCE):
                while simulator.statistics().connections:
                    await asyncio.sleep(0)
        stats = simulator.statistics()
        assert (stats.max_connections, stats.opened_connections, stats.rejected_connections) == (1, 3, 0)


async def test_silent_connections_count_against_the_limit_and_surplus_ones_are_closed() -> None:
    async with Simulator(SimulatorConfig(connection_limit=2)) as simulator, Clients(simulator) as clients:
        for _ in range(2):
            await clients.connect()
        surplus, _ = await clients.connect()
        assert await surplus.read() == b""
        assert await clients.ask() == b""
        assert simulator.statistics().rejected_connections == 2


async def test_each_address_has_its_own_limit() -> None:
    async with Simulator(SimulatorConfig(connection_limit=1)) as simulator, Clients(simulator) as clients:
        addresses = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
        answers = [await clients.ask(address=address) for address in addresses]
        assert answers == [b"HTTP/1.1 200 OK\r\n"] * 3
        assert simulator.statistics().max_connections == 3


async def test_administrators_get_in_when_the_limit_is_reached_and_count_nowhere() -> None:
    async with Simulator(SimulatorConfig(connection_limit=1)) as simulator, Clients(simulator) as clients:
        await clients.ask()
        admin = b"GET /sim/stats HTTP/1.1\r\nHost: x\r\n\r\n"
        assert [await clients.ask(admin) for _ in range(3)] == [b"HTTP/1.1 200 OK\r\n"] * 3
        stats = simulator.statistics()
        assert (stats.max_connections, stats.connections, stats.rejected_connections) == (1, 1, 0)
        assert stats.requests == 1


async def test_an_open_administrators_connection_takes_no_place() -> None:
    async with Simulator(SimulatorConfig(connection_limit=1)) as simulator, Clients(simulator) as clients:
        admin = b"GET /sim/stats HTTP/1.1\r\nHost: x\r\n\r\n"
        assert [await clients.ask(request) for request in (admin, ME)] == [b"HTTP/1.1 200 OK\r\n"] * 2


async def test_an_administrators_connection_counts_once_it_asks_the_gateway() -> None:
    async with Simulator() as simulator, aiohttp.ClientSession(headers=TOKEN) as client:
        await get(client, f"{simulator.url}/sim/stats")
        assert simulator.statistics().connections == 0
        await get(client, f"{simulator.url}/rest/me")
        assert simulator.statistics().connections == 1
        assert simulator.statistics().max_connections == 1


async def test_the_most_requests_in_a_second_are_counted() -> None:
    async with Simulator() as simulator, aiohttp.ClientSession(headers=TOKEN) as client:
        await asyncio.gather(*(get(client, f"{simulator.url}/rest/me") for _ in range(30)))
        stats = simulator.statistics()
        assert stats.requests == 30
        assert stats.by_action == {"balance": 30}
        assert 1 <= stats.max_requests_per_second <= 30


async def test_the_gateway_can_throttle_by_itself() -> None:
    config = SimulatorConfig(requests_per_second=5.0)
    async with Simulator(config) as simulator, aiohttp.ClientSession(headers=TOKEN) as client:

        async def ask() -> tuple[int, str | None]:
            async with client.get(f"{simulator.url}/rest/me") as response:
                return response.status, response.headers.get("Retry-After")

        async with asyncio.timeout(PATIENCE):
            while simulator.statistics().throttled == 0:
                answers = await asyncio.gather(*(ask() for _ in range(20)))
        assert (429, "1") in answers
        assert (200, None) in answers


async def test_polls_are_counted_with_time_and_answer_and_apart_after_the_final_state() -> None:
    async with Simulator(SimulatorConfig(population=AT_ONCE)) as simulator:
        before = simulator.now()
        simulator.truth.add(5, recipients=2, steps=[Step(0.0, "DELIVERED")])
        async with aiohttp.ClientSession(headers=TOKEN) as client:
            for _ in range(3):
                await get(client, f"{simulator.url}/rest/mtsms/5")
        record = simulator.record(5)
        assert (record.polls, record.polls_after_final) == (3, 2)
        assert record.answers == {"DELIVERED=2": 3}
        times = [at for at, _ in record.poll_log]
        assert before <= times[0] <= times[1] <= times[2] <= simulator.now()
        assert record.final_told_at is not None
        assert record.final_told_at <= times[1]
        assert simulator.statistics().polls_after_final == 2
        assert all(recipient.told_final for recipient in record.recipients)


async def test_polls_are_not_after_the_final_state_while_one_recipient_is_pending() -> None:
    async with Simulator(SimulatorConfig(population=AT_ONCE)) as simulator:
        simulator.truth.add(5, recipients=2, steps=[Step(0.0, "ENROUTE")])
        async with aiohttp.ClientSession(headers=TOKEN) as client:
            for _ in range(3):
                await get(client, f"{simulator.url}/rest/mtsms/5")
        record = simulator.record(5)
        assert (record.polls, record.polls_after_final, record.final_told_at) == (3, 0, None)


async def test_the_poll_log_is_bounded_and_the_counts_are_not() -> None:
    config = SimulatorConfig(population=AT_ONCE, poll_log=2)
    async with Simulator(config) as simulator, aiohttp.ClientSession(headers=TOKEN) as client:
        simulator.truth.add(5)
        for _ in range(5):
            await get(client, f"{simulator.url}/rest/mtsms/5")
        record = simulator.record(5)
        assert (len(record.poll_log), record.polls, sum(record.answers.values())) == (2, 5, 5)


async def test_unknown_messages_are_counted_apart() -> None:
    async with Simulator() as simulator, aiohttp.ClientSession(headers=TOKEN) as client:
        async with client.get(f"{simulator.url}/rest/mtsms/77") as response:
            assert response.status == 404
        stats = simulator.statistics()
        assert (stats.polls_unknown, stats.messages) == (1, 0)


async def test_truth_and_counts_over_http_are_those_of_python() -> None:
    config = SimulatorConfig(population=Population(visibility_median=0.0, any_id=True, recipients=(1, 4)))
    async with Simulator(config) as simulator, aiohttp.ClientSession(headers=TOKEN) as client:
        for message_id in range(1, 451):
            await get(client, f"{simulator.url}/rest/mtsms/{message_id}")
        one = await get(client, f"{simulator.url}/sim/truth/7")
        assert msgspec.convert(one, MessageRecord).id == 7
        async with client.get(f"{simulator.url}/sim/truth") as response:
            rows = [msgspec.json.decode(line, type=MessageRecord) async for line in response.content]
        assert [lasting(row) for row in rows] == [lasting(record) for record in simulator.records()]
        stats = msgspec.convert(await get(client, f"{simulator.url}/sim/stats"), StatsRecord)
        assert (stats.reads, stats.messages, stats.by_status) == (450, 450, {"200": 450})


async def test_messages_are_added_over_http_with_their_fate() -> None:
    sent_at = time.time() - 1000
    message = {"id": 9, "recipients": [4520000001], "sent_at": sent_at, "steps": [[5, "EXPIRED", 4115]]}
    async with Simulator() as simulator, aiohttp.ClientSession(headers=TOKEN) as client:
        url = f"{simulator.url}/sim/messages"
        assert await post(client, url, json=[message, {"recipients": 3}]) == (200, {"ids": [9, 421332671]})
        body = await get(client, f"{simulator.url}/rest/mtsms/9")
        assert body[0]["recipients"][0]["dsnstatus"] == "EXPIRED"
        assert body[0]["recipients"][0]["dsnerrorcode"] == "0x1013"
        assert body[0]["recipients"][0]["dsntime"] == sent_at + 5
        status, error = await post(client, url, json=message)
        assert (status, "taken" in error["error"]) == (400, True)


@pytest.mark.parametrize(
    "body",
    [
        {"json": ["500:0.5", "reset:next=1"]},
        {"json": {"faults": ["500:0.5", "reset:next=1"]}},
        {"data": "500:0.5\nreset:next=1\n"},
    ],
)
async def test_faults_are_set_over_http_in_three_forms(body: dict[str, Any]) -> None:
    async with Simulator() as simulator, aiohttp.ClientSession() as client:
        status, _ = await post(client, f"{simulator.url}/sim/faults", **body)
        assert status == 200
        assert [(f.kind, f.probability, f.times) for f in simulator.faults.active] == [
            ("500", 0.5, None),
            ("reset", 1.0, 1),
        ]
        status, error = await post(client, f"{simulator.url}/sim/faults", json=["banana"])
        assert status == 400
        assert "banana" in error["error"]
        assert len(await get(client, f"{simulator.url}/sim/faults")) == 2


async def test_credit_and_counts_can_be_set_over_http() -> None:
    async with Simulator() as simulator, aiohttp.ClientSession(headers=TOKEN) as client:
        assert (await post(client, f"{simulator.url}/sim/credit", json={"credit": 3.5}))[0] == 200
        assert (await get(client, f"{simulator.url}/rest/me"))["credit"] == 3.5
        assert (await post(client, f"{simulator.url}/sim/stats/reset"))[0] == 200
        stats = simulator.statistics()
        assert (stats.requests, stats.max_requests_per_second, stats.max_connections) == (0, 0, 1)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/sim/truth/99", 404),
        ("GET", "/sim/truth/abc", 400),
        ("GET", "/sim/nothing", 404),
        ("POST", "/sim/nothing", 404),
        ("POST", "/sim/credit", 400),
        ("POST", "/sim/messages", 400),
    ],
)
async def test_the_admin_prefix_refuses_what_it_does_not_know(method: str, path: str, status: int) -> None:
    async with (
        Simulator() as simulator,
        aiohttp.ClientSession() as client,
        client.request(method, simulator.url + path) as response,
    ):
        assert response.status == status
        assert "error" in await response.json()


async def test_serve_runs_until_it_is_stopped_and_returns_the_counts() -> None:
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(SimulatorConfig(), stop=stop, ready=listening.set_result))
    simulator = await listening
    async with aiohttp.ClientSession(headers=TOKEN) as client:
        await get(client, f"{simulator.url}/rest/me")
    stop.set()
    assert (await task).requests == 1


async def test_the_address_is_known_only_while_it_runs() -> None:
    simulator = Simulator()
    with pytest.raises(RuntimeError, match="call start"):
        _ = simulator.url
    async with simulator:
        assert simulator.url == f"http://127.0.0.1:{simulator.port}"
