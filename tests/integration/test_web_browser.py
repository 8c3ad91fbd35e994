"""The status page in a real browser. Runs where chromium is installed; nothing else of the tests needs one."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from tests.integration.test_web import hand_over, web

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--no-first-run",
    "--enable-logging=stderr",
    "--virtual-time-budget=4000",
)


async def dom(folder: Path, url: str) -> tuple[str, str]:
    """The page as it stands after its script ran, and what the browser's console said."""
    process = await asyncio.create_subprocess_exec(
        str(CHROMIUM),
        *FLAGS,
        f"--user-data-dir={folder / 'browser'}",
        "--dump-dom",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    console = [line for line in err.decode(errors="replace").splitlines() if "CONSOLE" in line]
    return out.decode(), "\n".join(console)


async def test_the_script_runs_under_the_policy_and_nothing_is_refused(tmp_path: Path) -> None:
    async with web(tmp_path) as site:
        await hand_over(site.running, 17, userref="<b onclick=alert(1)>x</b>")
        await site.running.ended(17)
        body, console = await dom(tmp_path, f"{site.url}/")
        assert "Kept up to date." in body
        assert console == ""
        assert re.search(r"<h1>.*The daemon runs", body)
        body, console = await dom(tmp_path, f"{site.url}/messages/17")
        assert "&lt;b onclick=alert(1)&gt;x&lt;/b&gt;" in body
        assert console == ""
