"""Starts daemons and commands from a process that has imported everything, so that tests spend their time on the test.

Each is a process of its own, forked before any loop, thread or connection exists; from there on it is the installed
command: its arguments, environment, folder and standard streams are those that are asked for. Run as a script it is the
server: a request is a datagram, with the three streams' descriptors beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, NoReturn, Self

_LARGEST: Final = 1 << 20
"""Bytes of a request: it carries a whole environment."""
PRELOAD: Final = "LD_PRELOAD"


class Ended(NamedTuple):
    """A command that ran to its end."""

    code: int
    out: bytes
    err: bytes


class Forked:
    """A process of the warm server: as much of asyncio's `Process` as the tests use."""

    def __init__(self, server: _Server, pid: int) -> None:
        self.pid = pid
        self._server = server
        self._descriptor = os.pidfd_open(pid)
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative: the signal; None while it runs."""
        if self._code is None and self._ended(0.0):
            self._code = self._server.ask({"reap": self.pid})["code"]
            os.close(self._descriptor)
        return self._code

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        loop = asyncio.get_running_loop()
        while (code := self.returncode) is None:
            ended = asyncio.Event()
            mine = os.dup(self._descriptor)
            loop.add_reader(mine, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(mine)
                os.close(mine)
        return code

    def wait_for(self, seconds: float) -> int:
        """The same without a loop; TimeoutError when it runs longer."""
        until = time.monotonic() + seconds
        while (code := self.returncode) is None:
            left = until - time.monotonic()
            if left <= 0.0:
                raise TimeoutError
            self._ended(left)
        return code

    def _ended(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(1000 * seconds))

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Warm:
    """The servers of a test run, each started when it is wanted: one for each preloaded library."""

    def __init__(self) -> None:
        self._servers: dict[str, _Server] = {}

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        streams: Sequence[IO[bytes] | int],
        folder: Path | str | None = None,
    ) -> Forked:
        """Start `pollerd ARGUMENTS` with this whole environment and standard input, output and error."""
        preload = environment.get(PRELOAD, "")
        if (server := self._servers.get(preload)) is None:
            server = self._servers[preload] = _Server(preload)
        request = {"run": list(arguments), "environment": dict(environment), "folder": str(folder or Path.cwd())}
        descriptors = [stream if isinstance(stream, int) else stream.fileno() for stream in streams]
        return Forked(server, server.ask(request, descriptors)["pid"])

    def to_its_end(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdin: bytes = b"",
        folder: Path | str | None = None,
        seconds: float,
    ) -> Ended:
        """A command's result; TimeoutError when it takes longer."""
        with _Streams(stdin) as streams:
            process = self.run(arguments, environment, streams.files, folder)
            try:
                return streams.result(process.wait_for(seconds))
            finally:
                process.kill()

    async def command(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdin: bytes = b"",
        folder: Path | str | None = None,
        seconds: float,
    ) -> Ended:
        """The same while the loop goes on."""
        with _Streams(stdin) as streams:
            process = self.run(arguments, environment, streams.files, folder)
            try:
                async with asyncio.timeout(seconds):
                    return streams.result(await process.wait())
            finally:
                process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the servers, and with them what they have started."""
        for server in self._servers.values():
            server.close()


class _Streams:
    """A command's standard streams, in files."""

    def __init__(self, stdin: bytes) -> None:
        self.files = [os.fdopen(os.memfd_create("stream"), "w+b") for _ in range(3)]
        self.files[0].write(stdin)
        self.files[0].seek(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            file.close()

    def result(self, code: int) -> Ended:
        for file in self.files[1:]:
            file.seek(0)
        return Ended(code, self.files[1].read(), self.files[2].read())


class _Server:
    """One server, as seen from the tests."""

    def __init__(self, preload: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
        # Reading the system's certificates would take most of every start.
        environment = {**os.environ, "SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
        if preload:
            environment[PRELOAD] = preload
        number = theirs.fileno()
        self._process = subprocess.Popen([sys.executable, __file__, str(number)], env=environment, pass_fds=[number])
        theirs.close()
        self._turn = threading.Lock()

    def ask(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """It answers within milliseconds: nothing is waited for there."""
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(request).encode()], list(descriptors))
            answer: dict[str, Any] = json.loads(self._socket.recv(_LARGEST))
        return answer

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


# -- the server's side


def serve(asked: socket.socket) -> None:
    """Answer requests until the tests' end is closed; then nobody needs the processes any more."""
    import pollerd

    # What commands and `run` import only when they are called is most of a start.
    for module in pkgutil.walk_packages(pollerd.__path__, "pollerd."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("uvloop", "rich.live", "rich.table", "sqlalchemy", "pymysql"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # What is there now is never looked at again: a collection in a fork would copy all of its pages.
    gc.collect()
    gc.freeze()
    alive: set[int] = set()
    while True:
        text, descriptors, _, _ = socket.recv_fds(asked, _LARGEST, 3)
        if not text:
            break
        request = json.loads(text)
        if "run" in request:
            pid = os.fork()
            if pid == 0:
                asked.close()
                _become(request, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            alive.add(pid)
            answer = {"pid": pid}
        else:
            _, status = os.waitpid(request["reap"], 0)
            alive.discard(request["reap"])
            answer = {"code": os.waitstatus_to_exitcode(status)}
        asked.send(json.dumps(answer).encode())
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _become(request: dict[str, Any], descriptors: Sequence[int]) -> NoReturn:
    """The installed command, from its first line to its exit code."""
    from pollerd import cli
    from pollerd.base import failpoints

    code = 70
    try:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        # Those of the server know what it was given: files, in which they would seek.
        for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
            was = getattr(sys, name)
            lines = 1 if name == "stderr" else -1
            stream = os.fdopen(number, mode, lines, encoding=was.encoding, errors=was.errors, closefd=False)
            setattr(sys, name, stream)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        if any(name.startswith("SHIM_") for name in os.environ):
            ctypes.CDLL(None).shim_begin()
        # Failpoints are armed when the module is loaded.
        importlib.reload(failpoints)
        sys.argv = ["pollerd", *request["run"]]
        code = cli.main(request["run"])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        raise
    finally:
        # Never back into the server's loop.
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
