"""`pollerd doctor` where the way to the gateway, its certificate, the clock, the token or the credit is wrong."""

from __future__ import annotations

import asyncio
import json
import ssl
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest
import trustme

from pollerd.simulator import DEMO_CREDENTIAL, Credentials, Simulator, SimulatorConfig, parse_fault
from tests.acceptance.deployment import Deployment
from tests.acceptance.doctor_kit import doctor, free_port
from tests.acceptance.waiting import until
from tests.certificates_kit import FLAWS, REFUSED, flawed
from tests.integration.gateway_kit import raw_server, response

ME = b'{"credit": 12.5, "currency": "DKK", "id": 1}'


async def test_a_token_that_is_refused(healthy: Deployment, gateway: Simulator) -> None:
    (healthy.folder / "token").write_text("not-the-right-one-at-all\n")
    seen = await doctor(healthy)
    assert (seen.code, seen.failures) == (1, {"default: token"})
    assert "401 (0x" in seen.evidence("default: token")
    assert str(healthy.folder / "token") in seen.next_step("default: token")
    assert "not-the-right-one-at-all" not in json.dumps(seen.document)
    assert gateway.statistics().requests == 1, "asked once, and nobody else"


async def test_an_account_that_may_not_be_used_from_here(tmp_path: Path) -> None:
    body = b'{"code": "0x0213", "message": "Unauthorized IP-address: %1", "variables": ["192.0.2.7"]}'
    answer = response(body, "403 Forbidden", "Content-Type: application/json")
    async with raw_server(answer) as server:
        seen = await doctor(Deployment(tmp_path, server.url()))
    assert seen.failures == {"default: token"}
    assert "Unauthorized IP-address: 192.0.2.7" in seen.evidence("default: token")
    assert "dashboard" in seen.next_step("default: token")


async def test_tls_that_is_opened_by_somebody_in_between(tmp_path: Path) -> None:
    authority = trustme.CA(organization_name="Corp Proxy")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with Simulator(SimulatorConfig(ssl_context=context)) as gateway:
        deployment = Deployment(tmp_path, gateway)
        seen = await doctor(deployment)
        assert (seen.code, seen.failures) == (1, {"default: tls"})
        assert "O=Corp Proxy" in seen.evidence("default: tls")
        assert "ca_file" in seen.next_step("default: tls")
        assert gateway.statistics().requests == 0, "no token over a connection that is not trusted"

        authority.cert_pem.write_to_path(str(tmp_path / "corp.pem"))
        text = deployment.config.read_text()
        deployment.config.write_text(text.replace("[limits]", f'ca_file = "{tmp_path / "corp.pem"}"\n[limits]'))
        seen = await doctor(deployment)
        assert (seen.code, seen.failures) == (0, set())
        assert "issued by" in seen.evidence("default: tls")


@pytest.mark.parametrize("flaw", FLAWS)
async def test_a_private_authority_that_newer_pythons_refuse(tmp_path: Path, flaw: str) -> None:
    """What is wrong with it and how it is made right; from Python 3.13 on a failure, before that a warning."""
    ca_file, context = flawed(flaw, tmp_path)
    async with Simulator(SimulatorConfig(ssl_context=context)) as gateway:
        deployment = Deployment(tmp_path, gateway)
        text = deployment.config.read_text()
        deployment.config.write_text(text.replace("[limits]", f'ca_file = "{ca_file}"\n[limits]'))
        seen = await doctor(deployment)
    assert seen.level("default: tls") == ("failure" if REFUSED else "warning")
    assert seen.code == int(REFUSED)
    assert flaw in seen.evidence("default: tls")
    assert f"have it issued again with {flaw} = " in seen.next_step("default: tls")
    assert f"goes into {ca_file}" in seen.next_step("default: tls")


@pytest.mark.parametrize(("off", "level", "code"), [(-600, "failure", 1), (600, "failure", 1), (20, "warning", 0)])
async def test_a_clock_that_is_wrong(tmp_path: Path, off: int, level: str, code: int) -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        date = formatdate(time() - off, usegmt=True)
        writer.write(response(ME, "200 OK", "Content-Type: application/json", f"Date: {date}"))

    async with raw_server(answer) as server:
        seen = await doctor(Deployment(tmp_path, server.url()))
    assert (seen.code, seen.level("default: clock")) == (code, level)
    assert ("ahead of" if off > 0 else "behind") in seen.evidence("default: clock")
    assert "timedatectl" in seen.next_step("default: clock")


async def test_a_gateway_that_cannot_be_reached(tmp_path: Path) -> None:
    seen = await doctor(Deployment(tmp_path, f"http://127.0.0.1:{free_port()}"))
    assert (seen.code, seen.failures) == (1, {"default: connection"})
    assert "refused" in seen.evidence("default: connection")


async def test_a_name_that_does_not_exist(tmp_path: Path) -> None:
    seen = await doctor(Deployment(tmp_path, "https://no-such-host.invalid"))
    assert (seen.code, seen.failures) == (1, {"default: dns"})
    assert "/etc/resolv.conf" in seen.next_step("default: dns")


async def test_a_gateway_that_never_answers_does_not_hang_the_doctor(tmp_path: Path) -> None:
    async def silence(_: bytes, writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    async with raw_server(silence) as server:
        seen = await doctor(Deployment(tmp_path, server.url()))
    assert seen.failures == {"default: gateway"}
    assert "timeout" in seen.evidence("default: gateway")


@pytest.mark.parametrize(
    ("status", "says", "do"),
    [
        (
            "407 Proxy Authentication Required",
            "407 Proxy Authentication Required",
            'in [accounts.default] proxy = "http://USER:PASSWORD@',
        ),
        ("403 Forbidden", "403 Forbidden", "allow CONNECT"),
    ],
)
async def test_a_proxy_that_refuses(tmp_path: Path, status: str, says: str, do: str) -> None:
    async with raw_server(response(b"", status)) as proxy:
        deployment = Deployment(tmp_path, "https://gateway.invalid")
        seen = await doctor(deployment, {"HTTPS_PROXY": proxy.url()})
    assert (seen.code, seen.failures) == (1, {"default: proxy"})
    assert says in seen.evidence("default: proxy")
    assert "$HTTPS_PROXY" in seen.evidence("default: proxy")
    assert do in seen.next_step("default: proxy")
    assert proxy.heads[0].startswith(b"CONNECT gateway.invalid:443 ")
    assert all(b"Authorization: Token" not in head for head in proxy.heads)


async def test_the_password_of_a_proxy_is_never_shown(tmp_path: Path) -> None:
    async with raw_server(response(b"", "407 No")) as proxy:
        deployment = Deployment(tmp_path, "https://gateway.invalid")
        text = deployment.config.read_text()
        url = f"http://alice:hunter2-hunter2@127.0.0.1:{proxy.port}"
        deployment.config.write_text(text.replace("[limits]", f'proxy = "{url}"\n[limits]'))
        seen = await doctor(deployment)
    assert seen.failures == {"default: proxy"}
    assert "percent-encoded (%40 for @" in seen.next_step("default: proxy")
    assert "hunter2" not in json.dumps(seen.document)
    assert "accounts.default.proxy" in seen.evidence("default: proxy")


async def test_a_busy_gateway_is_no_failure(tmp_path: Path) -> None:
    async with Simulator(SimulatorConfig(faults=(parse_fault("503"),))) as gateway:
        seen = await doctor(Deployment(tmp_path, gateway))
    assert (seen.code, seen.level("default: token")) == (0, "warning")


async def test_credit_and_connections_that_run_short(tmp_path: Path) -> None:
    async with Simulator(SimulatorConfig(credit=3.0)) as gateway:
        more = f"""[credit]
warn_below = 100.0
[accounts.second]
base_url = "{gateway.url}"
token = "{DEMO_CREDENTIAL}"
"""
        deployment = Deployment(tmp_path, gateway, more=more, limits="max_connections = 30")
        deployment.config.chmod(0o600)
        seen = await doctor(deployment)
    assert seen.code == 0
    assert seen.level("default: balance") == seen.level("second: balance") == "warning"
    assert "up to 60 of the 40" in seen.evidence("connections")


async def test_a_hold_of_the_running_daemon_is_reported(tmp_path: Path) -> None:
    async with Simulator(SimulatorConfig(credentials=Credentials(tokens=frozenset({"one"})))) as gateway:
        deployment = Deployment(tmp_path, gateway)
        (tmp_path / "token").write_text("two\n")
        async with deployment:
            await deployment.start()
            deployment.insert([7])
            await until(
                lambda: deployment.query("SELECT 1 FROM accounts WHERE held_reason IS NOT NULL"), "a hold is stored"
            )
            seen = await doctor(deployment)
    assert "default: token" in seen.failures
    assert "unauthorized" in seen.evidence("default: polling")
