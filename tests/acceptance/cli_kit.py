"""The installed command, run as a subprocess in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any, NamedTuple, Protocol

from tests.acceptance.deployment import NO_CERTIFICATES
from tests.acceptance.warm import Warm
from tests.store_database import StoreDatabase
from tests.store_place import FilePlace, Place, ServerPlace

DEADLINE = 120.0


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """NDJSON on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


class Cli:
    """`pollerd` with a configuration in `folder`."""

    warm: Warm | None = None
    """Where commands start from, set for all tests; None: as programs that are loaded from the disk."""

    def __init__(
        self,
        folder: Path,
        base_url: str = "http://127.0.0.1:9",
        extra: str = "",
        engine: StoreDatabase | None = None,
    ) -> None:
        """`engine`: PostgreSQL, where the store is there."""
        self.folder = folder
        self.database = folder / "db" / "pollerd.db"
        self.store: Place = FilePlace(self.database) if engine is None else ServerPlace(engine)
        store = f'path = "{self.database}"' if engine is None else engine.toml
        self.config = folder / "pollerd.toml"
        self.config.write_text(
            f'[accounts.default]\nbase_url = "{base_url}"\ntoken = "simulator-demo"\n[store]\n{store}\n{extra}',
        )
        self.config.chmod(0o600)
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("POLLERD_CONFIG", "GATEWAYAPI_TOKEN", "STATE_DIRECTORY", "FORCE_COLOR")
        }
        # Where a daemon has its socket whose database is on a server.
        self.environment["XDG_STATE_HOME"] = str(folder / "state")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pollerd", *arguments]

    def __call__(self, *arguments: str, stdin: bytes = b"", without_rights: bool = False) -> Done:
        """Run a command to its end. `without_rights`: as root that may do no more than anybody else."""
        if self.warm is not None and not without_rights:
            ended = self.warm.to_its_end(arguments, self.environment, stdin=stdin, folder=self.folder, seconds=DEADLINE)
            assert b"Traceback" not in ended.err, ended.err.decode()
            return Done(ended.code, ended.out, ended.err.decode())
        done = subprocess.run(
            [
                *(["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if without_rights else []),
                *self.command(*arguments),
            ],
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env=self.environment,
            timeout=DEADLINE,
            check=False,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return Done(done.returncode, done.stdout, done.stderr.decode())

    @contextmanager
    def running(self, *arguments: str, stdin: int | None = None) -> Iterator[Background]:
        """The command in the background; killed at the end if it still runs. `stdin`: PIPE, to write to it."""
        environment = {**self.environment, **NO_CERTIFICATES}
        process: Background
        if self.warm is None:
            process = subprocess.Popen(
                self.command(*arguments), stdin=stdin, stdout=PIPE, stderr=PIPE, cwd=self.folder, env=environment
            )
        else:
            process = Piped(self.warm, arguments, environment, self.folder, stdin)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


class Background(Protocol):
    """As much of a `Popen` as the tests use."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Piped:
    """Fulfils `Background` with a process of the warm server."""

    def __init__(
        self, warm: Warm, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: int | None
    ) -> None:
        out, err = os.pipe(), os.pipe()
        put = os.pipe() if stdin == PIPE else (os.open(os.devnull, os.O_RDONLY), None)
        theirs = (put[0], out[1], err[1])
        try:
            self._process = warm.run(arguments, environment, theirs, folder)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self.stdin: IO[bytes] | None = None if put[1] is None else os.fdopen(put[1], "wb")
        self.stdout: IO[bytes] | None = os.fdopen(out[0], "rb")
        self.stderr: IO[bytes] | None = os.fdopen(err[0], "rb")
        self.send_signal = self._process.send_signal
        self.kill = self._process.kill

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.returncode

    def wait(self, timeout: float | None = None) -> int:
        try:
            return self._process.wait_for(DEADLINE if timeout is None else timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired("pollerd", timeout or DEADLINE) from None
