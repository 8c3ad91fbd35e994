"""A secret that takes the place of another while the daemon runs is masked in the log as the first one was."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollerd.base import logs
from pollerd.config import load
from pollerd.daemon import app as daemon_app
from pollerd.daemon.app import App
from tests.integration.control_kit import write_config

FIRST, SECOND = "first-webhook-secret", "second-webhook-secret"
OTHER = "token-of-another-day"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the log shows."""
    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    yield stream
    logging.getLogger().handlers[:] = before
    logging.captureWarnings(capture=False)


async def test_a_replaced_secret_is_masked_too(tmp_path: Path, written: io.StringIO) -> None:
    """In the log and among the warnings that `GET /status` shows; after SIGHUP at once, and by itself soon."""
    (tmp_path / "secret").write_text(FIRST)
    (tmp_path / "token").write_text("token-of-today")
    path = write_config(
        tmp_path,
        "http://127.0.0.1:9",
        f'[outputs.webhook]\nurl = "http://127.0.0.1:9/"\nsecret_file = "{tmp_path}/secret"\n',
    )
    path.write_text(path.read_text().replace('token = "simulator-demo"', f'token_file = "{tmp_path}/token"'))
    app = App(load(path, {}), secrets=logs.setup("info", "text", show_msisdn=False, stream=written))
    running = asyncio.create_task(app.run())
    try:
        await asyncio.wait_for(app.started.wait(), 30)
        log = logging.getLogger("somebody")
        log.warning("it is %s", FIRST)
        (tmp_path / "secret").write_text(SECOND)
        app.reload()
        log.warning("now it is %s", SECOND)
        (tmp_path / "token").write_text(OTHER)
        async with asyncio.timeout(10 * daemon_app.CREDENTIALS):
            while "credentials_replaced" not in written.getvalue():
                await asyncio.sleep(0.05)
        log.warning("and it is %s", OTHER)
    finally:
        app.stop()
        await running
    text = written.getvalue()
    assert "it is ***" in text
    assert "now it is ***" in text
    assert "and it is ***" in text
    for secret in (FIRST, SECOND, OTHER):
        assert secret not in text


async def test_what_the_status_shows_is_masked_by_the_same_secrets(tmp_path: Path, written: io.StringIO) -> None:
    (tmp_path / "token").write_text("token-of-today")
    path = write_config(tmp_path, "http://127.0.0.1:9")
    path.write_text(path.read_text().replace('token = "simulator-demo"', f'token_file = "{tmp_path}/token"'))
    app = App(load(path, {}))
    running = asyncio.create_task(app.run())
    try:
        await asyncio.wait_for(app.started.wait(), 30)
        (tmp_path / "token").write_text(OTHER)
        app.reload()
        logging.getLogger("somebody").warning("it is %s", OTHER)
        assert app.daemon is not None
        assert [entry.message for entry in app.daemon.parts.warnings.last][-1] == "it is ***"
    finally:
        app.stop()
        await running
