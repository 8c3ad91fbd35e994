"""What concerns the gateway never counts against a message; what concerns one message alone ends, and only there."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim, account_events, asked, blamed, busiest
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.waiting import PATIENCE, until, until_past

FOREVER = [Step(0.0, "ENROUTE")]
BACKOFF = 'policy = "exponential"\nmin_interval = "2s"\nmax_interval = "10s"\nfirst_poll_after = "2s"'
CONNECTIONS = 10

KINDS = {
    "reset": ("unreachable", "reset"),
    "drop": ("unreachable", "closed without an answer"),
    "hang": ("unreachable", "timeout"),
    "drip": ("unreachable", "timeout"),
    "cut": ("unreachable", "middle of the answer"),
    "redirect": ("unreachable", "redirect|sent on to elsewhere.invalid, which is never followed"),
    "html": ("unreachable", "captive portal"),
    "empty": ("unreachable", "without a body"),
    "407": ("unreachable", "proxy"),
    "500": ("server_errors", "500"),
    "502": ("server_errors", "502"),
    "504": ("server_errors", "504"),
    "truncated": ("server_errors", ""),
    "wrong_json": ("server_errors", ""),
    "gzip_bomb": ("server_errors", ""),
    "huge": ("server_errors", ""),
}
"""What every answer is like for a while; the account's reason, and what its detail says."""


async def test_the_gateways_trouble_is_no_messages_fault(tmp_path: Path, shim: Shim, row: Row) -> None:
    """Sixteen kinds in turn, each for all requests: one hold with its reason, few requests, little memory, recovery."""
    speed = 20.0
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(
            tmp_path,
            simulator,
            backoff=BACKOFF,
            limits=f'requests_per_second = 50\ntimeout = "20s"\nmax_connections = {CONNECTIONS}',
        ) as deployment,
    ):
        ids = [simulator.truth.add(steps=FOREVER) for _ in range(60)]
        process = await deployment.start(environment=shim.environment(speed=speed))
        deployment.insert(ids)
        await until(lambda: all(simulator.truth.polls(i) for i in ids), "every message was asked for")
        bounds, cost, peak = len(account_events(deployment)), {}, memory(process.pid)
        for kind, (reason, detail) in KINDS.items():
            began = simulator.now()
            simulator.faults.set(f"{kind}:on=read:seconds=0.2" if kind == "drip" else f"{kind}:on=read")
            await until_past(lambda: len(account_events(deployment)), bounds, f"held for {kind}")
            held = account_events(deployment)[bounds]
            assert (held["type"], held["reason"]) == ("account.held", reason), kind
            assert any(part in held["detail"] for part in detail.split("|")), f"{kind}: {held['detail']}"
            await until_past(lambda: asked(simulator)[-7][0], began, "and probes go out")
            simulator.faults.set()
            await until_past(lambda: len(account_events(deployment)), bounds + 1, f"recovered from {kind}")
            cost[kind] = len([answer for _, answer in asked(simulator, began) if "fault" in answer])
            bounds = len(account_events(deployment))
            since = simulator.now()
            await until_past(lambda: min(last_asked(simulator, i) for i in ids), since, "all go on")
        grown = memory(process.pid) - peak
        # Ten connections at once with 16 MiB of an answer each.
        assert grown < 300
        assert await deployment.stop() == 0
        named = Counter(event["type"] for event in account_events(deployment))
        assert named == {"account.held": len(KINDS), "account.recovered": len(KINDS)}
        assert deployment.query("SELECT count(*) FROM messages WHERE state <> 1") == [(0,)]
        # Before one bad answer after another proves that it is the gateway, the first few are blamed; none for long.
        assert blamed(deployment) == []
        row(
            f"{len(KINDS)} kinds, requests each: {cost}; {len(ids)} messages, 0 blamed, 0 given up; memory +{grown} MiB"
        )


def last_asked(simulator: Simulator, message_id: int) -> float:
    return simulator.record(message_id).poll_log[-1][0]


def memory(pid: int) -> int:
    """The most memory that the process ever had resident, MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) >> 10
    return 0


def all_polled(simulator: Simulator, ids: list[int]) -> bool:
    return all(simulator.truth.polls(number) for number in ids)


def given_up(deployment: Deployment, count: int) -> bool:
    """Whether so many messages were given up."""
    return len([event for event in deployment.events() if event["type"] == "message.gave_up"]) >= count


async def test_one_messages_own_trouble_ends_with_it(tmp_path: Path, shim: Shim, row: Row) -> None:
    """400, 422 and answers that nobody can read, each for one message: given up after few tries; others go on."""
    speed = 20.0
    kinds = ("400", "422", "truncated", "wrong_json", "gzip_bomb", "huge")
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(
            tmp_path, simulator, backoff=BACKOFF, limits='requests_per_second = 50\ntimeout = "60s"'
        ) as deployment,
    ):
        good = [simulator.truth.add(steps=FOREVER) for _ in range(30)]
        bad = {kind: simulator.truth.add(steps=FOREVER) for kind in kinds}
        simulator.faults.set(*(f"{kind}:ids={number}" for kind, number in bad.items()))
        await deployment.start(environment=shim.environment(speed=speed))
        deployment.insert([*good, *bad.values()])

        def gave_up() -> dict[int, str]:
            return {e["id"]: e["reason"] for e in deployment.events() if e["type"] == "message.gave_up"}

        await until(lambda: len(gave_up()) >= len(bad), "the bad ones are given up")
        since = simulator.now()
        await until(lambda: all(last_asked(simulator, i) > since for i in good), "the others go on")
        assert await deployment.stop() == 0
        assert gave_up() == dict.fromkeys(bad.values(), "rejected_request")
        tries = {kind: simulator.truth.polls(number) for kind, number in bad.items()}
        # An empty list is a 404 and no strike; several unreadable answers at a time are nobody's.
        assert max(tries.values()) <= 15
        assert account_events(deployment) == []
        assert [entry for entry in blamed(deployment) if entry[0] in good] == []
        row(f"tries until given up: {tries}; {len(good)} others polled on, 0 holds")


async def test_three_unreadable_messages_alone_hold_nothing(tmp_path: Path, shim: Shim, row: Row) -> None:
    """Nothing else is pending, and one message was answered long ago: they are given up, and polling is not held.

    Never answered; answered before; and left alone by an outage, whose hold ends by that other message.
    """
    speed = 40.0
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=BACKOFF, limits="requests_per_second = 50") as deployment,
    ):
        good = simulator.truth.add(steps=[Step(0.0, "DELIVERED")])
        await deployment.start(environment=shim.environment(speed=speed))
        deployment.insert([good])
        await until(lambda: finals(deployment.events()), "one is answered")
        tries, ended = {}, 0
        for case in ("never answered", "answered before", "after an outage"):
            bad = [simulator.truth.add(steps=FOREVER) for _ in range(3)]
            faults = [f"{kind}:ids={n}" for kind, n in zip(("truncated", "wrong_json", "huge"), bad, strict=True)]
            simulator.faults.set(*(faults if case == "never answered" else ()))
            deployment.insert(bad)
            await until(partial(all_polled, simulator, bad), f"{case}: asked for")
            if case == "after an outage":
                simulator.faults.set("500")
                await until(lambda: account_events(deployment), "the outage holds the account")
            simulator.faults.set(*faults)
            ended += len(bad)
            await until(partial(given_up, deployment, ended), f"{case}: given up")
            found = [event["type"] for event in account_events(deployment)]
            assert found == (["account.held", "account.recovered"] if case == "after an outage" else []), case
            tries[case] = max(simulator.truth.polls(n) for n in bad)
        assert await deployment.stop() == 0
        reasons = {event["reason"] for event in deployment.events() if event["type"] == "message.gave_up"}
        assert reasons == {"rejected_request"}
        row(f"tries of one message until given up: {tries}; the other was read {simulator.truth.polls(good)} times")


async def test_an_hour_of_total_failure(tmp_path: Path, shim: Shim, row: Row, long: bool) -> None:
    """Requests bounded and jittered, ages frozen, nothing given up, recovery within one hold interval."""
    speed, hour = (20.0, 3600.0) if long else (120.0, 3600.0)
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(
            tmp_path,
            simulator,
            backoff=BACKOFF + '\ngive_up_after = "50m"\nnot_found_grace = "50m"',
            limits='requests_per_second = 20\ntimeout = "5m"',
        ) as deployment,
    ):
        ids = [simulator.truth.add(steps=FOREVER) for _ in range(100)]
        unseen = list(range(1, 21))
        await deployment.start(environment=shim.environment(speed=speed))
        deployment.insert([*ids, *unseen])
        await until(lambda: all(simulator.truth.polls(i) for i in ids), "every message was asked for")
        simulator.faults.set("reset:0.5", "500:0.5", "503")
        began, before = simulator.now(), simulator.statistics().requests
        await until(
            lambda: simulator.now() > began + hour / speed, "an hour has passed", patience=hour / speed + PATIENCE
        )
        requests = simulator.statistics().requests - before
        times = [at for at, _ in asked(simulator, began + 300 / speed)]
        gaps = [(after - before) * speed for before, after in pairwise(times)]
        assert deployment.query("SELECT count(*) FROM messages WHERE state <> 1") == [(0,)]
        for number in ids:
            simulator.truth.get(number).steps = (Step(0.0, "ENROUTE"), Step(1.0, "DELIVERED"))
        for number in unseen:
            simulator.truth.add(number, steps=[Step(0.0, "DELIVERED")])
        simulator.faults.set()
        ended = simulator.now()
        await until(lambda: len(asked(simulator, ended)) > 0, "the next probe")
        waited = (asked(simulator, ended)[0][0] - ended) * speed
        await until(lambda: deployment.pending() == 0, "everything is told")
        assert await deployment.stop() == 0
        assert len(finals(deployment.events())) == len(ids) + len(unseen)
        assert not [event for event in deployment.events() if event["type"] == "message.gave_up"]
        assert waited <= 330
        assert requests <= 200
        assert busiest(times, 5.0 / speed) <= 2
        assert len({round(gap / 5) for gap in gaps}) > 3, "the probes are not spread"
        row(
            f"{hour:.0f} s at {speed:.0f} x, {requests} requests for {len(ids) + len(unseen)} messages, "
            f"next probe {waited:.0f} s after its end, 0 given up"
        )
