"""A deployment as a user has it: the installed command as a subprocess, its files in a folder, a simulated gateway."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Protocol, Self

from pollerd.simulator import Simulator
from tests.acceptance.waiting import PATIENCE, until
from tests.acceptance.warm import Warm
from tests.sqlite_kit import rows, transaction
from tests.store_database import StoreDatabase
from tests.store_place import FilePlace, Place, ServerPlace

COMMAND: Final = Path(sys.executable).with_name("pollerd")
# Reading the system's certificates takes most of a start, and the simulator speaks plain HTTP.
NO_CERTIFICATES: Final = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}


class Running(Protocol):
    """A process: asyncio's own, or one of the warm server."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def send_signal(self, signal: int) -> None: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...
    async def wait(self) -> int: ...


class Machine(Protocol):
    """Where a deployment runs: the environment of its processes, and the time on its wall."""

    def environment(self) -> dict[str, str]: ...
    def wall(self) -> float: ...


class Deployment:
    """One configuration with its database and outputs, and the commands run on it; on `machine`, where one is set."""

    machine: Machine | None = None
    warm: Warm | None = None
    """Where daemons and commands start from, set for all tests; None: as programs that are loaded from the disk."""

    def __init__(
        self, folder: Path, gateway: Simulator | str, engine: StoreDatabase | None = None, /, **settings: str
    ) -> None:
        """`engine`: PostgreSQL, where the store is there."""
        self.folder = folder
        self.engine = engine
        self.database = folder / "pollerd.db"
        self.store: Place = FilePlace(self.database) if engine is None else ServerPlace(engine)
        self.file = folder / "events.ndjson"
        self.socket = folder / "events.sock"
        self.config = folder / "pollerd.toml"
        self.process: Running | None = None
        self.files: int | None = None
        """How many files the daemon may have open."""
        url = gateway if isinstance(gateway, str) else gateway.url
        token = "token" if isinstance(gateway, str) else next(iter(gateway.config.credentials.tokens))
        self.configure(url, token, **settings)

    def configure(
        self, url: str, token: str, *, limits: str = "", backoff: str = "", more: str = "", account: str = ""
    ) -> None:
        """Write the configuration; the arguments are lines of TOML for the tables of the same name."""
        (self.folder / "token").write_text(token + "\n")
        (self.folder / "token").chmod(0o600)
        # A URL with a password is a secret; without one, the members of a group may read it.
        self.config.touch(0o644 if self.engine is None else 0o600)
        self.config.write_text(
            f"""
[accounts.default]
base_url = "{url}"
token_file = "{self.folder / "token"}"
{account}
[limits]
{limits or "requests_per_second = 500"}
[backoff]
{backoff}
[store]
{f'path = "{self.database}"' if self.engine is None else self.engine.toml}
[outputs.file]
path = "{self.file}"
[outputs.socket]
path = "{self.socket}"
[control]
socket = "{self.folder / "control.sock"}"
[log]
format = "json"
{more}
"""
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    # -- the daemon

    async def launch(self, *, environment: dict[str, str] | None = None) -> Running:
        """Start `pollerd run` and return at once."""
        whole = {**os.environ, **NO_CERTIFICATES, **self._environment(environment)}
        arguments = ["run", "-c", str(self.config)]
        with (self.folder / "log").open("ab") as log, Path(os.devnull).open("r+b") as null:
            if self.warm is not None and self.files is None:
                self.process = self.warm.run(arguments, whole, (null, null, log))
            else:
                self.process = await asyncio.create_subprocess_exec(
                    COMMAND, *arguments, stdout=null, stderr=log, env=whole,
                    preexec_fn=None if self.files is None else self._limit,
                )  # fmt: skip
        return self.process

    def _limit(self) -> None:
        if self.files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.files))

    def _environment(self, more: dict[str, str] | None) -> dict[str, str]:
        return {**({} if self.machine is None else self.machine.environment()), **(more or {})}

    async def start(self, *, environment: dict[str, str] | None = None) -> Running:
        """Start `pollerd run` and return once it says that it has started."""
        log = self.folder / "log"
        before = log.stat().st_size if log.exists() else 0
        process = await self.launch(environment=environment)

        def up() -> bool:
            with log.open("rb") as text:
                text.seek(before)
                said = text.read()
            assert process.returncode is None, said.decode()[-2000:]
            return b'"event":"started"' in said.replace(b": ", b":")

        await until(up, "the daemon starts")
        return process

    async def stop(self, *, patience: float = PATIENCE) -> int:
        """SIGTERM, and wait; the exit code."""
        assert self.process is not None
        self.process.terminate()
        async with asyncio.timeout(patience):
            return await self.process.wait()

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    def text_log(self) -> str:
        """All that the daemon wrote to standard error."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def log(self) -> list[dict[str, Any]]:
        """The log as records; what is no JSON is left to `text_log`."""
        return [json.loads(line) for line in self.text_log().split("\n") if line.startswith("{") and line.endswith("}")]

    # -- commands

    async def command(
        self, *arguments: str, stdin: bytes | None = None, environment: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Run one command to its end: exit code, standard output, standard error."""
        words = [*arguments, "-c", str(self.config)]
        whole = {**os.environ, **self._environment(environment)}
        if self.warm is not None:
            done = await self.warm.command(words, whole, stdin=stdin or b"", seconds=PATIENCE)
            return done.code, done.out.decode(), done.err.decode()
        process = await asyncio.create_subprocess_exec(COMMAND, *words, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=whole)
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin or b"")
        return process.returncode or 0, out.decode(), err.decode()

    # -- the database, as any other program sees it

    def insert(self, ids: Iterable[int]) -> None:
        """Hand ids over by plain SQL, sent now."""
        if self.engine is not None:
            self.engine.insert(ids)
            return
        with transaction(self.database) as connection:
            if self.machine is None:
                connection.executemany("INSERT OR IGNORE INTO messages (id) VALUES (?)", [(i,) for i in ids])
            else:
                # By SQLite's own clock it would be another time than on that machine.
                rows = [(i, self.machine.wall()) for i in ids]
                connection.executemany("INSERT OR IGNORE INTO messages (id, sent_at) VALUES (?, ?)", rows)

    def query(self, sql: str, *parameters: object) -> list[Any]:
        """Read the database."""
        if self.engine is not None:
            return self.engine.query(sql, *parameters)
        return rows(self.database, sql, *parameters)

    def pending(self) -> int:
        """Messages that are not done with."""
        return int(self.query("SELECT count(*) FROM messages WHERE state < 2")[0][0])

    # -- what was reported

    def lines(self) -> list[str]:
        """The whole lines of the event file; a torn last one is an error of the caller's making."""
        text = self.file.read_bytes().decode() if self.file.exists() else ""
        assert text == "" or text.endswith("\n"), "torn last line"
        return text.split("\n")[:-1]

    def events(self) -> list[dict[str, Any]]:
        """The events of the file."""
        return [json.loads(line) for line in self.lines()]


def finals(events: Iterable[dict[str, Any]]) -> dict[tuple[int, int], str]:
    """The final state reported of each (message, recipient); AssertionError when anything follows one."""
    found: dict[tuple[int, int], str] = {}
    for event in events:
        if event["type"] == "message.status":
            key = (event["id"], event["msisdn"])
            assert key not in found, f"told after the final state: {event}"
            if event["final"]:
                found[key] = event["status"]
    return found


def truth(simulator: Simulator, ids: Iterable[int]) -> dict[tuple[int, int], str]:
    """What the gateway knows to be the end of each (message, recipient)."""
    return {
        (message_id, recipient.msisdn): recipient.final
        for message_id in ids
        for recipient in simulator.record(message_id).recipients
        if recipient.final is not None
    }
