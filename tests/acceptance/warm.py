"""Starts daemons from a process that has everything imported already, so that a loop of kills spends its time on kills.

Each daemon is a process of its own, forked before any loop, thread or connection exists; from there on it is the
installed command. Run as a script it is the server: a request a line on standard input, an answer a line on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self


class Forked:
    """A daemon of the warm server: as much of asyncio's `Process` as the tests use."""

    def __init__(self, server: Warm, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._end = asyncio.create_task(self._watch())

    async def _watch(self) -> int:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        descriptor = os.pidfd_open(self.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        self.returncode = (await self._server.ask({"reap": self.pid}))["code"]
        return self.returncode

    async def wait(self) -> int:
        """The exit code; negative: the signal."""
        return await asyncio.shield(self._end)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Warm:
    """The server as seen from a test."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()

    @classmethod
    async def start(cls, more: Mapping[str, str] | None = None) -> Self:
        """`more` is added to the environment."""
        # Reading the system's certificates would take most of every start.
        environment = {**os.environ, "SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull, **(more or {})}
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, stdin=PIPE, stdout=PIPE, env=environment
        )
        return cls(process)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            line = await self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def run(self, arguments: list[str], log: Path, environment: dict[str, str]) -> Forked:
        """Start `pollerd ARGUMENTS`, standard error appended to `log`."""
        request = {"run": arguments, "log": str(log), "environment": environment}
        return Forked(self, (await self.ask(request))["pid"])


# -- the server's side


def serve() -> None:
    """Answer requests until standard input ends; then nobody needs the daemons any more."""
    from pollerd import cli  # noqa: F401
    from pollerd.cli import run  # noqa: F401
    from pollerd.daemon import app  # noqa: F401  what `run` imports only when it is called: most of a start

    with contextlib.suppress(ImportError):
        import uvloop  # noqa: F401
    alive: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "run" in request:
            pid = os.fork()
            if pid == 0:
                _daemon(request)
            alive.add(pid)
            answer = {"pid": pid}
        else:
            _, status = os.waitpid(request["reap"], 0)
            alive.discard(request["reap"])
            answer = {"code": os.waitstatus_to_exitcode(status)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _daemon(request: dict[str, Any]) -> NoReturn:
    from pollerd import cli
    from pollerd.base import failpoints

    code = 70
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for number, descriptor in enumerate((nothing, nothing, log)):
            os.dup2(descriptor, number)
        os.environ.update(request["environment"])
        if any(name.startswith("SHIM_") for name in request["environment"]):
            ctypes.CDLL(None).shim_begin()
        # Failpoints are armed when the module is loaded.
        importlib.reload(failpoints)
        code = cli.main(request["run"])
        sys.stderr.flush()
    finally:
        # Never back into the server's loop.
        os._exit(code)


if __name__ == "__main__":
    serve()
