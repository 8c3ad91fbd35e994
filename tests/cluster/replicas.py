"""Failovers of PostgreSQL itself: members that know its replicas, too, and what may happen to servers, by name."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from pollerd.core.event import left_out
from pollerd.core.lease import RENEW, WATCH
from tests.acceptance.waiting import until
from tests.cluster.foreign import Foreign
from tests.cluster.outcome import TWO_LEASES, Outcome, judged, polled, taken_over
from tests.cluster.stage import PATIENCE, Stage, since, stage
from tests.servers.database import PASSWORD
from tests.servers.postgresql import PostgreSql
from tests.servers.program import lives
from tests.servers.replica import Replica
from tests.store_database import StoreDatabase

LOST: Final = 20
"""Events, at least, that a replica lacks when it is promoted."""


class Scene:
    """Members on a server with replicas. `on.server` and `on.store` are those that are written to."""

    def __init__(self, on: Stage, replicas: Sequence[Replica]) -> None:
        self.on = on
        self.replicas = replicas

    def ready(self) -> None:
        """All that was handed over is at all replicas."""
        for replica in self.replicas:
            replica.catch_up()

    async def fall_behind(self) -> None:
        """From now on no replica gets anything, and some is committed that they lack."""
        for replica in self.replicas:
            replica.way.freeze()
        last = self.on.last()
        await until(lambda: self.on.last() >= last + LOST, "events that the replicas lack", patience=PATIENCE)

    async def promote(self, replica: Replica) -> None:
        """The server dies, and a replica is promoted."""
        self.on.server.kill()
        await asyncio.to_thread(replica.promote)
        self.on.server = replica
        self.on.store = StoreDatabase(replica.copy_of(self.on.store.database), self.on.store.user)

    async def settled(self) -> int:
        """When the failover is noted; how many jumps there were so far."""
        noted = "SELECT timeline = server_timeline() FROM cluster"
        await until(lambda: self.on.store.query(noted) == [(True,)], "the failover is noted", patience=PATIENCE)
        return self.jumps()

    def jumps(self) -> int:
        return int(self.on.store.query("SELECT count(*) FROM jumps")[0][0])

    def told(self) -> int:
        """The highest number in any member's file."""
        return max((member.told()[-1]["seq"] for member in self.on.members if member.told()), default=0)


async def fail_over(scene: Scene, replica: Replica) -> str:
    """A promotion, and traffic after it; what was seen."""
    told, ends = scene.told(), sum(len(member.ends) for member in scene.on.members)
    await scene.promote(replica)
    began = time.monotonic()
    jumps = await scene.settled()
    took = since(began)
    scene.on.send(50, 2.0)
    await polled(scene.on)
    ended = sum(len(member.ends) for member in scene.on.members) - ends
    found = scene.on.store.query("SELECT after FROM jumps ORDER BY at DESC LIMIT 1") if jumps else []
    lost = max(0, told - found[0][0]) if found else 0
    return (
        f"{lost} numbers in files lost, {jumps} jumps so far, {ended} members started anew; noted after "
        f"{took:.1f} s, polled after {since(began):.1f} s"
    )


async def promote_a_synchronous_replica(scene: Scene) -> Outcome:
    scene.ready()
    said = await fail_over(scene, scene.replicas[0])
    return judged(said, nothing_lost=said.startswith("0 "))


async def promote_an_asynchronous_replica(scene: Scene) -> Outcome:
    """It lacks some of what was committed, and reported."""
    scene.ready()
    await scene.fall_behind()
    said = await fail_over(scene, scene.replicas[0])
    return judged(said, something_lost=not said.startswith("0 "))


async def lose_a_takeover(scene: Scene) -> Outcome:
    """By a promotion of a replica that lacks it, and all that was committed after it."""
    scene.ready()
    before, token = scene.on.active(), scene.on.token()
    await scene.fall_behind()
    before.lose()
    took = await taken_over(scene.on, token)
    said = await fail_over(scene, scene.replicas[0])
    return judged(f"taken over after {took:.1f} s; {said}", something_lost=not said.startswith("0 "))


async def promote_during_a_takeover(scene: Scene) -> Outcome:
    """The active member has died as well, at about the time at which another would take over."""
    scene.ready()
    await scene.fall_behind()
    scene.on.active().lose()
    await asyncio.sleep(WATCH)
    return Outcome(await fail_over(scene, scene.replicas[0]))


async def promote_with_a_commit_in_doubt(scene: Scene) -> Outcome:
    """The server has carried it out, and nobody heard of it."""
    scene.ready()
    proxy = scene.on.active().proxy
    proxy.freeze(to_server=False)
    await until(lambda: proxy.held()[1], "an answer is held back", patience=PATIENCE)
    said = await fail_over(scene, scene.replicas[0])
    proxy.thaw()
    return judged(said, nothing_lost=said.startswith("0 "))


async def promote_with_a_frozen_member(scene: Scene) -> Outcome:
    """The active member stands still from before the promotion until after it."""
    scene.ready()
    active = scene.on.active()
    active.signal(signal.SIGSTOP)
    said = await fail_over(scene, scene.replicas[0])
    ends = len(active.ends)
    active.signal(signal.SIGCONT)
    await until(lambda: len(active.ends) > ends, "it ends", patience=PATIENCE)
    return judged(f"{said}; ended with {active.ends[-1]}", fenced=active.ends[-1] == 1)


async def promote_another_branch(scene: Scene) -> Outcome:
    """Two failovers in a row, both with a loss: the second replica never heard of the first one's promotion, and its
    timeline has the same number. Applications hand over again what they lost by it.
    """
    scene.ready()
    await scene.fall_behind()
    first = await fail_over(scene, scene.replicas[0])
    await scene.on.settle()
    again = await fail_over(scene, scene.replicas[1])
    scene.on.store.insert(scene.on.ids)
    return Outcome(f"{first}; then {again}")


async def restore_a_backup(scene: Scene) -> Outcome:
    """After a failover, a backup of the first server is put in its place while members run: a lower timeline."""
    scene.ready()
    backup = scene.replicas[1]
    # It is one that has stopped following.
    (backup.data / "standby.signal").unlink()
    await scene.fall_behind()
    first = await fail_over(scene, scene.replicas[0])
    await scene.on.settle()
    scene.on.server.kill()
    backup.stop()
    await asyncio.to_thread(backup.start)
    scene.on.server = backup
    scene.on.store = StoreDatabase(backup.copy_of(scene.on.store.database), scene.on.store.user)
    jumps = await scene.settled()
    scene.on.send(50, 2.0)
    scene.on.store.insert(scene.on.ids)
    return Outcome(f"{first}; then {jumps} jumps there")


async def wait_for_a_slow_replica(scene: Scene) -> Outcome:
    """A synchronous replica hears nothing for longer than a lease: commits wait, and nobody takes over."""
    return await _without(scene, scene.replicas[0].way.freeze, scene.replicas[0].way.thaw)


async def reboot_a_synchronous_replica(scene: Scene) -> Outcome:
    return await _without(scene, scene.replicas[0].stop, scene.replicas[0].start)


async def _without(scene: Scene, stop: Callable[[], None], start: Callable[[], None]) -> Outcome:
    on = scene.on
    takeovers, ends = on.takeovers(), sum(len(member.ends) for member in on.members)
    await asyncio.to_thread(stop)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    await until(lambda: on.store.query(waits)[0][0] > 0, "a commit waits", patience=PATIENCE)
    before, last = _beat(on), on.last()
    await asyncio.sleep(TWO_LEASES)
    beats, stood = _beat(on) - before, on.last() == last
    await asyncio.to_thread(start)
    await until(lambda: on.last() > last, "commits go on", patience=PATIENCE)
    took = on.takeovers() - takeovers
    ended = sum(len(member.ends) for member in on.members) - ends
    return judged(
        f"{beats} renewals meanwhile, {took} takeovers, {ended} members started anew",
        commits_waited=stood,
        renewed=beats >= TWO_LEASES / RENEW - 2,
        left_in_peace=took == ended == 0,
    )


def _beat(on: Stage) -> int:
    return int(on.store.query("SELECT beat FROM leases JOIN duties USING (token)")[0][0])


class Case(NamedTuple):
    """What happens, and where. `jumps`: how often numbers jump by it."""

    play: Callable[[Scene], Awaitable[Outcome]]
    jumps: int
    synchronous: bool = False
    lossless: bool = False
    replicas: int = 1


CASES: Final[dict[str, Case]] = {
    "promote_a_synchronous_replica": Case(promote_a_synchronous_replica, 1, synchronous=True),
    "promote_a_lossless_replica": Case(promote_a_synchronous_replica, 0, synchronous=True, lossless=True),
    "promote_an_asynchronous_replica": Case(promote_an_asynchronous_replica, 1),
    "break_the_word_lossless": Case(promote_an_asynchronous_replica, 1, lossless=True),
    "lose_a_takeover": Case(lose_a_takeover, 1),
    "promote_during_a_takeover": Case(promote_during_a_takeover, 1),
    "promote_with_a_commit_in_doubt": Case(promote_with_a_commit_in_doubt, 0, synchronous=True, lossless=True),
    "promote_with_a_frozen_member": Case(promote_with_a_frozen_member, 1),
    "promote_another_branch": Case(promote_another_branch, 1, replicas=2),
    "restore_a_backup": Case(restore_a_backup, 1, replicas=2),
    "wait_for_a_slow_replica": Case(wait_for_a_slow_replica, 0, synchronous=True),
    "reboot_a_synchronous_replica": Case(reboot_a_synchronous_replica, 0, synchronous=True),
}


async def play(folder: Path, name: str, members: int, messages: int) -> bool:
    """One case with traffic under way, and the balance after it. Whether all is well."""
    case = CASES[name]
    began = time.monotonic()
    async with stage(folder, members) as on, replicated(on, case) as scene:
        on.send(messages, 12.0)
        await asyncio.sleep(1.5)
        outcome = await case.play(scene)
        await on.settle()
        found = balance(scene) if case.jumps else on.balance()
        found["jumps"] = scene.jumps() - case.jumps
        wrong = ", ".join(filter(None, [outcome.wrong, *(f"{count} {what}" for what, count in found.items() if count)]))
        print(
            f"{name}: {f'WRONG: {wrong}' if wrong else 'all well'}; {outcome.said}; {_told_again(on)}; {on.counts()}; "
            f"{found} ({since(began):.0f} s)",
            flush=True,
        )
    return not wrong


@asynccontextmanager
async def replicated(on: Stage, case: Case) -> AsyncIterator[Scene]:
    """Replicas of the stage's server, and members that know them."""
    with ExitStack() as stack:
        stack.callback(_for_the_end, on.server)
        elsewhere = stack.enter_context(PostgreSql())
        elsewhere.execute(f"CREATE ROLE {on.store.user} LOGIN PASSWORD '{PASSWORD}'")
        before, on.foreign = on.foreign, Foreign(stack.enter_context(elsewhere.database()), on.store.user)
        replicas = [stack.enter_context(Replica(on.server)) for _ in range(case.replicas)]
        if case.synchronous:
            replicas[0].be_waited_for()
        for member in on.members:
            hosts = ",".join(f"127.0.0.1:{port}" for port in (member.proxy.port, *(each.port for each in replicas)))
            text = member.config.read_text()
            text = text.replace(f"127.0.0.1:{member.proxy.port}", hosts).replace(before.toml, on.foreign.toml)
            text = text.replace("sslmode=disable", "sslmode=disable&target_session_attrs=read-write")
            if case.lossless:
                text = text.replace("[store]", "[store]\nlossless = true")
            member.config.write_text(text)
            member.end()
            await until(lambda member=member: member.ends and member.up, "it starts anew", patience=PATIENCE)  # type: ignore[misc]
        on.send(10, 1.0)
        await on.settle()
        yield Scene(on, replicas)


def _for_the_end(server: PostgreSql) -> None:
    """Its database is dropped then, and no replica is there to be waited for."""
    (server.data / "postgresql.auto.conf").write_text("")
    if lives(server.pid):
        server.execute("SELECT pg_reload_conf()")
    else:
        server.start()


def balance(scene: Scene) -> dict[str, int]:
    """Counts of what is wrong with what everybody got: zeros, where all is well."""
    on = scene.on
    found: dict[str, int] = defaultdict(int, lost=0, torn=0, two_meanings=0, holes=0, unexplained=0)
    meant: dict[int, Any] = {}
    for member in on.members:
        found["torn"] += not member.file.read_bytes().endswith(b"\n")
        told, heard = member.told(), [json.loads(line) for line in member.reader.lines]
        for lines in (told, heard):
            for line in lines:
                found["two_meanings"] += meant.setdefault(line["seq"], line) != line
            numbers = [line["seq"] for line in lines]
            found["holes"] += any(
                after != before + 1 and not left_out(before, after)
                for before, after in zip([0, *numbers], numbers, strict=False)
            )
        numbers = [line["seq"] for line in heard]
        wide = [pair for pair in pairwise(numbers) if left_out(*pair)]
        found["unexplained"] += [(gap["after"], gap["first"]) for gap in member.reader.gaps] != wide
        found["lost"] += len(set(on.ids) - {line["id"] for line in told if line.get("final")})
    for body in on.hook.got:
        found["two_meanings"] += "seq" in body and meant[body["seq"]]["status"] != body["status"]
    return dict(found)


def _told_again(on: Stage) -> str:
    told = [(line["id"], line["status"]) for line in on.members[0].told() if line["type"] == "message.status"]
    return f"{len(told) - len(set(told))} of {len(told)} states told again"
