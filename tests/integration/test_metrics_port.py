"""The metrics on a TCP port of their own: what is served there, and to whom."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.control_kit import daemon


async def test_metrics_on_a_port_of_their_own(tmp_path: Path) -> None:
    async with daemon(tmp_path, more='[metrics]\nlisten = "127.0.0.1:0"\n') as running:
        assert running.app.daemon is not None
        endpoint: Any = running.app.daemon.control._servers[1]._endpoint
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{endpoint.address}/metrics") as response:
                assert response.status == 200
                assert "pollerd_polls_total" in await response.text()
            async with session.get(f"http://{endpoint.address}/messages") as response:
                assert response.status == 404
                assert "/metrics and /healthz are served here" in await response.text()


@pytest.mark.parametrize(
    ("listen", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.1:9464", 200),
        ("127.0.0.1", "localhost", 200),
        ("127.0.0.1", "attacker.example", 421),
        ("127.0.0.1", "[", 421),
        ("127.0.0.1", socket.gethostname(), 200),
        # Everybody who can reach it may read it, by whatever name.
        ("0.0.0.0", "any.name.of.it", 200),
    ],
)
async def test_the_metrics_port_answers_who_asked_for_this_machine(
    tmp_path: Path, listen: str, host: str, status: int
) -> None:
    async with daemon(tmp_path, more=f'[metrics]\nlisten = "{listen}:0"\n') as running:
        assert running.app.daemon is not None
        endpoint: Any = running.app.daemon.control._servers[1]._endpoint
        for path in ("/metrics", "/healthz"):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{endpoint.address}{path}", headers={"Host": host}) as response,
            ):
                assert response.status == status
                if status == 421:
                    assert (await response.json())["error"]["reason"] == "wrong_host"
