"""The examples in README.md and docs/python.md, each run as a script of its own beside the installed daemon."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.deployment import Deployment

TOP = Path(__file__).parents[2]
PAGES = {"docs/python.md": 3, "README.md": 1}
"""Where examples are, and how many at least."""
QUICK = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "100ms"'


@pytest.mark.parametrize("page", PAGES)
async def test_each_example_runs(tmp_path: Path, page: str) -> None:
    examples = re.findall(r"```python\n(.*?)```", (TOP / page).read_text(), re.DOTALL)
    assert len(examples) >= PAGES[page]
    async with (
        Simulator(SimulatorConfig(speed=3000)) as simulator,
        Deployment(tmp_path, simulator, backoff=QUICK) as deployment,
    ):
        for message_id in (421332671, 421332672, 421332673):
            simulator.truth.add(message_id, recipients=[4587654321], steps=[Step(0.0, "DELIVERED")])
        await deployment.start()
        environment = {**os.environ, "POLLERD_CONFIG": str(deployment.config)}
        for example in examples:
            done = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-W", "error", "-c", example],
                env=environment,
                capture_output=True,
                text=True,
                timeout=90,
            )
            assert (done.returncode, done.stderr) == (0, ""), example
            assert "4587654321" in done.stdout
        assert await deployment.stop() == 0
