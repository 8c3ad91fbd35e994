"""A whole daemon in this process, and HTTP over its control socket."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from pollerd.config import Config, load
from pollerd.daemon.app import App
from pollerd.simulator import Population, Simulator, SimulatorConfig, Step
from tests.acceptance.waiting import PATIENCE

QUICK = 'policy = "exponential"\nfirst_poll_after = "0s"\nmin_interval = "100ms"\nmax_interval = "1s"'


@dataclass(frozen=True)
class Reply:
    """An answer: status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"].startswith("application/json"), self
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def reason(self) -> str:
        """Why it was refused; the message must say something too."""
        assert set(self.json) == {"error"}
        assert set(self.json["error"]) == {"reason", "message"}
        assert self.json["error"]["message"]
        return str(self.json["error"]["reason"])


class Daemon:
    """The running daemon and its control socket."""

    def __init__(self, app: App, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.app = app
        self.simulator = simulator
        self.session = session

    @property
    def database(self) -> Path:
        return self.app.config.store.path

    @property
    def socket(self) -> Path:
        assert self.app.config.control.socket is not None
        return self.app.config.control.socket

    async def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """One request; a body that is no bytes goes as JSON."""
        data = None
        if body is not None:
            data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.session.request(method, f"http://localhost{path}", data=data) as response:
            return Reply(response.status, dict(response.headers), await response.read())

    async def get(self, path: str) -> Reply:
        return await self.ask("GET", path)

    async def follow(self, *ids: int) -> Any:
        """Hand messages over that are delivered soon; the answer."""
        for message_id in ids:
            self.simulator.truth.add(message_id, steps=[Step(0.0, "ENROUTE", None), Step(300.0, "DELIVERED", None)])
        return (await self.ask("POST", "/messages", {"ids": ids})).json

    async def ended(self, *ids: int) -> None:
        """Wait until the messages are done with."""
        for message_id in ids:
            await self.state(message_id, "finished", "gave_up")

    async def state(self, message_id: int, *states: str) -> dict[str, Any]:
        """Wait until the message is in one of the states; its document."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found: dict[str, Any] = (await self.get(f"/messages/{message_id}")).json
                if found["state"] in states:
                    return found
                await asyncio.sleep(0.02)


def write_config(folder: Path, url: str, more: str = "", backoff: str = QUICK, store: str = "") -> Path:
    """A configuration for a daemon in `folder`; `store`: the keys of [store], where it is not a file there."""
    path = folder / "pollerd.toml"
    file = f'path = "{folder}/pollerd.db"'
    path.write_text(
        f'[accounts.default]\nbase_url = "{url}"\ntoken = "simulator-demo"\n'
        f"[store]\n{store or file}\n"
        f'[control]\nsocket = "{folder}/control.sock"\n'
        f'[limits]\nrequests_per_second = 500\n[outputs.file]\npath = "{folder}/events.ndjson"\n'
        f'[outputs.socket]\npath = "{folder}/events.sock"\n'
        f"[backoff]\n{backoff}\n{more}"
    )
    path.chmod(0o600)
    return path


@asynccontextmanager
async def daemon(
    folder: Path,
    *,
    speed: float = 3000.0,
    more: str = "",
    backoff: str = QUICK,
    environment: dict[str, str] | None = None,
    store: str = "",
    reread: Callable[[], Config] | None = None,
) -> AsyncIterator[Daemon]:
    """A daemon and its simulated gateway, which knows every id; stopped in order on leaving. `reread`: see `App`."""
    population = Population(any_id=True, visibility_median=0.0)
    async with Simulator(SimulatorConfig(speed=speed, population=population)) as simulator:
        config = load(write_config(folder, simulator.url, more, backoff, store), environment or {})
        app = App(config, reread=reread)
        running = asyncio.create_task(app.run())
        started = asyncio.create_task(app.started.wait())
        await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        connector = aiohttp.UnixConnector(str(app.config.control.socket), limit=0)
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
                yield Daemon(app, simulator, session)
        finally:
            app.stop()
            async with asyncio.timeout(PATIENCE):
                await running


async def stream(response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    """The lines of a stream as they come."""
    async for line in response.content:
        yield json.loads(line)
