"""The transcripts in docs/control-socket.md, run with the real curl against the installed daemon."""

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
from tests.acceptance.deployment import Deployment, until

PAGE = Path(__file__).parents[2] / "docs" / "control-socket.md"
QUICK = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "100ms"'


def transcripts(text: str) -> Iterator[tuple[str, str]]:
    """Commands and what they print, in the order of the page."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def expected(output: str) -> re.Pattern[str]:
    return re.compile(".*?".join(map(re.escape, output.split("..."))), re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_each_transcript_is_true(tmp_path: Path) -> None:
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
        ran = 0
        handed = 0
        for command, output in transcripts(PAGE.read_text()):
            handed += command.count("/messages -d")
            if "/messages/421332671" in command and ran == handed:
                await until(lambda: deployment.pending() == 1, "all but one are done with")
            done = await asyncio.to_thread(
                subprocess.run, ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, (command, done.stderr)
            assert expected(output).fullmatch(done.stdout), (command, done.stdout)
            ran += 1
        assert ran == 16
        assert await deployment.stop() == 0
