"""The transcripts of curl in README.md and docs/control-socket.md, run against the installed daemon."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until

TOP = Path(__file__).parents[2]
PAGES = {"docs/control-socket.md": 17, "README.md": 3}
"""Where transcripts are, and how many at least: a page that lost them must not pass for a tested one."""
HANDED = "/messages -d"
QUICK = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "100ms"'


def transcripts(text: str) -> Iterator[tuple[str, str]]:
    """Commands to the control socket and what they print, in the order of the page."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            if "--unix-socket" in command:
                yield command, output


def expected(output: str) -> re.Pattern[str]:
    return re.compile(".*?".join(map(re.escape, output.split("..."))), re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", PAGES)
async def test_each_transcript_is_true(tmp_path: Path, page: str) -> None:
    found = list(transcripts((TOP / page).read_text()))
    assert len(found) >= PAGES[page]
    async with (
        Simulator(SimulatorConfig(speed=3000)) as simulator,
        Deployment(tmp_path, simulator, backoff=QUICK) as deployment,
    ):
        for message_id in (421332671, 421332672, 421332673, 421332674):
            simulator.truth.add(message_id, recipients=[4587654321], steps=[Step(0.0, "DELIVERED")])
        simulator.truth.add(421332680, steps=[Step(1e9, "DELIVERED")])
        await deployment.start()
        deployment.insert([421332680])
        environment = {**os.environ, "SOCK": str(tmp_path / "control.sock")}
        for number, (command, output) in enumerate(found):
            if number and HANDED in found[number - 1][0] and HANDED not in command:
                await until(lambda: deployment.pending() == 1, "all but one are done with")
            done = await asyncio.to_thread(
                subprocess.run, ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, (command, done.stderr)
            assert expected(output).fullmatch(done.stdout), (command, done.stdout)
        assert await deployment.stop() == 0
