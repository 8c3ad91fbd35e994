"""The client against real sockets: what it sends, what it makes of every answer, what it costs."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import random
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from pollerd.config import BasicAuth, FileSecret, OAuth1, Origin, SecretKind, TokenAuth
from pollerd.core.model import Answer, HoldReason, Message, NotFound, Rejected, Trouble
from pollerd.core.ports import Balance, Gateway
from pollerd.gateway.body import MAX_WIRE_BYTES
from tests.integration.gateway_kit import (
    GOOD,
    ID,
    TOKEN,
    Clock,
    account,
    client,
    gateway_client,
    message,
    raw_server,
    response,
    secret,
    until,
)


class Ahead:
    """A gateway's clock that is set."""

    ahead = 0.0

    def heard(self, headers: Mapping[str, str]) -> None:
        """Its dates are not asked for."""


# -- asking


async def test_one_request_as_the_vendor_wants_it() -> None:
    async with raw_server(GOOD) as server, client(server.url()) as gateway:
        port: Gateway = gateway
        outcome = await port.read(ID)
        assert isinstance(outcome, Answer)
        assert outcome.recipients[0].msisdn == 4587654321
        assert server.heads[0].startswith(f"GET /rest/mtsms/{ID} HTTP/1.1\r\n".encode())
        headers = server.headers()
        assert headers["authorization"] == f"Token {TOKEN}"
        assert headers["user-agent"].startswith("pollerd/0.")
        assert headers["accept"] == "application/json"


def stored(answer: Answer) -> Message:
    """A message with all that an answer says, and a userref of its own: no decoded answer has that one."""
    return Message(
        ID,
        "default",
        0.0,
        0.0,
        userref="own",
        sendtime=answer.sendtime,
        validity=answer.validity,
        recipients=answer.recipients,
        priority=answer.priority,
    )


async def test_the_same_body_once_more_is_not_decoded() -> None:
    bodies = [
        message(),
        message(),
        message(),
        message(status="ENROUTE"),
        message(userref=["damaged"]),
        message(userref=["damaged"]),
    ]
    answers = iter(bodies)

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(response(next(answers)))

    async with raw_server(handler) as server, client(server.url()) as gateway:
        first = await gateway.read(ID, Message(ID, "default", 0.0, 0.0, userref="own"))
        assert isinstance(first, Answer)
        known = stored(first)
        assert await gateway.read(ID, known) == Answer.again(known, 0.0) != first
        anew = msgspec.structs.replace(known, recipients=())
        assert await gateway.read(ID, anew) == first, "deleted and handed over once more"
        other = await gateway.read(ID, known)
        assert isinstance(other, Answer)
        assert (other.recipients[0].status, other.userref) == ("ENROUTE", first.userref)
        for _ in range(2):
            damaged = await gateway.read(ID, known)
            assert isinstance(damaged, Answer)
            assert damaged.unusable == (("userref", 1),)


async def test_the_same_body_by_a_clock_that_was_set_is_decoded() -> None:
    time = Ahead()
    async with raw_server(GOOD) as server, client(server.url(), time=time) as gateway:
        first = await gateway.read(ID)
        assert isinstance(first, Answer)
        known = stored(first)
        await gateway.read(ID, known)
        time.ahead = 3600.0
        second = await gateway.read(ID, known)
        assert isinstance(second, Answer)
        assert (second.userref, second.ahead) == (first.userref, 3600.0)


async def test_basic_authentication() -> None:
    auth = BasicAuth("joe", secret("pässword", SecretKind.PASSWORD))
    async with raw_server(GOOD) as server, client(account(server.url(), auth=auth)) as gateway:
        await gateway.read(ID)
        assert server.headers()["authorization"] == "Basic am9lOnDDpHNzd29yZA=="


async def test_oauth_signs_each_request() -> None:
    auth = OAuth1("the-key", secret("the-secret", SecretKind.PASSWORD))
    async with raw_server(GOOD) as server, client(account(server.url(), auth=auth)) as gateway:
        await gateway.read(ID)
        await gateway.read(ID)
        first, second = server.headers(0)["authorization"], server.headers(1)["authorization"]
        assert first.startswith("OAuth ")
        for part in ('oauth_consumer_key="the-key"', 'oauth_signature_method="HMAC-SHA1"', 'oauth_version="1.0"'):
            assert part in first
        assert "oauth_token" not in first
        assert first != second
        assert "the-secret" not in first


async def test_the_secret_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    auth = TokenAuth(FileSecret(file, SecretKind.TOKEN, Origin("test", "token_file")))
    async with raw_server(GOOD) as server, client(account(server.url(), auth=auth)) as gateway:
        await gateway.read(ID)
        assert not gateway.reload_credentials(), "nothing changed"
        file.unlink()
        assert not gateway.reload_credentials(), "a missing file keeps the last secret"
        file.write_text("two\nlines\n")
        assert not gateway.reload_credentials(), "a bad file keeps the last secret"
        await gateway.read(ID)
        file.write_text("second-token\n")
        assert gateway.reload_credentials()
        await gateway.read(ID)
        assert [server.headers(i)["authorization"] for i in range(3)] == [
            "Token first-token",
            "Token first-token",
            "Token second-token",
        ]


async def test_balance() -> None:
    answer = response(b'{"credit": 12.5, "currency": "DKK", "id": 1}')
    async with raw_server(answer) as server, client(server.url()) as gateway:
        assert await gateway.balance() == Balance(12.5, "DKK")
        assert server.paths == ["/rest/me"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (response(b"", "404 Not Found"), "foreign_404"),
        (response(b'{"incident_uuid": "x"}', "404 Not Found"), "http_404"),
        (response(b'{"incident_uuid": "x"}', "400 Bad"), "http_400"),
        (response(b"[]"), "undecodable"),
        (response(b"", "401 Who"), "http_401"),
        (response(b"", "200 OK", length=MAX_WIRE_BYTES + 1), "too_large"),
    ],
)
async def test_a_balance_is_never_anything_but_a_balance_or_trouble(answer: bytes, kind: str) -> None:
    async with raw_server(answer) as server, client(server.url()) as gateway:
        outcome = await gateway.balance()
        assert isinstance(outcome, Trouble)
        assert outcome.kind == kind


async def test_a_base_url_with_a_path_keeps_it() -> None:
    async with raw_server(GOOD) as server, client(server.url() + "/behind/proxy/") as gateway:
        await gateway.read(ID)
        assert server.paths == [f"/behind/proxy/rest/mtsms/{ID}"]


# -- answers that are complete


@pytest.mark.parametrize(
    ("why", "answer", "kind"),
    [
        ("a redirect is not followed", response(b"", "302 Found", "Location: http://127.0.0.1:1/steal"), "redirect"),
        ("a portal's page", response(b"<html>log in", "200 OK", "Content-Type: text/html"), "captive_portal"),
        ("nothing at all", response(b""), "empty"),
        ("server trouble", response(b"<html>", "502 Bad Gateway", "Content-Type: text/html"), "http_502"),
        ("forbidden", response(b'{"code":"0x0213"}', "403 Forbidden"), "http_403"),
        ("a half body of a refusal", response(b"half", "500 Oops", length=4000), "http_500"),
    ],
)
async def test_troubles_of_a_whole_answer(why: str, answer: bytes, kind: str) -> None:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with raw_server(handler) as server, client(server.url()) as gateway:
        outcome = await gateway.read(ID)
        assert isinstance(outcome, Trouble), why
        assert outcome.kind == kind
        assert len(server.heads) == 1, "one request, never repeated in secret"


async def test_no_cookie_is_ever_sent_back() -> None:
    answer = response(message(), "200 OK", "Set-Cookie: sid=1; Path=/")
    async with raw_server(answer) as server, client(server.url(host="localhost")) as gateway:
        await gateway.read(ID)
        await gateway.read(ID)
        assert "cookie" not in server.headers()


@pytest.mark.parametrize("value", ["7", "-1", "99999999999999999999", "soon", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_retry_after_is_always_bounded(value: str) -> None:
    answer = response(b"", "429 Too Many Requests", f"Retry-After: {value}")
    async with raw_server(answer) as server, client(server.url()) as gateway:
        outcome = await gateway.read(ID)
        assert isinstance(outcome, Trouble)
        assert outcome.reason is HoldReason.THROTTLED
        assert outcome.retry_after is None or 0.0 <= outcome.retry_after <= 3600.0


async def test_packed_answers() -> None:
    packed = response(gzip.compress(message()), "200 OK", "Content-Encoding: gzip")
    async with raw_server(packed) as server, client(server.url()) as gateway:
        assert isinstance(await gateway.read(ID), Answer)


async def test_a_bomb_of_200_kilobytes() -> None:
    bomb = gzip.compress(bytes(200_000_000))
    async with (
        raw_server(response(bomb, "200 OK", "Content-Encoding: gzip")) as server,
        client(server.url()) as gateway,
    ):
        outcome = await gateway.read(ID)
        assert isinstance(outcome, Rejected)
        assert (outcome.kind, outcome.decoded) == ("too_large", False)


async def test_ten_thousand_recipients_do_not_block_the_loop_for_long() -> None:
    recipients = [
        {"msisdn": 4500000000 + i, "dsnstatus": "ENROUTE", "dsntime": 1764000042.5, "tagvalues": ["x" * 200]}
        for i in range(10_000)
    ]
    body = json.dumps([{"id": ID, "recipients": recipients}]).encode()
    async with raw_server(response(body)) as server, client(server.url()) as gateway:
        outcome = await gateway.read(ID)
        assert isinstance(outcome, Answer)
        assert len(outcome.recipients) == 10_000


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_endless_body_is_cut_off(chunked: bool) -> None:
    sent = 0

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        head = "Transfer-Encoding: chunked" if chunked else "Connection: close"
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        block = b" " * 65536
        while not writer.is_closing():
            writer.write(b"10000\r\n" + block + b"\r\n" if chunked else block)
            sent += len(block)
            await writer.drain()

    async with raw_server(handler) as server, client(server.url()) as gateway:
        outcome = await gateway.read(ID)
        assert isinstance(outcome, Rejected)
        assert outcome.kind == "too_large"
        await until(lambda: server.open == 0)
        assert sent < 2 * MAX_WIRE_BYTES + 8_000_000, "what is in the sockets' buffers, no more"


async def test_a_length_that_is_too_large_is_not_even_begun() -> None:
    answer = response(b"[", "200 OK", length=MAX_WIRE_BYTES + 1)
    async with raw_server(answer) as server, client(server.url()) as gateway:
        outcome = await gateway.read(ID)
        assert isinstance(outcome, Rejected)
        assert outcome.kind == "too_large"
        await until(lambda: server.open == 0)


# -- answers that do not come


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def cut(writer: asyncio.StreamWriter) -> None:
    writer.write(GOOD[:-20])
    writer.close()


def cut_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{"id\r\n')
    writer.close()


def wild_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[{"id\r\n')


def long_header(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("why", "act", "kind"),
    [
        ("reset", reset, "reset"),
        ("closed without a word", lambda writer: writer.close(), "disconnected"),
        ("closed in the middle of a body", cut, "truncated"),
        ("closed in the middle of chunks", cut_chunks, "truncated"),
        ("chunks that are none", wild_chunks, "malformed"),
        ("not HTTP", lambda writer: writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "malformed"),
        ("a header of 100 KB", long_header, "malformed"),
    ],
)
async def test_broken_answers(why: str, act: Callable[[asyncio.StreamWriter], None], kind: str) -> None:
    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        act(writer)

    async with raw_server(handler) as server, client(server.url()) as gateway:
        outcome = await gateway.read(ID)
        assert isinstance(outcome, Trouble), why
        assert (outcome.reason, outcome.kind) == (HoldReason.UNREACHABLE, kind)
        assert outcome.detail.startswith("127.0.0.1:")
        assert len(server.heads) == 1, "one request, never repeated in secret"


@pytest.mark.parametrize("drip", [False, True])
async def test_the_timeout_covers_everything(drip: bool) -> None:
    """A server that hangs and one that sends a byte now and then cost the same: one timeout."""
    over = asyncio.Event()

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in GOOD:
            if over.is_set():
                break
            if drip:
                writer.write(bytes([byte]))
                await writer.drain()
            await asyncio.sleep(0.1)

    async with raw_server(handler) as server, client(account(server.url(), timeout=0.5)) as gateway:
        outcome = await gateway.read(ID)
        assert isinstance(outcome, Trouble)
        assert outcome.kind == "timeout"
        over.set()
        await until(lambda: server.open == 0)


async def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with client(f"http://127.0.0.1:{held.getsockname()[1]}") as gateway:
            outcome = await gateway.read(ID)
    assert isinstance(outcome, Trouble)
    assert outcome.kind == "refused"


async def test_a_name_that_does_not_exist() -> None:
    async with client("http://gateway.invalid") as gateway:
        outcome = await gateway.read(ID)
    assert isinstance(outcome, Trouble)
    assert outcome.kind == "dns"


async def test_a_cancelled_request_frees_its_slot() -> None:
    hang = asyncio.Event()

    async def handler(_: bytes, writer: asyncio.StreamWriter) -> None:
        if len(server.heads) == 1:
            await hang.wait()
        writer.write(GOOD)

    async with raw_server(handler) as server, client(account(server.url(), max_connections=1)) as gateway:
        first = asyncio.ensure_future(gateway.read(ID))
        await until(lambda: len(server.heads) == 1)
        second = asyncio.ensure_future(gateway.read(ID))
        third = asyncio.ensure_future(gateway.read(ID))
        await asyncio.sleep(0)
        second.cancel()
        first.cancel()
        for task in (first, second):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert isinstance(await third, Answer)
        hang.set()


# -- the log


async def test_what_a_proxy_echoes_is_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    async def echo(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(response(head + b" to 4587654321 \x1b[2J" + b"." * 3000, "500 Oops"))

    with caplog.at_level(logging.DEBUG):
        async with raw_server(echo) as server, client(server.url()) as gateway:
            outcome = await gateway.read(ID)
    assert isinstance(outcome, Trouble)
    (record,) = [r for r in caplog.records if r.name == "pollerd.gateway"]
    assert record.levelno == logging.WARNING
    for text in (record.getMessage(), json.dumps(record.__dict__, default=str), outcome.detail):
        assert TOKEN not in text
        assert "4587654321" not in text
        assert "\x1b" not in text
    assert "Authorization: Token ***" in record.getMessage()
    assert record.__dict__["event"] == "gateway_answer"
    assert record.__dict__["status"] == 500


async def test_no_answer_with_a_message_in_it_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    private = json.dumps({"id": 5, "message": "do not tell", "recipients": [{"msisdn": 1}]}).encode()
    with caplog.at_level(logging.DEBUG):
        for status in ("200 OK", "500 Oops"):
            async with raw_server(response(private, status)) as server, client(server.url()) as gateway:
                assert not isinstance(await gateway.read(ID), Answer)
    assert "do not tell" not in caplog.text
    assert "wrong_message" in caplog.text


async def test_a_404_of_the_vendor_is_daily_life(caplog: pytest.LogCaptureFixture) -> None:
    body = b'{"incident_uuid": "x", "message": "Not found"}'
    answer = response(body, "404 Not Found", "Content-Type: application/json")
    with caplog.at_level(logging.DEBUG):
        async with raw_server(answer) as server, client(server.url()) as gateway:
            assert isinstance(await gateway.read(ID), NotFound)
    assert [record.levelno for record in caplog.records if record.name == "pollerd.gateway"] == [logging.DEBUG]


async def test_a_404_of_somebody_else_is_a_warning_with_its_body(caplog: pytest.LogCaptureFixture) -> None:
    answer = response(b"404 page not found", "404 Not Found", "Content-Type: text/plain")
    with caplog.at_level(logging.DEBUG):
        async with raw_server(answer) as server, client(server.url()) as gateway:
            outcome = await gateway.read(ID)
    assert isinstance(outcome, Trouble)
    (record,) = [record for record in caplog.records if record.name == "pollerd.gateway"]
    assert record.levelno == logging.WARNING
    assert "404 page not found" in record.getMessage()


def test_a_client_can_be_made_before_there_is_a_loop() -> None:
    """The composition root may build everything before anything runs."""
    assert gateway_client(account("https://gatewayapi.com"), Clock(), random.Random(1)) is not None
