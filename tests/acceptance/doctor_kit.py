"""What the tests of `pollerd doctor` share: the command, and what it said."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.acceptance.deployment import COMMAND, Deployment
from tests.acceptance.waiting import PATIENCE


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


async def doctor(
    deployment: Deployment, environment: Mapping[str, str] | None = None, *, without_rights: bool = False
) -> Seen:
    """Run the installed command with this environment added. `without_rights`: as root without root's capabilities."""
    words = ["doctor", "--json", "-c", str(deployment.config)]
    whole = {**os.environ, "NO_PROXY": "", "no_proxy": "", **(environment or {})}
    if deployment.warm is not None and not without_rights:
        code, out, err = await deployment.warm.command(words, whole, folder="/", seconds=PATIENCE)
    else:
        process = await asyncio.create_subprocess_exec(
            *(["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if without_rights else []),
            COMMAND, *words, stdout=PIPE, stderr=PIPE, cwd="/", env=whole,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
        code = process.returncode or 0
    assert err == b"", err.decode()
    document = json.loads(out)
    for check in document["checks"]:
        assert check["evidence"]
        assert check["next_step"] or check["level"] == "ok", check
    levels = [check["level"] for check in document["checks"]]
    assert levels == sorted(levels, key=["failure", "warning", "ok"].index), "failures first"
    return Seen(code, document)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
