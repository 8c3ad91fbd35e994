"""From the event log to the outputs. Each output runs alone: trouble of one does not stop the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from pollerd.base.errors import DurabilityError, OutputError, StoreError, root_cause
from pollerd.core.ports import EventLog, Output, OutputHealth

logger = logging.getLogger(__name__)

RETRY_FIRST: Final = 5.0  # Seconds before the first new start, doubled for each further one, and
RETRY_MAX: Final = 60.0  # at most.
_SETTLED: Final = 1.0
"""Seconds an output must run before it counts as well again."""


class Relay:
    """Runs the outputs. One that raises OutputError or StoreError is tried again after `retry_first` seconds,
    doubling to `retry_max`; so is a defect, which is logged; DurabilityError ends them all.
    """

    def __init__(
        self, outputs: Sequence[Output], *, retry_first: float = RETRY_FIRST, retry_max: float = RETRY_MAX
    ) -> None:
        self._outputs = [_Supervised(output, retry_first, retry_max) for output in outputs]
        self._retries = (retry_first, retry_max)
        self._start: Callable[[_Supervised], asyncio.Task[None]] | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def health(self) -> tuple[OutputHealth, ...]:
        """Every output at a glance, those included that wait for their next try."""
        return tuple(output.health for output in self._outputs)

    async def replace(self, output: Output) -> None:
        """Put an output in the place of the one of the same name, while they run. It goes on from that one's place."""
        number = next(n for n, each in enumerate(self._outputs) if each.health.name == output.name)
        assert self._start is not None
        task = self._tasks[output.name]
        task.cancel()
        await asyncio.wait({task})
        self._outputs[number] = _Supervised(output, *self._retries)
        self._tasks[output.name] = self._start(self._outputs[number])

    def reopen(self) -> None:
        """SIGHUP: outputs open their paths anew, those in trouble try at once."""
        for output in self._outputs:
            output.reopen()

    async def run(self, log: EventLog) -> None:
        """Run all outputs until cancelled. Raises an error of another kind, such as DurabilityError."""
        try:
            async with asyncio.TaskGroup() as group:
                self._start = lambda output: group.create_task(output.run(log), name=f"output-{output.health.name}")
                for output in self._outputs:
                    self._tasks[output.health.name] = self._start(output)
        except BaseExceptionGroup as failed:
            raise root_cause(failed) from failed


class _Supervised:
    """One output with its supervisor."""

    def __init__(self, output: Output, retry_first: float, retry_max: float) -> None:
        self._output = output
        self._retry_first = retry_first
        self._retry_max = retry_max
        self._trouble = ""
        self._again = asyncio.Event()

    @property
    def health(self) -> OutputHealth:
        health = self._output.health
        return msgspec.structs.replace(health, trouble=self._trouble) if self._trouble else health

    def reopen(self) -> None:
        self._again.set()
        self._output.reopen()

    async def run(self, log: EventLog) -> None:
        clock = asyncio.get_running_loop().time
        delay = self._retry_first
        while True:
            started = clock()
            trouble = await self._once(log)
            if trouble != self._trouble:
                logger.error("output %s: %s", self._output.name, trouble, extra={"event": "output_trouble"})
            self._trouble = trouble
            if clock() - started > self._retry_max:
                delay = self._retry_first
            self._again.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._again.wait()
            delay = min(2 * delay, self._retry_max)

    async def _once(self, log: EventLog) -> str:
        """Run the output until it gives up; returns its trouble."""
        task = asyncio.ensure_future(self._output.run(log))
        try:
            await asyncio.wait({task}, timeout=_SETTLED)
            if self._trouble and not task.done():
                logger.info("output %s: works again", self._output.name, extra={"event": "output_works"})
                self._trouble = ""
            await task
        except DurabilityError:
            raise
        except (OutputError, StoreError) as error:
            # Whether the daemon can live with its database is for the writer to say, not for an output.
            return str(error)
        except Exception as error:
            # A defect of one output must not take the polling and the others down.
            logger.exception("output %s failed", self._output.name, extra={"event": "output_error"})
            return f"{type(error).__name__}: {error}"
        finally:
            # Cancelled in the wait above, the output still has to sync and save its place; its error must not get lost.
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OutputError, StoreError):
                    await task
        return "ended by itself, though it should run until it is stopped"
