"""A reload in which a mistake of our own comes to light."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pollerd.config import Config
from pollerd.daemon.reload import REFUSED
from tests.acceptance.waiting import until
from tests.integration.control_kit import daemon


async def test_a_mistake_of_ours_does_not_take_the_polling_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The reader gives a configuration that it should have refused."""
    found: list[Config] = []
    async with daemon(tmp_path, reread=lambda: found[-1]) as running:
        good = running.app.config
        assert running.app.daemon is not None
        parts = running.app.daemon.parts

        def said(event: str) -> bool:
            return any(record.__dict__.get("event") == event for record in caplog.records)

        for wrong in (
            msgspec.structs.replace(good, backoff=msgspec.structs.replace(good.backoff, factor="a text")),
            msgspec.structs.replace(good, credit=None),
        ):
            caplog.clear()
            found.append(wrong)
            running.app.reload()
            await until(lambda: said("reload_refused"), "it is refused")
            assert any(record.exc_info for record in caplog.records)
            assert parts.notice == REFUSED
            assert parts.config == good
        found.append(msgspec.structs.replace(good, backoff=msgspec.structs.replace(good.backoff, min_interval=0.2)))
        running.app.reload()
        await until(lambda: parts.config == found[-1] and not parts.notice, "it is taken up")
        await running.follow(1)
        await running.ended(1)
