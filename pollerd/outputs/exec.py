"""Events to a program, started for each batch: NDJSON on its standard input, exit code 0 acknowledges.

At least once: a batch that was not acknowledged comes again, perhaps with more events behind it. The program gets no
shell, none of pollerd's secrets in its environment, and a process group of its own, which ends with it when it takes
too long or pollerd stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

from pollerd.core.event import Event
from pollerd.core.ports import Cursor, EventLog
from pollerd.outputs.batches import BatchOutput

MOST_BYTES: Final = 256 * 1024  # Bytes of one batch, about.
TIMEOUT: Final = 60.0
"""Seconds that the program has for one batch."""
_RETRY_FIRST: Final = 1.0  # Seconds before the first new try, doubled for each further one, and
_RETRY_MAX: Final = 60.0  # at most.
_TERM_GRACE: Final = 2.0
"""Seconds between SIGTERM and SIGKILL."""
_SAID: Final = 4096
"""Bytes of the program's standard error that are kept, its last ones."""
_LONGEST_LINE: Final = 300  # Characters of the program's last line that are shown.
_SECRET: Final = frozenset({"GATEWAYAPI_TOKEN", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"})
_SHORTEST_SECRET: Final = 6
"""Characters from which a variable is searched for a secret: shorter ones are found in ordinary words."""
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def clean_environment(
    environment: Mapping[str, str], names: Iterable[str], secrets: Iterable[str] = ()
) -> dict[str, str]:
    """The environment without what holds, or leads to, pollerd's own secrets.

    Left out are the variables `names`, those that hold one of `secrets`, and proxies with credentials in their URL.
    """
    hidden = _SECRET | set(names)
    texts = [text for text in secrets if len(text) >= _SHORTEST_SECRET]
    return {
        name: value
        for name, value in environment.items()
        if name not in hidden
        and not any(text in value for text in texts)
        and not (name.lower().endswith("_proxy") and "@" in value)
    }


class ExecOutput(BatchOutput):
    """Runs `command` for each batch of events. Fulfils `ports.Output` and `ports.Preparing`.

    `timeout` is in seconds. Any failure of the program is waited out here, with a growing delay.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        name: str = "exec",
        timeout: float = TIMEOUT,
        retry_first: float = _RETRY_FIRST,
        retry_max: float = _RETRY_MAX,
    ) -> None:
        super().__init__(name, retry_first, retry_max)
        self._command = tuple(command)
        self._environment = dict(environment)
        self._timeout = timeout

    async def prepare(self, log: EventLog) -> None:
        """A new output begins with what happens from now on."""
        if await log.cursor(self._name) is None:
            await log.save_cursor(Cursor(self._name, log.last))

    async def run(self, log: EventLog) -> None:
        """Hand over events until cancelled. Raises StoreError."""
        await self.prepare(log)
        await super().run(log)

    async def hand_over(self, events: Sequence[Event]) -> str:
        """Run the program once; what went wrong, in words, empty when it acknowledged."""
        try:
            return await self._run(b"".join(event.line for event in events))
        except OSError as error:
            return f"no program can be started now: {error.strerror or error}"

    def batch(self, events: Sequence[Event]) -> Sequence[Event]:
        return portion(events)

    async def _run(self, lines: bytes) -> str:
        with _Pipes(lines) as pipes:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=pipes.input,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=pipes.error,
                    env=self._environment,
                    start_new_session=True,
                )
            except OSError as error:
                return f"{self._command[0]} cannot be started: {error.strerror or error}"
            pipes.started()
            try:
                async with asyncio.timeout(self._timeout):
                    code = await process.wait()
            except TimeoutError:
                await _end(process)
                return _with(f"{self._command[0]} took longer than {self._timeout:g} s and was ended", pipes.said())
            except asyncio.CancelledError:
                await asyncio.shield(_end(process))
                raise
            return "" if code == 0 else _with(f"{self._command[0]} {_words(code)}", pipes.said())


def portion(events: Sequence[Event]) -> Sequence[Event]:
    """As many of the first events as `MOST_BYTES` hold; at least one, however large."""
    size = 0
    for number, event in enumerate(events):
        size += len(event.line)
        if size > MOST_BYTES and number > 0:
            return events[:number]
    return events


class _Pipes:
    """What the program reads, and what it says on standard error.

    The input is a file in memory: a program that reads none of it, or half, delays nothing. The output is a pipe
    of our own, so that a child that the program left behind with it does not either.
    """

    def __init__(self, data: bytes) -> None:
        self.input = os.memfd_create("pollerd-events", os.MFD_CLOEXEC)
        with open(self.input, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(self.input, 0, os.SEEK_SET)
        self._read, self.error = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        self._tail = b""
        self._open = {self.input, self.error, self._read}

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._read, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._read)
        for descriptor in self._open:
            os.close(descriptor)

    def started(self) -> None:
        """The program has its own ends now."""
        for descriptor in (self.input, self.error):
            os.close(descriptor)
            self._open.discard(descriptor)

    def said(self) -> str:
        """The last line that is not empty."""
        self._take()
        text = self._tail.decode("utf-8", "replace")
        line = next((line for line in reversed(text.split("\n")) if line.strip()), "")
        return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", line.strip())[:_LONGEST_LINE]

    def _take(self) -> None:
        # Bounded, so that a program that never stops talking does not keep the loop busy.
        for _ in range(64):
            try:
                piece = os.read(self._read, _SAID)
            except BlockingIOError:
                return
            if not piece:
                asyncio.get_running_loop().remove_reader(self._read)
                return
            self._tail = (self._tail + piece)[-_SAID:]


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the whole process group: asked first, then made to."""
    _signal(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(_TERM_GRACE):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        # Also for children that outlive the program itself.
        _signal(process.pid, signal.SIGKILL)
    await process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _words(code: int) -> str:
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _with(trouble: str, said: str) -> str:
    return f"{trouble}: {said}" if said else trouble
