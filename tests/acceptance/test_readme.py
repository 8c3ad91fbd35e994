"""Every command in README.md: run beside an installed daemon here, or in the test or CI step that is named here."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.deployment import COMMAND, Deployment
from tests.acceptance.waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures("cold")

TOP: Final = Path(__file__).parents[2]
README: Final = (TOP / "README.md").read_text()
QUICK: Final = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "100ms"'
KNOWN: Final = range(421332671, 421332681)
ENDLESS: Final = ("--follow", "telnet://")
"""Commands that print until they are ended."""
ELSEWHERE: Final = {
    "python3 -m venv .venv": ".ci/run",
    "sudo python3 -m venv /opt/pollerd": ".ci/run",
    "sudo systemctl start": "tests/integration/test_systemd_unit.py",
    "sudo usermod": "tests/acceptance/test_cli_other_user.py",
    ".ci/run": ".ci/run",
    "curl -s --unix-socket": "tests/acceptance/test_control_docs.py",
    "curl -sN --unix-socket": "tests/acceptance/test_control_docs.py",
}
"""How a command begins that is not run here, and the file that does the same."""


def commands() -> Iterator[str]:
    """What a reader may type: the lines of shell blocks and transcripts, and commands in the running text."""
    for language, block in re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL):
        if language == "sh":
            yield from (line.split("   #")[0].strip() for line in block.splitlines() if line.strip())
        if language == "console":
            yield from re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    yield from re.findall(r"`((?:sudo|pollerd|printf|curl|python) [^`]+|\.ci/run)`", prose)


def here(command: str, deployment: Deployment) -> str:
    """The command as it is meant, on this deployment."""
    folder = str(deployment.folder)
    for shown, meant in {
        "sudo ": "",
        "/opt/pollerd/bin": str(COMMAND.parent),
        "/usr/local/bin": folder,
        "service install": "service install --dry-run --program /opt/pollerd/bin/pollerd",
        "curl -s https://gatewayapi.com/rest/mtsms ...": """echo '{"ids":[421332674]}'""",
        "/var/lib/pollerd": folder,
        "/run/pollerd": folder,
        " PATH": f" {folder}/copy.db",
        " ID": f" {KNOWN[0]}",
        "[NETWORK]": "DK",
    }.items():
        command = command.replace(shown, meant)
    return command


async def run(command: str, environment: dict[str, str]) -> tuple[int, str]:
    """The exit code, and what is printed; a command without an end is ended after its first line."""
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", command, stdout=PIPE, stderr=PIPE, env=environment, start_new_session=True
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        if any(mark in command for mark in ENDLESS):
            out = await process.stdout.readline()
            os.killpg(process.pid, signal.SIGTERM)
            await process.communicate()
            return (0 if out else 1), out.decode()
        out, err = await process.communicate()
    return process.returncode or 0, (out + err).decode()


async def test_every_command_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    found = list(dict.fromkeys(commands()))
    elsewhere = {command: place for command in found for start, place in ELSEWHERE.items() if command.startswith(start)}
    assert all((TOP / place).exists() for place in ELSEWHERE.values())
    mine = [command for command in found if command not in elsewhere]
    assert len(mine) >= 20, mine
    async with (
        Simulator(SimulatorConfig(speed=3000)) as simulator,
        Deployment(tmp_path, simulator, backoff=QUICK) as deployment,
    ):
        for number in KNOWN:
            simulator.truth.add(number, recipients=[4587654321], steps=[Step(0.0, "DELIVERED")])
        await deployment.start()
        deployment.insert(KNOWN)
        await until(lambda: len(deployment.events()) == 2 * len(KNOWN), "all is reported")
        environment = {
            **os.environ,
            "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
            "POLLERD_CONFIG": str(deployment.config),
        }
        for command in mine:
            code, out = await run(here(command, deployment), environment)
            assert code == 0, (command, out)
            assert "Traceback" not in out, command
        assert await deployment.stop() == 0
    assert (tmp_path / "copy.db").stat().st_size > 0
