"""What has to be done now and then, beside the polling. APScheduler says when; nothing of it outlives the process.

A job that fails is named once and tried again at its next time. Only a disk that cannot be trusted ends the daemon.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import msgspec
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from pollerd.backoff import Policy
from pollerd.base.errors import DurabilityError, PollerdError
from pollerd.config import IncomingConfig
from pollerd.config.policy import MODEL
from pollerd.core.ports import Clock, IncomingBook
from pollerd.daemon.systemd import Notifier
from pollerd.daemon.unknown_ids import UnknownWatch
from pollerd.polling.committer import Committer
from pollerd.status.line import StatusLine
from pollerd.status.parts import Parts
from pollerd.status.statistics import STATISTICS_NOTE

log = logging.getLogger(__name__)

LEARN_STEPS: Final = 50
"""Steps of the policy's own work a second at most, each below 5 ms."""


class Job(msgspec.Struct, frozen=True):
    """Something to be done every `every` seconds, first after `first` (not given: after `every`)."""

    name: str
    every: float
    run: Callable[[], Awaitable[object]]
    first: float | None = None


class Housekeeping:
    """Runs jobs, each in a task of its own, none twice at a time."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = tuple(jobs)
        self._running: set[str] = set()
        self._group: asyncio.TaskGroup | None = None
        self._failing: set[str] = set()
        # What is late is done once and at once, however late: a machine may have been asleep.
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults=defaults)

    async def run(self) -> None:
        """Work until cancelled. Raises DurabilityError (in a group) when a job met a disk that cannot be trusted."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for job in self._jobs:
                self._add(group, job)
            self._scheduler.start()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await self._end()

    def _add(self, group: asyncio.TaskGroup, job: Job) -> None:
        first = job.every if job.first is None else job.first
        self._scheduler.add_job(
            self._start,
            _Every(job.every),
            args=(group, job),
            id=job.name,
            name=job.name,
            next_run_time=datetime.now(UTC) + timedelta(seconds=first),
        )

    def replace(self, stale: Iterable[str], jobs: Iterable[Job]) -> None:
        """Others, while they run, in the place of the jobs named `stale`."""
        gone, fresh = frozenset(stale), tuple(jobs)
        for job in self._jobs:
            if job.name in gone and self._scheduler.get_job(job.name) is not None:
                self._scheduler.remove_job(job.name)
        self._jobs = (*(job for job in self._jobs if job.name not in gone), *fresh)
        if self._group is not None:
            for job in fresh:
                self._add(self._group, job)

    async def _end(self) -> None:
        self._scheduler.pause()
        try:
            # A start under way ends in this round; the scheduler would cancel it, and log that as a failure.
            await asyncio.sleep(0)
        finally:
            self._scheduler.shutdown(wait=False)
        # It takes itself down in the loop's next round.
        await asyncio.sleep(0)

    def clock_stepped(self, seconds: float) -> None:
        """The wall clock was stepped by `seconds`: due times move with it; 0.0: the machine was asleep or stopped.

        APScheduler plans on the wall clock alone: after a step back nothing would run until it has caught up. And it
        waits on a clock that stands still while the machine sleeps.
        """
        if not self._scheduler.running:
            return
        now = datetime.now(UTC)
        for job in self._jobs:
            planned = self._scheduler.get_job(job.name)
            if planned is not None:
                due = min(max(planned.next_run_time + timedelta(seconds=seconds), now), now + _seconds(job.every))
                self._scheduler.modify_job(job.name, next_run_time=due)

    async def _start(self, group: asyncio.TaskGroup, job: Job) -> None:
        if job.name not in self._running:
            self._running.add(job.name)
            group.create_task(self._guarded(job), name=f"housekeeping {job.name}")

    async def _guarded(self, job: Job) -> None:
        try:
            await job.run()
        except DurabilityError:
            raise
        except (PollerdError, OSError) as error:
            self._failed(job, error)
        except Exception as error:
            # A mistake in a side job must not take the polling down with it.
            log.exception("%s failed", job.name, extra={"event": "housekeeping_error", "job": job.name})
            self._failed(job, error)
        else:
            if job.name in self._failing:
                self._failing.discard(job.name)
                log.info("%s works again", job.name, extra={"event": "housekeeping_recovered", "job": job.name})
        finally:
            self._running.discard(job.name)

    def _failed(self, job: Job, error: Exception) -> None:
        if job.name not in self._failing:
            self._failing.add(job.name)
            log.warning(
                "%s failed and is tried again every %.0f s: %s",
                job.name,
                job.every,
                error,
                extra={"event": "housekeeping_failed", "job": job.name},
            )


class _Every:
    """A trigger of APScheduler: its own one counts up every missed time, for minutes after a step of many years."""

    def __init__(self, seconds: float) -> None:
        self._interval = _seconds(seconds)

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The next time after `now`."""
        due = now if previous is None else previous + self._interval
        return due if due > now else now + self._interval


BaseTrigger.register(_Every)


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


# -- the daemon's own jobs


def standard_jobs(parts: Parts, notifier: Notifier) -> list[Job]:
    """Retention, the store's own chores, learning, what is learned and counted; the status line for systemd."""
    store, clock = parts.store, parts.clock
    outputs = frozenset(health.name for health in parts.relay.health if health.readers is None)
    kept = parts.config.store
    retention = store.retention(outputs, kept.keep_finished, kept.events_kept)
    # Periods in seconds. A crash loses what was learned or counted since the last note.
    jobs = [
        Job("retention", 600.0, lambda: retention.run(clock.now()), first=60.0),
        Job("incoming texts", 60.0, partial(_remove_texts, parts, store.incoming()), first=5.0),
        *(Job(*chore) for chore in store.chores()),
        Job("learning", 1.0, lambda: _learn(parts.policy, clock)),
        Job("unknown ids", 10.0, UnknownWatch(store, tuple(parts.pollers))),
        Job("model snapshot", 30.0, NoteWriter(MODEL, parts.policy.snapshot, parts.committer)),
        Job("statistics", 10.0, NoteWriter(STATISTICS_NOTE, parts.statistics.snapshot, parts.committer)),
    ]
    if notifier.active:
        line = StatusLine(parts.pollers, clock)
        jobs.append(Job("status", 5.0, lambda: _write_status(parts, notifier, line), first=0.0))
    return jobs


async def _remove_texts(parts: Parts, book: IncomingBook) -> None:
    """Remove the texts of incoming messages that were kept for long enough; those of an account that does not ask for
    any more, after the default.
    """
    now, accounts = parts.clock.now(), parts.config.accounts.items()
    before = {name: now - account.incoming.keep for name, account in accounts if account.incoming is not None}
    if await book.remove_texts(before, now - IncomingConfig().keep):
        await parts.store.scrub()


class NoteWriter:
    """Hands a state, such as what the policy learned, to the committer when it has changed."""

    def __init__(self, name: str, take: Callable[[], bytes], committer: Committer) -> None:
        """`take` gives the state; it is kept as the note `name`."""
        self._name = name
        self._take = take
        self._committer = committer
        self._last = b""

    async def __call__(self) -> None:
        """Take the state once."""
        taken = self._take()
        if taken != self._last:
            self._committer.record_note(self._name, taken)
            self._last = taken


async def _learn(policy: Policy, clock: Clock) -> None:
    for _ in range(LEARN_STEPS):
        if not policy.maintain(clock.now()):
            return
        await asyncio.sleep(0)


async def _write_status(parts: Parts, notifier: Notifier, line: StatusLine) -> None:
    counters = await parts.store.counters()
    text = line.line(counters.get("pending", 0), parts.committer.trouble, parts.relay.health, parts.notice)
    # Where another machine could poll, it says that this one does.
    notifier.status(text if parts.config.store.url is None else f"active: {text}")
