"""The installed daemon against the installed simulator: adaptive and exponential side by side, by the daemon's metrics.

`--speed` of the simulator divides the delays of its world; `dsntime` and the daemon's clock stay real. So the bounds of
the backoff are divided alike, and both daemons live in the same world in small: same seed, same ids, same moments of
sending. What is not divided (the learner's pace, its weights, the steps after a 404) is against the learner, except
that no message is hidden at first.
"""

from __future__ import annotations

import asyncio
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Final, Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from pollerd.backoff import Adaptive, Decision, Exponential, Key, Policy, Settings
from pollerd.backoff.plan import weight
from pollerd.daemon.housekeeping import LEARN_STEPS
from pollerd.simulator.fate import FateRules, Mix, Step, fate_of, recipients_of
from pollerd.simulator.networks import operator_of
from tests.acceptance.deployment import COMMAND, Deployment, finals
from tests.benchmarks.backoff.simulate import Message, outcome, run

FIRST_ID: Final = 1_000_001
TICK: Final = 0.1
LOOK: Final = 0.5
STEPS: Final = 2
RESTART: Final = 5.0
PATIENCE: Final = 600.0
TOKEN: Final = "token"


@dataclass(frozen=True, slots=True)
class World:
    """`rate` messages a real second for `learning` and then, everything ended and restarted, for `measured` seconds.

    `validity` is in seconds of the simulated world, `tail` its factor on retries and switched-off phones.
    """

    speed: float = 8.0
    rate: float = 12.0
    learning: float = 120.0
    measured: float = 90.0
    validity: float = 720.0
    tail: float = 0.03
    never: float = 3.5
    seed: int = 1

    @property
    def mix(self) -> Mix:
        """The simulator's own, but for the share that never arrives."""
        return Mix(never=self.never)

    def settings(self, budget: float = 5.0) -> Settings:
        """5 s x 1.5, at least 2 s apart, in this world's time; the cap of an hour is never reached."""
        return Settings(
            min_interval=2.0 / self.speed,
            max_interval=3600.0,
            first_poll_after=None,
            factor=1.5,
            polls_per_message=budget,
        )

    def exponential(self) -> Exponential:
        """The policy to beat, as the daemon has it."""
        bounds = self.settings()
        return Exponential(
            Settings(bounds.min_interval, bounds.max_interval, first_poll_after=5.0 / self.speed, factor=bounds.factor)
        )

    def toml(self, policy: str, budget: float) -> str:
        """The table `[backoff]` of the same."""
        bounds = self.settings()
        lines = [
            f'policy = "{policy}"',
            f"min_interval = {bounds.min_interval}",
            f"max_interval = {bounds.max_interval}",
        ]
        lines += [f"factor = {bounds.factor}"]
        if policy == "adaptive":
            return "\n".join([*lines, f"polls_per_message = {budget:.3f}"])
        return "\n".join([*lines, f"first_poll_after = {5.0 / self.speed}"])

    def ids(self) -> tuple[range, range]:
        """Those to learn from, and those to measure."""
        n = int(self.learning * self.rate)
        return range(FIRST_ID, FIRST_ID + n), range(FIRST_ID + n, FIRST_ID + n + int(self.measured * self.rate))

    def end(self, message_id: int) -> tuple[str, Step]:
        """The operator of a message, and its final state; `after` in real seconds."""
        (msisdn,) = recipients_of(self.seed, message_id, 1, 1)
        steps = fate_of(self.seed, message_id, msisdn, self.validity, FateRules(mix=self.mix, tail=self.tail))
        operator = operator_of(msisdn)
        return f"{operator.mcc}/{operator.mnc:02}", Step(steps[-1].after / self.speed, steps[-1].status)

    def replay(self, make: Callable[[], Policy]) -> tuple[float, float]:
        """Polls a message and mean delay of the measured ones, when the bench drives the policy as the daemon does."""
        policy = make()
        start = 1_000_000.0
        for ids in self.ids():
            sent: list[Message] = []
            for n, message_id in enumerate(ids):
                key, end = self.end(message_id)
                at = start + n / self.rate
                sent.append(Message(at, key, [(end.after, end.status == "EXPIRED")], base=at))
            run(Tended(policy), sent)
            got = outcome(sent)
            # A restart.
            again = make()
            again.restore(policy.snapshot())
            policy = again
            start += len(ids) / self.rate + self.validity / self.speed + RESTART
        return got.polls, got.delay

    def budget(self, polls: float) -> float:
        """The learner's `polls_per_message` at which it spends `polls` on the measured messages, by replay.

        After minutes the learner still saves for a tail of days that this world does not have: it spends a little less.
        """
        budget = polls
        for _ in range(STEPS):
            budget *= polls / self.replay(partial(self.adaptive, budget))[0]
        return budget

    def adaptive(self, budget: float) -> Adaptive:
        """The learner, as the daemon has it."""
        return Adaptive(budget, 1, settings=self.settings(budget))


class Tended:
    """A policy with the housekeeping job that makes its plans, once a second."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tended_at = -1e18
        self.observe, self.index = policy.observe, policy.index
        self.base_for, self.take_wake = policy.base_for, policy.take_wake

    def _tend(self, now: float) -> None:
        if now - self._tended_at >= 1.0:
            self._tended_at = now
            for _ in range(LEARN_STEPS):
                if not self._policy.maintain(now):
                    return

    def first(self, now: float, *, k: int = 1) -> Decision:
        self._tend(now)
        return self._policy.first(now, k=k)

    def next(self, now: float, key: Key, submit: float, base: float, *, k: int = 1) -> Decision:
        self._tend(now)
        return self._policy.next(now, key, submit, base, k=k)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a daemon counted over the measured messages; delays in seconds.

    `delay` is the daemon's metric, whose `dsntime` is cut to whole seconds, so half a second too long. `exact` and
    `weighted` compare the events' `observed_at` with the simulator's own moment of the change.
    """

    messages: int
    polls: float
    delay: float
    exact: float
    weighted: float


class Lane:
    """A simulator and a daemon of its own."""

    def __init__(self, world: World, policy: str, budget: float, folder: Path) -> None:
        self.world = world
        self._folder = folder
        self._toml = world.toml(policy, budget)
        self._simulator: Process | None = None
        self._sent: dict[int, float] = {}

    async def __aenter__(self) -> Self:
        world = self.world
        options = {"port": 0, "speed": world.speed, "seed": world.seed, "token": TOKEN, "validity": world.validity}
        options |= {"tail": world.tail, "visibility": 0.0}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self._folder.mkdir()
        async with AsyncExitStack() as stack:
            self._simulator = await asyncio.create_subprocess_exec(COMMAND, "simulate", *arguments, stdout=PIPE)
            stack.push_async_callback(self._end_simulator)
            assert self._simulator.stdout is not None
            self._url = (await self._simulator.stdout.readline()).decode().strip()
            self.deployment = await stack.enter_async_context(
                Deployment(self._folder, self._url, backoff=self._toml, limits="requests_per_second = 1000")
            )
            self._gateway = await stack.enter_async_context(aiohttp.ClientSession())
            connector = aiohttp.UnixConnector(str(self._folder / "control.sock"))
            self._control = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            await self.deployment.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _end_simulator(self) -> None:
        assert self._simulator is not None
        self._simulator.terminate()
        await self._simulator.wait()

    async def send(self, ids: Sequence[int], at: float) -> None:
        """Send messages through the gateway, and hand them over to the daemon."""
        body = [{"id": i, "sent_at": at} for i in ids]
        async with self._gateway.post(f"{self._url}/sim/messages", json=body) as answer:
            answer.raise_for_status()
        async with self._control.post("http://localhost/messages", json=body) as answer:
            answer.raise_for_status()
        self._sent.update(dict.fromkeys(ids, at))

    async def ended(self) -> None:
        """Return once every message has ended and is told."""
        async with asyncio.timeout(PATIENCE):
            while self.deployment.pending() or len(finals(self.deployment.events())) < len(self._sent):
                # Seldom, because looking takes time from the daemons.
                await asyncio.sleep(LOOK)

    async def restart(self) -> None:
        """Stop and start the daemon: its counters begin at zero, what it learned comes from the store."""
        assert await self.deployment.stop() == 0
        await self.deployment.start()

    async def metrics(self) -> dict[tuple[str, str], float]:
        """The Prometheus text by name and outcome or state."""
        async with self._control.get("http://localhost/metrics") as answer:
            families = text_string_to_metric_families(await answer.text())
        samples = [s for family in families for s in family.samples if "le" not in s.labels]
        return {(s.name, s.labels.get("outcome") or s.labels.get("state") or ""): s.value for s in samples}

    async def counted(self, ids: Sequence[int]) -> Counted:
        """What became of `ids`, all of them since the last restart."""
        found = await self.metrics()
        total = "pollerd_detection_delay_seconds"
        polls = sum(value for (name, _), value in found.items() if name == "pollerd_polls_total")
        told = found[f"{total}_count", "final"]
        assert told == len(ids), f"{told} final states in the metrics, {len(ids)} messages"
        exact, weighted = [], []
        wanted = set(ids)
        for event in self.deployment.events():
            if event["type"] == "message.status" and event["final"] and event["id"] in wanted:
                age = self.world.end(event["id"])[1].after
                seen = datetime.fromisoformat(event["observed_at"]).timestamp()
                exact.append(seen - self._sent[event["id"]] - age)
                weighted.append(exact[-1] * weight(age))
        return Counted(len(ids), polls / len(ids), found[f"{total}_sum", "final"] / told, fmean(exact), fmean(weighted))


async def _send(lanes: Sequence[Lane], ids: Sequence[int], rate: float) -> None:
    started, sent = time.monotonic(), 0
    while sent < len(ids):
        owed = min(int((time.monotonic() - started) * rate) + 1, len(ids))
        if owed > sent:
            at = time.time()
            await asyncio.gather(*(lane.send(ids[sent:owed], at) for lane in lanes))
            sent = owed
        await asyncio.sleep(TICK)


async def compare(world: World, folder: Path, *, share: float = 1.0) -> tuple[Counted, Counted, float]:
    """Exponential and adaptive over the same messages at the same time, and the learner's budget.

    By replay the learner is given the budget at which it spends `share` of the polls of exponential.
    """
    budget = world.budget(share * world.replay(world.exponential)[0])
    learning, measured = world.ids()
    async with (
        Lane(world, "exponential", budget, folder / "exponential") as plain,
        Lane(world, "adaptive", budget, folder / "adaptive") as learner,
    ):
        lanes = (plain, learner)
        await _send(lanes, learning, world.rate)
        await asyncio.gather(*(lane.ended() for lane in lanes))
        await asyncio.gather(*(lane.restart() for lane in lanes))
        await _send(lanes, measured, world.rate)
        await asyncio.gather(*(lane.ended() for lane in lanes))
        return await plain.counted(measured), await learner.counted(measured), budget


def lines(world: World) -> list[str]:
    """The table of `python -m tests.benchmarks.backoff daemon`."""
    with TemporaryDirectory() as folder:
        plain, learner, budget = asyncio.run(compare(world, Path(folder)))
    foreseen, ours = world.replay(world.exponential), world.replay(partial(world.adaptive, budget))
    rows: list[tuple[str, float, float]] = [
        ("polls a message", plain.polls, learner.polls),
        ("mean detection delay, s, by the metrics", plain.delay, learner.delay),
        ("mean detection delay, s, exact", plain.exact, learner.exact),
        ("age-weighted delay, s, exact", plain.weighted, learner.weighted),
        ("foreseen by the bench: polls a message", foreseen[0], ours[0]),
        ("foreseen by the bench: mean delay, s", foreseen[1], ours[1]),
    ]
    out = [f"{learner.messages} messages, polls_per_message = {budget:.2f}, world {world.speed:g} times as fast"]
    out.append(f"{'exponential':>12} {'adaptive':>9} {'ratio':>7}  what")
    out += [f"{a:12.3f} {b:9.3f} {b / a:7.3f}  {what}" for what, a, b in rows]
    return out
