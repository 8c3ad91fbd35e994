"""Daemons that share a store in PostgreSQL, as on several machines: each with a folder, a file and a control socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from pollerd.simulator import Simulator
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.store_database import StoreDatabase


class MemberDeployment(Deployment):
    """One of them."""

    def __init__(
        self, folder: Path, gateway: Simulator, database: StoreDatabase, name: str, /, **settings: str
    ) -> None:
        folder.mkdir()
        settings["more"] = f'[cluster]\nname = "{name}"\n{settings.get("more", "")}'
        super().__init__(folder, gateway, database, **settings)
        self.name = name
        self._release: Path | None = None

    def install(self, release: Path | None) -> None:
        """Another release of pollerd, from the next start on; None: this one."""
        self._release = release
        # The warm server has this one.
        self.warm = None if release else Deployment.warm

    def _environment(self, more: dict[str, str] | None) -> dict[str, str]:
        path = {} if self._release is None else {"PYTHONPATH": str(self._release)}
        return {**super()._environment(more), **path}

    async def join(self, event: str, environment: dict[str, str] | None = None) -> None:
        """Start the daemon, and return once it says that it has `started`, or is `standing_by`."""
        before = self.count(event)
        process = await self.launch(environment=environment)

        def up() -> bool:
            assert process.returncode is None, self.text_log()[-2000:]
            return self.count(event) > before

        await until(up, f"{self.name} is {event}")

    def count(self, event: str) -> int:
        """How often it has logged that."""
        return len(self.logged(event))

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What it has logged under that name."""
        return [record for record in self.log() if record.get("event") == event]

    def elsewhere(self) -> None:
        """Nobody on this machine can see from now on whether the process runs, as if it were on another one."""
        change = 'UPDATE members SET process = process || \'{"boot": "another"}\' WHERE name = %s'
        assert self.engine is not None
        self.engine.database.execute(change, self.name)

    def told(self) -> list[dict[str, Any]]:
        """The whole lines of its file."""
        text = self.file.read_bytes() if self.file.exists() else b""
        return [json.loads(line) for line in text.split(b"\n")[:-1]]


@asynccontextmanager
async def members(
    folder: Path, gateway: Simulator, database: StoreDatabase, names: Sequence[str], /, **settings: str
) -> AsyncIterator[list[MemberDeployment]]:
    """Several, the first of them active."""
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(MemberDeployment(folder / name, gateway, database, name, **settings))
            for name in names
        ]
        for number, member in enumerate(made):
            await member.join("standing_by" if number else "started")
        yield made


def check_files(found: Sequence[MemberDeployment], finals: int) -> int:
    """Every member's file holds the same lines, numbered without a gap, with `finals` final states; how many lines."""
    first = found[0].file.read_bytes()
    for member in found:
        numbers = [line["seq"] for line in member.told()]
        assert numbers == list(range(1, len(numbers) + 1)), member.name
        assert member.file.read_bytes() == first, member.name
    ended = [(line["id"], line["msisdn"]) for line in found[0].told() if line.get("final")]
    assert len(ended) == len(set(ended)) == finals
    return len(found[0].told())
