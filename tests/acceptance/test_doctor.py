"""`pollerd doctor` against broken deployments, each broken for real: what it says, of what, and the exit code."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
import trustme

from pollerd.simulator import DEMO_CREDENTIAL, Credentials, Simulator, SimulatorConfig, parse_fault
from pollerd.store import schema
from tests.acceptance.deployment import COMMAND, PATIENCE, Deployment
from tests.integration.gateway_kit import raw_server, response

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user, or to mount")
NOBODY = 65534
ME = b'{"credit": 12.5, "currency": "DKK", "id": 1}'


@dataclass(frozen=True)
class Seen:
    """What the doctor said."""

    code: int
    document: dict[str, Any]

    def level(self, name: str) -> str:
        """The worst level under this name."""
        levels = {check["level"] for check in self.document["checks"] if check["name"] == name}
        return next((level for level in ("failure", "warning", "ok") if level in levels), "")

    def evidence(self, name: str) -> str:
        return "\n".join(check["evidence"] for check in self.document["checks"] if check["name"] == name)

    def next_step(self, name: str) -> str:
        return "\n".join(check["next_step"] or "" for check in self.document["checks"] if check["name"] == name)

    @property
    def failures(self) -> set[str]:
        return {check["name"] for check in self.document["checks"] if check["level"] == "failure"}


async def doctor(deployment: Deployment, *, without_rights: bool = False, **environment: str) -> Seen:
    """Run the installed command. `without_rights`: as root that may do no more than anybody else."""
    process = await asyncio.create_subprocess_exec(
        *(["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if without_rights else []),
        COMMAND,
        "doctor",
        "--json",
        "-c",
        deployment.config,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
        env={**os.environ, "NO_PROXY": "", "no_proxy": "", **environment},
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert err == b"", err.decode()
    document = json.loads(out)
    for check in document["checks"]:
        assert check["evidence"]
        assert check["next_step"] or check["level"] == "ok", check
    levels = [check["level"] for check in document["checks"]]
    assert levels == sorted(levels, key=["failure", "warning", "ok"].index), "failures first"
    return Seen(process.returncode or 0, document)


@pytest.fixture
async def gateway() -> Any:
    async with Simulator(SimulatorConfig(credit=1234.5)) as simulator:
        yield simulator


@pytest.fixture
def healthy(tmp_path: Path, gateway: Simulator) -> Deployment:
    return Deployment(tmp_path, gateway)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """All files, with size and time; SQLite's own shared index may be made anew by any reader."""
    return {
        str(path): (path.stat().st_size, 0 if path.name.endswith("-shm") else path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- nothing is broken


async def test_a_healthy_deployment_that_is_not_started(healthy: Deployment) -> None:
    seen = await doctor(healthy)
    assert (seen.code, seen.failures) == (0, set())
    assert seen.level("default: token") == "ok"
    assert "1,234.50 DKK" in seen.evidence("default: balance")
    assert "no daemon runs" in seen.evidence("daemon")
    assert not healthy.database.exists(), "nothing is made"


async def test_beside_a_running_daemon(healthy: Deployment) -> None:
    async with healthy:
        process = await healthy.start()
        healthy.insert([421_332_671])
        seen = await doctor(healthy)
        assert (seen.code, seen.failures) == (0, set())
        assert f"process {process.pid} runs" in seen.evidence("daemon")
        assert "is healthy" in seen.evidence("daemon")
        assert "takes connections" in seen.evidence("output socket")
        assert process.returncode is None
        assert await healthy.stop() == 0


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_nothing_is_touched_and_nothing_left_behind(healthy: Deployment, end: str) -> None:
    async with healthy:
        await healthy.start()
        await (healthy.stop() if end == "stop" else healthy.kill())
        before = listing(healthy.folder)
        assert (await doctor(healthy)).code == 0
        assert listing(healthy.folder) == before


def test_people_get_one_screen_with_failures_first(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, f"http://127.0.0.1:{free_port()}")
    done = subprocess.run(
        [COMMAND, "doctor", "-c", deployment.config], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0].startswith("failure")
    assert lines[1].strip().startswith("-> ")
    assert "1 failure and " in lines[-1]
    assert not any(line.endswith(" ") for line in lines)


# -- the broken ones


async def test_a_bad_configuration_is_named_whole_and_the_rest_is_looked_at(healthy: Deployment) -> None:
    healthy.config.write_text(healthy.config.read_text() + "levle = 'info'\n[limits2]\n[credit]\ncheck_every = '1x'\n")
    seen = await doctor(healthy)
    assert seen.code == 78
    told = seen.evidence("configuration")
    assert "log.levle" in told
    assert "did you mean level" in told
    assert "credit.check_every" in told
    assert "default: token" not in {check["name"] for check in seen.document["checks"]}, "limits2 may mean limits"

    healthy.config.write_text(healthy.config.read_text().replace("[limits2]\n", ""))
    seen = await doctor(healthy)
    assert seen.code == 78
    assert seen.level("database") == "ok"
    assert seen.level("default: token") == "ok"


async def test_a_file_that_is_no_toml_is_all_that_can_be_said(healthy: Deployment) -> None:
    healthy.config.write_text("[store\n")
    seen = await doctor(healthy)
    assert (seen.code, seen.failures) == (78, {"configuration"})
    assert "not valid TOML" in seen.evidence("configuration")


@AS_ROOT
async def test_a_token_file_that_the_user_may_not_read(healthy: Deployment) -> None:
    healthy.config.chmod(0o644)
    for path in (healthy.folder / "token", healthy.folder):
        os.chown(path, NOBODY, NOBODY)
    healthy.folder.chmod(0o755)
    seen = await doctor(healthy, without_rights=True)
    assert seen.code == 78
    assert "may not be read by this user" in seen.evidence("configuration")
    assert seen.level("rights") == "failure", "nor may it write where the database lies"
    assert seen.level("default: connection") == "ok", "the way to the gateway needs no token"
    assert not seen.level("default: token")


async def test_a_token_file_that_everybody_may_read(healthy: Deployment) -> None:
    (healthy.folder / "token").chmod(0o644)
    seen = await doctor(healthy)
    assert (seen.code, seen.level("secrets")) == (0, "warning")
    assert f"chmod o= {healthy.folder / 'token'}" in seen.next_step("secrets")


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


async def test_a_database_that_is_damaged(healthy: Deployment) -> None:
    connection = schema.prepare(healthy.database)
    connection.executemany("INSERT INTO messages (id) VALUES (?)", [(i,) for i in range(1, 3000)])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    raw = bytearray(healthy.database.read_bytes())
    raw[4096 * 8 : 4096 * 30] = os.urandom(4096 * 22)
    healthy.database.write_bytes(raw)
    seen = await doctor(healthy)
    assert (seen.code, seen.failures) == (1, {"database"})
    assert "damaged" in seen.evidence("database")
    assert "backup" in seen.next_step("database")


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("CREATE TABLE orders (id)", "another program"),
        (f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 9000", "schema 9000"),
    ],
)
async def test_a_database_that_is_not_ours_or_too_new(healthy: Deployment, sql: str, says: str) -> None:
    connection = sqlite3.connect(healthy.database)
    connection.executescript(sql)
    connection.close()
    seen = await doctor(healthy)
    assert (seen.code, seen.failures) == (1, {"database"})
    assert says in seen.evidence("database")


async def test_a_file_that_is_no_database(healthy: Deployment) -> None:
    healthy.database.write_text("this is a letter to my aunt, and no database at all\n" * 40)
    assert "no SQLite database" in (await doctor(healthy)).evidence("database")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@AS_ROOT
async def test_a_disk_that_is_nearly_full(small_disk: Path, gateway: Simulator) -> None:
    seen = await doctor(Deployment(small_disk, gateway))
    assert (seen.code, seen.failures) == (1, {"disk"})
    assert "8.0 MiB" in seen.evidence("disk")


async def test_an_event_file_that_cannot_be_written(healthy: Deployment) -> None:
    healthy.file.mkdir()
    seen = await doctor(healthy)
    assert seen.failures == {"output file"}
    assert "[outputs.file] path" in seen.next_step("output file")


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
        ("407 Proxy Authentication Required", "407 Proxy Authentication Required", "USER:PASSWORD@"),
        ("403 Forbidden", "403 Forbidden", "allow CONNECT"),
    ],
)
async def test_a_proxy_that_refuses(tmp_path: Path, status: str, says: str, do: str) -> None:
    async with raw_server(response(b"", status)) as proxy:
        deployment = Deployment(tmp_path, "https://gateway.invalid")
        seen = await doctor(deployment, HTTPS_PROXY=proxy.url())
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
    assert "hunter2" not in json.dumps(seen.document)
    assert "accounts.default.proxy" in seen.evidence("default: proxy")


async def test_a_receiver_that_is_not_there_and_one_that_may_not_be(healthy: Deployment) -> None:
    port = free_port()
    table = f'[outputs.webhook]\nurl = "http://127.0.0.1:{port}/status"\n'
    healthy.config.write_text(healthy.config.read_text() + table)
    seen = await doctor(healthy)
    assert seen.failures == {"output webhook"}
    assert f"http://127.0.0.1:{port}/status cannot be reached" in seen.evidence("output webhook")


async def test_a_socket_that_somebody_else_has(healthy: Deployment) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(healthy.socket))
        other.listen()
        seen = await doctor(healthy)
        assert seen.failures == {"output socket"}
        assert "another process listens" in seen.evidence("output socket")
    seen = await doctor(healthy)
    assert "left behind by the last run" in seen.evidence("output socket")


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


async def test_a_hold_of_the_running_daemon_is_told(tmp_path: Path) -> None:
    async with Simulator(SimulatorConfig(credentials=Credentials(tokens=frozenset({"one"})))) as gateway:
        deployment = Deployment(tmp_path, gateway)
        (tmp_path / "token").write_text("two\n")
        async with deployment:
            await deployment.start()
            deployment.insert([7])
            async with asyncio.timeout(PATIENCE):
                while not deployment.query("SELECT 1 FROM accounts WHERE held_reason IS NOT NULL"):
                    await asyncio.sleep(0.05)
            seen = await doctor(deployment)
    assert "default: token" in seen.failures
    assert "unauthorized" in seen.evidence("default: polling")
