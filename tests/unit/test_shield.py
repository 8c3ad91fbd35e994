"""Work that is not left half-way by a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from pollerd.base.errors import DurabilityError
from pollerd.base.shield import to_end


class Work:
    """Something under way until it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun, self.go, self.hurried, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event(), False
        self._error = error

    async def run(self) -> str:
        self.begun.set()
        await self.go.wait()
        self.ended = True
        if self._error is not None:
            raise self._error
        return "done"


async def cancelled(work: Work) -> asyncio.Task[str]:
    """A task that awaits the work and has been cancelled twice."""
    task = asyncio.create_task(to_end(work.run(), work.hurried.set))
    await work.begun.wait()
    task.cancel()
    await work.hurried.wait()
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_without_a_cancellation_it_is_a_plain_await() -> None:
    work = Work()
    work.go.set()
    assert await to_end(work.run(), work.hurried.set) == "done"
    assert not work.hurried.is_set()


@pytest.mark.parametrize("error", [None, ValueError("of the work")])
async def test_a_cancellation_is_raised_when_the_work_has_ended(error: Exception | None) -> None:
    work = Work(error)
    task = await cancelled(work)
    work.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended


async def test_a_disk_that_cannot_be_trusted_outweighs_the_cancellation() -> None:
    work = Work(DurabilityError("a disk"))
    task = await cancelled(work)
    work.go.set()
    with pytest.raises(DurabilityError):
        await task


async def test_work_that_hangs_is_left_behind_when_the_patience_is_over() -> None:
    work = Work()
    task = asyncio.create_task(to_end(work.run(), work.hurried.set, patience=0.01))
    await work.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.hurried.is_set()
    assert not work.ended
