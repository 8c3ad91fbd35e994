"""Housekeeping runs its jobs on a real scheduler, and the daemon's own jobs on a real store."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from pollerd.backoff import Adaptive, Exponential, Settings
from pollerd.base.errors import DurabilityError, StoreError
from pollerd.base.logs import Cleaner, Secrets
from pollerd.config import load
from pollerd.config.policy import Learner
from pollerd.core.ports import EventLog, OutputHealth
from pollerd.daemon.clock import SystemClock
from pollerd.daemon.housekeeping import Housekeeping, Job, NoteWriter, standard_jobs
from pollerd.daemon.housekeeping import _Every as Every
from pollerd.daemon.systemd import Notifier
from pollerd.intake.loop import Intake
from pollerd.outputs.relay import Relay
from pollerd.polling.committer import Committer
from pollerd.status.metrics.meter import Meter
from pollerd.status.parts import Parts
from pollerd.status.statistics import Statistics
from pollerd.status.warnlog import WarnLog
from pollerd.store.engine import engine_at
from pollerd.store.sqlite.store import SqliteStore
from pollerd.store.views import ThreadedViews

PATIENCE = 120.0


@asynccontextmanager
async def started(housekeeping: Housekeeping) -> AsyncIterator[Housekeeping]:
    task = asyncio.create_task(housekeeping.run())
    try:
        yield housekeeping
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def running(*jobs: Job) -> AbstractAsyncContextManager[Housekeeping]:
    return started(Housekeeping(jobs))


class Counting:
    """A job that can be waited for."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.count = 0
        self._outcomes = list(outcomes)
        self._ran = asyncio.Condition()

    async def __call__(self) -> None:
        async with self._ran:
            self.count += 1
            self._ran.notify_all()
        if self._outcomes and (outcome := self._outcomes.pop(0)) is not None:
            raise outcome

    async def times(self, wanted: int) -> None:
        async with asyncio.timeout(PATIENCE), self._ran:
            await self._ran.wait_for(lambda: self.count >= wanted)


async def test_jobs_run_again_and_again_beside_each_other() -> None:
    quick, other = Counting(), Counting()
    async with running(Job("quick", 0.02, quick, first=0.0), Job("other", 0.02, other)):
        await quick.times(3)
        await other.times(3)


async def test_a_job_never_runs_beside_itself() -> None:
    together: list[int] = [0, 0]
    go = asyncio.Event()
    quick = Counting()

    async def slow() -> None:
        together[0] += 1
        together[1] = max(together)
        await go.wait()
        together[0] -= 1

    async with running(Job("slow", 0.01, slow, first=0.0), Job("quick", 0.01, quick)):
        await quick.times(10)
        assert together == [1, 1]
        go.set()


@pytest.mark.parametrize(
    "error", [StoreError("no room"), OSError(28, "no room"), ZeroDivisionError("a mistake: no room")]
)
async def test_a_job_that_fails_is_named_once_and_goes_on(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pollerd")
    job = Counting(error, error, None)
    async with running(Job("checkpoint", 0.02, job, first=0.0)):
        await job.times(4)
    events = [str(r.__dict__["event"]) for r in caplog.records if r.name == "pollerd.daemon.housekeeping"]
    assert events.count("housekeeping_failed") == 1
    assert events[-1] == "housekeeping_recovered"


async def test_a_disk_that_cannot_be_trusted_ends_it() -> None:
    housekeeping = Housekeeping([Job("checkpoint", 10.0, Counting(DurabilityError("fsync")), first=0.0)])
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BaseExceptionGroup) as caught:
            await housekeeping.run()
    assert caught.value.subgroup(DurabilityError) is not None


async def test_cancelling_takes_running_jobs_down_quietly(caplog: pytest.LogCaptureFixture) -> None:
    began = asyncio.Event()

    async def slow() -> None:
        began.set()
        await asyncio.Event().wait()

    async with running(Job("slow", 10.0, slow, first=0.0)):
        await began.wait()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


Step = Callable[[float], None]


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Step:
    """Steps APScheduler's view of the wall clock for real; its timer goes on as before."""
    shift = [timedelta(0)]

    class Stepped:
        @staticmethod
        def now(_zone: tzinfo) -> datetime:
            return datetime.now(UTC) + shift[0]

    def stepped(seconds: float) -> None:
        shift[0] = timedelta(seconds=seconds)

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Stepped)
    monkeypatch.setattr("pollerd.daemon.housekeeping.datetime", Stepped)
    return stepped


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
async def test_a_stepped_clock_moves_what_is_planned_with_it(seconds: float, step: Step) -> None:
    """A job due in 0.3 s must stay due in about that."""
    job = Counting()
    async with running(Job("job", 0.3, job)) as housekeeping:
        await job.times(1)
        step(seconds)
        housekeeping.clock_stepped(seconds)
        await job.times(3)


async def test_what_fell_due_while_the_machine_slept_is_done_at_once(step: Step) -> None:
    job, quick = Counting(), Counting()
    async with running(Job("job", 3600.0, job), Job("at the start", 3600.0, quick, first=0.0)) as housekeeping:
        await quick.times(1)
        step(5 * 3600.0)
        housekeeping.clock_stepped(0.0)
        await job.times(1)


async def test_a_step_before_the_start_moves_no_job() -> None:
    job = Counting()
    housekeeping = Housekeeping([Job("job", 0.02, job)])
    housekeeping.clock_stepped(3600.0)
    async with started(housekeeping):
        await job.times(2)


def test_a_step_of_many_years_is_one_missed_time() -> None:
    boot, now = datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC)
    assert Every(5.0).get_next_fire_time(boot, now) == now + timedelta(seconds=5)
    assert Every(5.0).get_next_fire_time(now, now) == now + timedelta(seconds=5)
    assert Every(5.0).get_next_fire_time(None, now) == now + timedelta(seconds=5)


# -- the daemon's own jobs


class Full:
    """An output whose disk is full."""

    name = "file"
    health = OutputHealth("file", 0, "disk full")

    async def run(self, log: EventLog) -> None:
        raise AssertionError("nobody runs it here")

    def reopen(self) -> None:
        raise AssertionError("nobody reopens it here")


@pytest.fixture
def parts(store: SqliteStore, tmp_path: Path) -> Iterator[Parts]:
    path = tmp_path / "pollerd.toml"
    path.write_text('[accounts.default]\ntoken = "a-token-of-a-test"\n[outputs.file]\npath = "events.ndjson"\n')
    clock = SystemClock()
    committer = Committer(store, clock)
    policy, statistics = Adaptive(5.0, 1, settings=Settings()), Statistics(clock.wall())
    found = Parts(
        config=load(path, {}, tmp_path),
        clock=clock,
        store=store,
        views=ThreadedViews(engine_at(store.path)),
        committer=committer,
        policy=policy,
        pollers={},
        intake=Intake(store, committer, {}, clock, Learner(policy)),
        sources=[],
        relay=Relay([Full()]),
        meter=Meter(statistics.count),
        statistics=statistics,
        warnings=WarnLog(Cleaner(Secrets(), show_msisdn=False)),
        stuck=lambda: None,
    )
    yield found
    found.views.close()


async def test_every_standard_job_does_its_work_on_a_real_store(parts: Parts, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        committing = asyncio.create_task(parts.committer.run())
        jobs = {job.name: job for job in standard_jobs(parts, Notifier(str(tmp_path / "notify")))}
        assert set(jobs) == {
            "retention",
            "checkpoint",
            "learning",
            "unknown ids",
            "incoming texts",
            "model snapshot",
            "statistics",
            "status",
        }
        for job in jobs.values():
            await job.run()
        await parts.committer.flush()
        committing.cancel()
        assert systemd.recv(1000) == b"STATUS=0 pending, 0 due, 0.0 polls/s, output file in trouble: disk full"
    model = await parts.store.note("model")
    assert model
    assert await parts.store.note("statistics")
    again = Adaptive(5.0, 1, settings=Settings())
    again.restore(model)
    assert again.snapshot() == model


async def test_no_status_line_where_nobody_listens(parts: Parts) -> None:
    jobs = standard_jobs(parts, Notifier(None))
    assert "status" not in {job.name for job in jobs}


async def test_what_was_not_learned_again_is_not_written_again(store: SqliteStore) -> None:
    committer = Committer(store, SystemClock())
    committing = asyncio.create_task(committer.run())
    policy = Adaptive(5.0, 1, settings=Settings())
    snapshot = NoteWriter("model", policy.snapshot, committer)
    await snapshot()
    idle = [committer.idle]
    await committer.flush()
    await snapshot()
    idle.append(committer.idle)
    nothing = NoteWriter("model", Exponential(Settings()).snapshot, committer)
    await nothing()
    idle.append(committer.idle)
    assert idle == [False, True, True]
    committing.cancel()


async def test_a_stop_while_a_job_is_being_started_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """The scheduler logs what it cancels with a traceback, which would seem a fault to whoever stops the daemon."""
    housekeeping = Housekeeping([Job("due at once", 60.0, Counting())])
    task = asyncio.create_task(housekeeping.run())
    for _ in range(2):
        await asyncio.sleep(0)
    task.cancel()
    housekeeping.clock_stepped(-3600.0)
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(5):
        await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.name.startswith("apscheduler") and record.exc_info]
