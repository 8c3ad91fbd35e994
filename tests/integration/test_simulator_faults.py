"""Every fault as a client meets it, over real sockets."""

import asyncio
import gzip
import json
import zlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import pytest

from pollerd.simulator import (
    DEMO_CREDENTIAL,
    KINDS,
    Population,
    Simulator,
    SimulatorConfig,
    Step,
    parse_fault,
)
from tests.acceptance.waiting import PATIENCE

TOKEN = {"Authorization": f"Token {DEMO_CREDENTIAL}"}
ID = 5


def gateway(*faults: str) -> Simulator:
    config = SimulatorConfig(
        faults=tuple(parse_fault(text) for text in faults), population=Population(visibility_median=0.0)
    )
    simulator = Simulator(config)
    simulator.truth.add(ID, recipients=[4520000001], steps=[Step(0.0, "DELIVERED")])
    return simulator


async def fetch(simulator: Simulator, *, unpack: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one reading request, redirects not followed."""
    async with (
        aiohttp.ClientSession(headers=TOKEN, auto_decompress=unpack) as client,
        client.get(f"{simulator.url}/rest/mtsms/{ID}", allow_redirects=False) as response,
    ):
        return response.status, dict(response.headers), await response.read()


async def raw(simulator: Simulator) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which one reading request has been written."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    token = TOKEN["Authorization"]
    writer.write(f"GET /rest/mtsms/{ID} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode())
    return reader, writer


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        return


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503, 599])
async def test_an_error_of_the_gateway_has_the_vendors_body(status: int) -> None:
    async with gateway(f"{status}") as simulator:
        answered, headers, body = await fetch(simulator)
        assert answered == status
        assert headers["Content-Type"] == "application/json"
        assert "Retry-After" not in headers
        error = json.loads(body)
        assert {"incident_uuid", "message"} <= set(error)
        assert ("code" in error) == (status in {401, 403})


@pytest.mark.parametrize("status", [407, 502, 504])
async def test_an_error_of_a_proxy_is_html(status: int) -> None:
    async with gateway(f"{status}") as simulator:
        answered, headers, body = await fetch(simulator)
        assert answered == status
        assert headers["Content-Type"].startswith("text/html")
        assert body.startswith(b"<html>")
        assert ("Proxy-Authenticate" in headers) == (status == 407)


@pytest.mark.parametrize(
    ("form", "kind", "begins"),
    [
        ("vendor", "application/json", b'{"'),
        ("text", "text/plain", b"404 not found"),
        ("empty", "", b""),
        ("html", "text/html", b"<html>"),
        ("json", "application/json", b'{"message"'),
    ],
)
async def test_who_wrote_an_error_shows_in_its_body(form: str, kind: str, begins: bytes) -> None:
    async with gateway(f"404:form={form}") as simulator:
        answered, headers, body = await fetch(simulator)
        assert answered == 404
        assert headers.get("Content-Type", "").startswith(kind)
        assert body.startswith(begins)
        assert (b"incident_uuid" in body) == (form == "vendor")


async def test_a_share_of_connections_and_of_time() -> None:
    async with gateway("500:0.5:by=connection") as simulator:
        met = []
        async with aiohttp.ClientSession() as kept:
            for _ in range(5):
                async with kept.get(f"{simulator.url}/rest/me", headers=TOKEN) as response:
                    met.append(response.status)
        assert len(set(met)) == 1, "one connection, one fate"
        others = {(await fetch(simulator))[0] for _ in range(20)}
        assert others == {200, 500}
        simulator.faults.set("500:0.5:by=0.2")
        changes, before = 0, (await fetch(simulator))[0]
        while changes < 4:
            now = (await fetch(simulator))[0]
            changes += now != before
            before = now


@pytest.mark.parametrize("value", ["5", "-5", "99999999999", "soon", "1.5"])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_sent_as_written(status: int, value: str) -> None:
    async with gateway(f"{status}:retry_after={value}") as simulator:
        answered, headers, _ = await fetch(simulator)
        assert (answered, headers["Retry-After"]) == (status, value)


async def test_retry_after_can_be_a_date() -> None:
    async with gateway("429:retry_after=date+3600") as simulator:
        _, headers, _ = await fetch(simulator)
        ahead = parsedate_to_datetime(headers["Retry-After"]) - datetime.now(UTC)
        assert 3000 < ahead.total_seconds() < 3601


async def test_reset_is_a_real_reset() -> None:
    async with gateway("reset") as simulator:
        reader, writer = await raw(simulator)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await close(writer)


@pytest.mark.parametrize("fault", ["drop", "hang:seconds=0.01"])
async def test_a_dropped_or_hung_request_ends_without_a_byte(fault: str) -> None:
    async with gateway(fault) as simulator:
        reader, writer = await raw(simulator)
        assert await reader.read() == b""
        await close(writer)


async def test_hanging_ends_with_the_client_and_frees_the_connection() -> None:
    async with gateway("hang") as simulator:
        reader, writer = await raw(simulator)
        async with asyncio.timeout(PATIENCE):
            while simulator.statistics().by_fault != {"hang": 1}:
                await asyncio.sleep(0)
            await close(writer)
            while simulator.statistics().connections:
                await asyncio.sleep(0)
        assert await reader.read() == b""


@pytest.mark.parametrize("fault", ["hang", "drip:seconds=100", "huge:size=5000000000", "slow:seconds=1000"])
async def test_stopping_does_not_wait_for_a_slow_answer(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    simulator = gateway(fault)
    await simulator.start()
    _, writer = await raw(simulator)
    async with asyncio.timeout(PATIENCE):
        while not simulator.statistics().by_fault:
            await asyncio.sleep(0)
        await simulator.stop()
    await close(writer)
    assert caplog.records == []


async def test_stopping_twice_is_harmless_and_frees_the_port() -> None:
    simulator = gateway()
    await simulator.start()
    port = simulator.port
    await simulator.stop()
    await simulator.stop()
    async with Simulator(SimulatorConfig(port=port)) as second:
        assert second.port == port


async def test_drip_sends_the_right_answer_byte_by_byte() -> None:
    async with gateway("drip:seconds=0") as simulator:
        answered, _, body = await fetch(simulator)
        assert answered == 200
        assert json.loads(body)[0]["id"] == ID


async def test_drip_pauses_after_each_byte() -> None:
    async with gateway("drip:seconds=1000") as simulator:
        reader, writer = await raw(simulator)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: " in head
        assert await reader.readexactly(1) == b"["
        await simulator.stop()
        assert await reader.read() == b""
        await close(writer)


async def test_an_answer_that_is_merely_late_still_goes_out_when_stopping() -> None:
    async with gateway("slow:seconds=1000") as simulator, asyncio.timeout(PATIENCE):
        reader, writer = await raw(simulator)
        while not simulator.statistics().by_fault:
            await asyncio.sleep(0)
        await simulator.stop()
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        await close(writer)


async def test_slow_is_right_and_counts_as_reported() -> None:
    async with gateway("slow:seconds=0.01") as simulator:
        answered, _, body = await fetch(simulator)
        assert answered == 200
        assert json.loads(body)[0]["recipients"][0]["dsnstatus"] == "DELIVERED"
        assert simulator.record(ID).answers == {"DELIVERED=1": 1}


async def test_a_captive_portal_answers_200_with_html() -> None:
    async with gateway("html") as simulator:
        answered, headers, body = await fetch(simulator)
        assert answered == 200
        assert headers["Content-Type"].startswith("text/html")
        assert b"sign in" in body


async def test_truncated_json_is_a_whole_http_answer_that_does_not_parse() -> None:
    async with gateway("truncated") as simulator:
        answered, _, body = await fetch(simulator)
        assert answered == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)


async def test_a_cut_answer_ends_before_its_length() -> None:
    async with gateway("cut") as simulator:
        with pytest.raises(aiohttp.ClientPayloadError):
            await fetch(simulator)


async def test_wrong_json_parses_and_is_never_the_message() -> None:
    async with gateway("wrong_json") as simulator:
        bodies = [(await fetch(simulator))[2] for _ in range(16)]
    assert len(set(bodies)) == 8
    for body in bodies:
        decoded = json.loads(body)
        first = decoded[0] if isinstance(decoded, list) and decoded else decoded
        assert not (isinstance(first, dict) and first.get("id") == ID)


async def test_a_redirect_leads_to_the_other_host_with_the_same_path() -> None:
    async with gateway("redirect:to=http://other.example:81/") as simulator:
        answered, headers, _ = await fetch(simulator)
        assert answered == 302
        assert headers["Location"] == f"http://other.example:81/rest/mtsms/{ID}"


async def test_a_gzip_bomb_is_small_on_the_wire_and_huge_unpacked() -> None:
    async with gateway("gzip_bomb") as simulator:
        answered, headers, body = await fetch(simulator, unpack=False)
    assert answered == 200
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 300_000
    unpacker, unpacked, rest = zlib.decompressobj(31), 0, body
    while rest and not unpacker.eof:
        unpacked += len(unpacker.decompress(rest, 8_000_000))
        rest = unpacker.unconsumed_tail
    assert unpacker.eof
    assert 199_000_000 < unpacked < 201_000_000


async def test_a_small_gzip_bomb_is_sound_gzip_and_json() -> None:
    async with gateway("gzip_bomb:size=3000000") as simulator:
        _, _, body = await fetch(simulator, unpack=False)
    assert json.loads(gzip.decompress(body)) == [{}]


async def test_an_empty_body() -> None:
    async with gateway("empty") as simulator:
        answered, _, body = await fetch(simulator)
        assert (answered, body) == (200, b"")


async def test_a_huge_body_has_the_size_asked_for() -> None:
    async with gateway("huge:size=3000001") as simulator:
        answered, _, body = await fetch(simulator)
        assert (answered, len(body)) == (200, 3_000_001)


async def test_faults_are_counted_by_kind_and_noted_for_the_message_but_show_nothing() -> None:
    async with gateway("500:next=2", "truncated:next=1") as simulator:
        answers = [(await fetch(simulator))[0] for _ in range(5)]
        record, stats = simulator.record(ID), simulator.statistics()
    assert answers == [500, 500, 200, 200, 200]
    assert stats.by_fault == {"500": 2, "truncated": 1}
    assert record.answers == {"fault:500": 2, "fault:truncated": 1, "DELIVERED=1": 2}
    assert [text for _, text in record.poll_log] == ["fault:500"] * 2 + ["fault:truncated"] + ["DELIVERED=1"] * 2
    assert (record.polls, record.polls_after_final) == (5, 1)


async def test_faults_change_while_it_runs_and_concern_only_what_they_name() -> None:
    async with gateway() as simulator:
        simulator.faults.set("503:ids=6", "401:on=balance")
        assert (await fetch(simulator))[0] == 200
        async with aiohttp.ClientSession(headers=TOKEN) as client:
            for path, status in (("mtsms/6", 503), ("me", 401)):
                async with client.get(f"{simulator.url}/rest/{path}") as response:
                    assert response.status == status
        simulator.faults.set("500")
        assert (await fetch(simulator))[0] == 500
        simulator.faults.set()
        assert (await fetch(simulator))[0] == 200


async def test_a_fault_ends_with_its_time_window() -> None:
    async with gateway("500:until=0.05") as simulator, asyncio.timeout(PATIENCE):
        while (await fetch(simulator))[0] != 200:
            await asyncio.sleep(0)
        assert simulator.statistics().by_status["200"] == 1


async def test_an_outage_keeps_a_message_pending_until_it_ends() -> None:
    simulator = Simulator(SimulatorConfig(speed=1000.0, population=Population(visibility_median=0.0)))
    async with simulator, asyncio.timeout(PATIENCE):
        simulator.faults.set("outage:operator=238/01", "outage:operator=238/02", "outage:operator=238/20")
        simulator.truth.add(ID, recipients=[4520000001], steps=[Step(0.0, "ENROUTE"), Step(10.0, "DELIVERED")])
        assert simulator.record(ID).recipients[0].final is None
        assert b"ENROUTE" in (await fetch(simulator))[2]
        simulator.faults.set()
        while b"DELIVERED" not in (await fetch(simulator))[2]:
            await asyncio.sleep(0)


def test_every_kind_has_a_test_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f'"{kind}' not in text] == []
