"""A refusal of everything is no verdict on anything: nothing that was seen before ends by it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pollerd.base.errors import PollerdError
from pollerd.client.remote import Remote
from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim, account_events, asked, blamed
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.waiting import PATIENCE, until
from tests.sqlite_kit import transaction

SPEED = 120.0
FOREVER = [Step(0.0, "ENROUTE")]
BACKOFF = 'policy = "exponential"\nmin_interval = "2s"\nmax_interval = "30s"\nnot_found_grace = "15m"'
TOOK_NOTHING = "the database took nothing"
LIMITS = 'requests_per_second = 20\ntimeout = "5m"'


@asynccontextmanager
async def started(folder: Path, shim: Shim, backoff: str = BACKOFF) -> AsyncIterator[tuple[Simulator, Deployment]]:
    """A gateway that answers, and a daemon at work whose clocks run `SPEED` times as fast."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(folder, simulator, backoff=backoff, limits=LIMITS) as deployment,
    ):
        await deployment.start(environment=shim.environment(speed=SPEED))
        yield simulator, deployment


def add(simulator: Simulator, count: int) -> list[int]:
    """Messages that stay pending."""
    return [simulator.truth.add(steps=FOREVER) for _ in range(count)]


async def polled(deployment: Deployment, ids: list[int]) -> None:
    """Hand messages over; return when each was answered and the daemon has it on disk."""
    deployment.insert(ids)
    marks = ",".join(map(str, ids))
    count = f"SELECT count(*) FROM messages WHERE seen_at IS NOT NULL AND id IN ({marks})"
    await until(lambda: deployment.query(count) == [(len(ids),)], "all were seen")


async def pass_time(simulator: Simulator, seconds: float) -> None:
    """So many of the daemon's seconds pass."""
    ends = simulator.now() + seconds / SPEED
    await until(lambda: simulator.now() > ends, "time passes", patience=seconds / SPEED + PATIENCE)


def deliver(simulator: Simulator, ids: list[int]) -> None:
    for number in ids:
        simulator.truth.get(number).steps = (Step(0.0, "ENROUTE"), Step(1.0, "DELIVERED"))


def gave_up(deployment: Deployment) -> dict[int, str]:
    return {event["id"]: event["reason"] for event in deployment.events() if event["type"] == "message.gave_up"}


@pytest.mark.parametrize(
    ("fault", "count"), [("404:form=text", 20), ("404:form=empty", 1), ("410:form=json", 1), ("418:form=vendor", 20)]
)
async def test_what_the_gateway_did_not_write_ends_nothing(
    fault: str, count: int, tmp_path: Path, shim: Shim, row: Row
) -> None:
    """A proxy without a backend refuses all for 18 minutes: held, few requests, everything reported afterwards."""
    async with started(tmp_path, shim) as (simulator, deployment):
        ids = add(simulator, count)
        await polled(deployment, ids)
        simulator.faults.set(f"{fault}:on=read")
        began = simulator.now()
        await until(lambda: account_events(deployment), "the account is held")
        await pass_time(simulator, 18 * 60)
        requests = len(asked(simulator, began))
        assert blamed(deployment) == []
        deliver(simulator, ids)
        simulator.faults.set()
        await until(lambda: len(finals(deployment.events())) == count, "everything is told")
        assert await deployment.stop() == 0
        assert gave_up(deployment) == {}
        assert [event["type"] for event in account_events(deployment)] == ["account.held", "account.recovered"]
        assert "not written by the gateway" in account_events(deployment)[0]["detail"] or "418" in fault
        assert requests < 60
        row(f"{fault}, {count} messages, 18 min: {requests} requests, 0 given up")


@pytest.mark.parametrize(("fault", "count"), [("404", 20), ("410", 20), ("404", 2), ("422", 1), ("wrong_json", 1)])
async def test_one_refusal_for_all_is_no_verdict_on_any(
    fault: str, count: int, tmp_path: Path, shim: Shim, row: Row
) -> None:
    """The vendor's own refusal, to all for 18 minutes: what was answered before is asked again; the account is held."""
    async with started(tmp_path, shim) as (simulator, deployment):
        ids = add(simulator, count)
        done = simulator.truth.add(steps=[Step(0.0, "DELIVERED")])
        await polled(deployment, [*ids, done])
        simulator.faults.set(f"{fault}:on=read")
        began = simulator.now()
        await until(lambda: account_events(deployment), "the account is held")
        held = (simulator.now() - began) * SPEED
        before = len(asked(simulator, began))
        await pass_time(simulator, 18 * 60)
        requests = len(asked(simulator, began))
        assert gave_up(deployment) == {}
        deliver(simulator, ids)
        simulator.faults.set()
        await until(lambda: len(finals(deployment.events())) == count + 1, "everything is told")
        assert await deployment.stop() == 0
        assert gave_up(deployment) == {}
        first, last = account_events(deployment)
        assert (first["type"], first["reason"]) == ("account.held", "refusing")
        assert (last["type"], last["reason"]) == ("account.recovered", "refusing")
        row(f"{fault}, {count}: held after {held:.0f} s, {before} requests; {requests} in 18 min, 0 given up")


def steps_of(simulator: Simulator, number: int, since: float) -> list[str]:
    """What a message was answered since then."""
    return [answer for at, answer in simulator.record(number).poll_log if at >= since]


async def test_one_message_alone_ends_by_a_refusal(tmp_path: Path, shim: Shim, row: Row) -> None:
    """Seen before, and refused from now on while all others are answered: it ends, and nothing else happens."""
    async with started(tmp_path, shim) as (simulator, deployment):
        good = add(simulator, 3)
        bad = add(simulator, 2)
        await polled(deployment, [*good, *bad])
        began = simulator.now()
        simulator.faults.set(f"404:ids={bad[0]}", f"410:ids={bad[1]}")
        await until(lambda: len(gave_up(deployment)) == 2, "both are given up")
        took = (simulator.now() - began) * SPEED
        assert await deployment.stop() == 0
        assert gave_up(deployment) == {bad[0]: "not_found", bad[1]: "rejected_request"}
        assert account_events(deployment) == []
        assert took >= 15 * 60, "not before the grace"
        tries = [len(steps_of(simulator, number, began)) for number in bad]
        assert tries[1] <= 8
        row(f"tries until given up: 404 {tries[0]}, 410 {tries[1]}; {len(good)} others polled on, 0 holds")


@pytest.mark.parametrize("refusal", ["404", "422"])
async def test_ids_of_which_half_are_foreign_hinder_nobody(refusal: str, tmp_path: Path, shim: Shim, row: Row) -> None:
    """Never seen, a 404 is waited out and another refusal ends it; what is ours is polled and judged as ever."""
    foreign = list(range(4_000_000_000, 4_000_000_010))
    refused = f"{refusal}:ids={'+'.join(map(str, foreign))}"
    async with started(tmp_path, shim) as (simulator, deployment):
        simulator.faults.set(refused)
        good = add(simulator, len(foreign))
        deployment.insert(one for pair in zip(foreign, good, strict=True) for one in pair)
        await polled(deployment, good)
        seen, before = {one: simulator.truth.polls(one) for one in good}, simulator.statistics().polls_unknown
        simulator.faults.set(refused, f"404:ids={good[0]}")
        await until(lambda: good[0] in gave_up(deployment), "one of ours is judged by the others of ours")
        polls = min(simulator.truth.polls(one) - seen[one] for one in good[1:])
        each = (simulator.statistics().polls_unknown - before) / len(foreign)
        # The same steps for all of them: a poll or two more or less, by when the grace ended.
        assert polls >= 0.8 * each, "ours are not behind the others"
        deliver(simulator, good[1:])
        await until(lambda: len(finals(deployment.events())) == len(good) - 1, "everything is told")
        assert await deployment.stop() == 0
        ended = {} if refusal == "404" else dict.fromkeys(foreign, "rejected_request")
        assert gave_up(deployment) == {**ended, good[0]: "not_found"}
        assert account_events(deployment) == []
        row(f"{refusal}: ours polled {polls} times at least in its grace, the others {each:.1f} times, 0 holds")


async def test_a_hold_for_refusing_outlives_restart_and_kill(tmp_path: Path, shim: Shim, row: Row) -> None:
    """Reported once; after SIGTERM and kill -9 the probes go on, in turn to answered ones and to the newest."""
    async with started(tmp_path, shim) as (simulator, deployment):
        ids = add(simulator, 2)
        done = [simulator.truth.add(steps=[Step(0.0, "DELIVERED")]) for _ in range(20)]
        deployment.insert([*ids, *done])
        await until(lambda: len(finals(deployment.events())) == 20, "some are delivered")
        simulator.faults.set("404:on=read")
        await until(lambda: account_events(deployment), "the account is held")
        counts = []
        for end in (deployment.stop, deployment.kill):
            await pass_time(simulator, 2 * 60)
            await end()
            began = simulator.now()
            await deployment.start(environment=shim.environment(speed=SPEED))
            await pass_time(simulator, 10 * 60)
            counts.append(len(asked(simulator, began)))
        newest = simulator.truth.add(steps=FOREVER)
        deployment.insert([newest])
        await until(lambda: simulator.truth.polls(newest) > 0, "the newest is a probe")
        await until(lambda: any(simulator.truth.polls(i) > 1 for i in done), "what has ended here too")
        assert len(account_events(deployment)) == 1
        assert gave_up(deployment) == {}
        status = (await deployment.command("status"))[1]
        doctor = (await deployment.command("doctor"))[1]
        for said in (status, doctor):
            assert "pollerd retry --resume default" in " ".join(said.split())
        deliver(simulator, [*ids, newest])
        simulator.faults.set()
        await until(lambda: len(finals(deployment.events())) == 23, "everything is told")
        assert await deployment.stop() == 0
        assert gave_up(deployment) == {}
        assert [event["type"] for event in account_events(deployment)] == ["account.held", "account.recovered"]
        assert max(counts) <= 12
        row(f"probes in 10 min after a restart {counts[0]}, after a kill {counts[1]}; 1 held, 1 recovered, 0 given up")


async def resumed(deployment: Deployment, way: str) -> None:
    """The word is said. The time in which the daemon has to write it is so short here that a busy one asks again."""
    said = TOOK_NOTHING
    while TOOK_NOTHING in said:
        if way == "socket":
            try:
                await asyncio.to_thread(Remote(deployment.folder / "control.sock").resume, "default")
            except PollerdError as error:
                said = str(error)
            else:
                return
        else:
            _, out, err = await deployment.command("retry", "--resume", "default")
            said = out + err
    assert "is polled again" in said or "is not on hold" in said, said


@pytest.mark.parametrize("way", ["command", "command without a daemon", "socket"])
async def test_somebody_may_say_that_the_messages_are_gone(way: str, tmp_path: Path, shim: Shim, row: Row) -> None:
    """`retry --resume`: the hold ends with its event, what is refused ends by the usual rules, without a new hold."""
    async with started(tmp_path, shim) as (simulator, deployment):
        ids = add(simulator, 6)
        await polled(deployment, ids)
        assert (await deployment.command("retry", "--resume", "default"))[:2] == (0, "default is not on hold.\n")
        simulator.faults.set("404:on=read")
        await until(lambda: account_events(deployment), "the account is held")
        if way == "command without a daemon":
            await deployment.stop()
        await resumed(deployment, way)
        if way == "command without a daemon":
            await deployment.start(environment=shim.environment(speed=SPEED))
        began = simulator.now()
        await until(lambda: len(gave_up(deployment)) == 6, "they end by the usual rules")
        took = (simulator.now() - began) * SPEED
        assert took >= 14 * 60, "the grace begins when the hold ends"
        simulator.faults.set()
        fresh = simulator.truth.add(steps=FOREVER)
        await polled(deployment, [fresh])
        assert deployment.query("SELECT trusting FROM accounts") == [(0,)]
        assert await deployment.stop() == 0
        held, recovered = account_events(deployment)
        assert (held["reason"], recovered["reason"]) == ("refusing", "refusing")
        assert "ended by a command" in recovered["detail"]
        assert set(gave_up(deployment).values()) == {"not_found"}
        row(f"given up {took / 60:.0f} min after the word, 1 hold")


async def test_a_week_of_refusals_is_believed(tmp_path: Path, shim: Shim) -> None:
    """The hold's beginning is on disk: eight days later it ends by itself, with its event, also after a restart."""
    async with started(tmp_path, shim) as (simulator, deployment):
        ids = add(simulator, 6)
        await polled(deployment, ids)
        simulator.faults.set("404:on=read")
        await until(lambda: account_events(deployment), "the account is held")
        await deployment.stop()
        with transaction(deployment.database) as database:
            database.execute("UPDATE accounts SET held_since = held_since - 8 * 86400")
        await deployment.start(environment=shim.environment(speed=SPEED))
        await until(lambda: len(account_events(deployment)) == 2, "the hold ends")
        assert "believed" in account_events(deployment)[1]["detail"]
        assert gave_up(deployment) == {}, "a grace begins only now"
        await until(lambda: len(gave_up(deployment)) == 6, "then they end by the usual rules")
        assert len(account_events(deployment)) == 2


@pytest.mark.parametrize(
    "faults",
    [
        ("404:0.5:on=read",),
        ("410:0.5:on=read:by=connection", "404:0.5:on=read:by=connection:form=text"),
        ("404:0.5:on=read:by=1.5",),
        ("422:0.7:on=read:by=0.2", "404:0.2:on=read", "500:0.2:on=read"),
    ],
    ids=["by request", "by connection", "by period", "by turns"],
)
async def test_a_balancer_that_flaps_ends_nothing(
    faults: tuple[str, ...], tmp_path: Path, shim: Shim, row: Row
) -> None:
    """Refusals that come and go, with a grace that is much shorter than they last: nothing is given up."""
    backoff = 'policy = "exponential"\nmin_interval = "2s"\nmax_interval = "30s"\nnot_found_grace = "20s"'
    async with started(tmp_path, shim, backoff) as (simulator, deployment):
        ids = add(simulator, 12)
        await polled(deployment, ids)
        simulator.faults.set(*faults)
        began = simulator.now()
        await pass_time(simulator, 15 * 60)
        requests = len(asked(simulator, began))
        holds = [event for event in account_events(deployment) if event["type"] == "account.held"]
        deliver(simulator, ids)
        simulator.faults.set()
        await until(lambda: len(finals(deployment.events())) == len(ids), "everything is told")
        assert await deployment.stop() == 0
        assert gave_up(deployment) == {}
        row(f"{faults}: {requests} requests in 15 min, {len(holds)} holds, 0 given up")


async def test_what_is_gone_after_the_gateways_retention_ends_while_new_ones_work(
    tmp_path: Path, shim: Shim, row: Row
) -> None:
    """Old messages, those answered last among them, are refused from now on; new ones are answered."""
    async with started(tmp_path, shim) as (simulator, deployment):
        old = add(simulator, 30)
        await polled(deployment, old)
        simulator.faults.set(f"404:on=read:ids={'+'.join(map(str, old))}")
        new = add(simulator, 3)
        deployment.insert(new)
        await until(lambda: len(gave_up(deployment)) == len(old), "the old ones end")
        assert await deployment.stop() == 0
        assert set(gave_up(deployment)) == set(old)
        holds = [event for event in account_events(deployment) if event["type"] == "account.held"]
        assert len(holds) <= 1
        row(f"{len(old)} old ones end, {len(new)} new ones go on, {len(holds)} holds")


async def test_a_fresh_installation_gives_nothing_up_within_a_day(tmp_path: Path, shim: Shim, row: Row) -> None:
    """Nothing was ever answered: nobody can say whose fault a refusal is. A warning, no hold, few requests."""
    async with started(tmp_path, shim) as (simulator, deployment):
        simulator.faults.set("410:on=read")
        ids = add(simulator, 5)
        deployment.insert(ids)
        began = simulator.now()
        await until(lambda: any(line.get("event") == "refusal_alone" for line in deployment.log()), "a warning")
        await pass_time(simulator, 30 * 60)
        requests = len(asked(simulator, began))
        assert (gave_up(deployment), account_events(deployment)) == ({}, [])
        deliver(simulator, ids)
        simulator.faults.set()
        await until(lambda: len(finals(deployment.events())) == 5, "everything is told")
        assert await deployment.stop() == 0
        assert len([line for line in deployment.log() if line.get("event") == "refusal_alone"]) == 1
        assert requests < 5 * 20
        row(f"{requests} requests for 5 messages in half an hour, 0 given up, 1 warning")


async def test_what_the_same_refusal_ended_before_the_hold_is_taken_up_again_once(
    tmp_path: Path, shim: Shim, row: Row
) -> None:
    """At first only some are refused, and end alone; then all are. The daemon is killed as it takes them up again."""
    async with started(tmp_path, shim) as (simulator, deployment):
        first = add(simulator, 3)
        other, mine = simulator.truth.add(steps=FOREVER), simulator.truth.add(steps=FOREVER)
        rest = add(simulator, 5)
        unseen = 4_000_000_000
        await polled(deployment, [*first, other, *rest, mine])
        simulator.faults.set(f"410:on=read:ids={'+'.join(map(str, [*first, unseen]))}", f"422:on=read:ids={other}")
        deployment.insert([unseen])
        await until(lambda: len(gave_up(deployment)) == 5, "they end alone")
        await deployment.command("untrack", str(mine))
        simulator.faults.set("410:on=read")
        await until(lambda: account_events(deployment), "the account is held")
        await deployment.kill()
        await deployment.start(environment=shim.environment(speed=SPEED))

        def resumed() -> list[int]:
            return [event["id"] for event in deployment.events() if event["type"] == "message.resumed"]

        await until(lambda: len(resumed()) == 3, "those that the same refusal ended are taken up again")
        assert "taken up again automatically" in (await deployment.command("show", str(first[0])))[1]
        deliver(simulator, [*first, *rest])
        simulator.faults.set()
        await until(lambda: len(finals(deployment.events())) == 3 + len(rest), "everything is told")
        assert sorted(resumed()) == sorted(first), "not the other refusal, not the never seen, not the untracked"
        assert await deployment.stop() == 0
        counted = dict(deployment.query("SELECT name, value FROM counters"))
        assert (counted["gave_up"], counted["pending"]) == (3, 0)
        row(f"{len(first)} of 6 ended before the hold taken up again, once each, over a kill; told by message.resumed")


async def test_what_was_taken_up_again_once_is_not_a_second_time(tmp_path: Path, shim: Shim) -> None:
    async with started(tmp_path, shim) as (simulator, deployment):
        gone = simulator.truth.add(steps=FOREVER)
        rest = add(simulator, 6)
        await polled(deployment, [gone, *rest])
        for turn in (1, 2):
            simulator.faults.set(f"410:on=read:ids={gone}")
            await counted(deployment, "message.gave_up", turn, "it ends alone")
            simulator.faults.set("410:on=read")
            await counted(deployment, "account.held", turn, "the account is held")
            simulator.faults.set(f"410:on=read:ids={gone}")
            await counted(deployment, "account.recovered", turn, "and goes on")
        assert await deployment.stop() == 0
        assert counts(deployment)["message.resumed"] == 1


async def counted(deployment: Deployment, kind: str, number: int, what: str) -> None:
    """Wait for the `number`th event of a type."""
    await until(lambda: counts(deployment)[kind] == number, what)


def counts(deployment: Deployment) -> Counter[str]:
    """The events so far by type."""
    return Counter(event["type"] for event in deployment.events())
