"""A daemon among random faults, kills and rotations for as long as you like; in the end its books against the truth.

    python -m tests.soak --minutes 60 [--seed N] [--messages-per-second 20] [--cold] [--true-clocks]

The machine sleeps, is paused, and has its clock set now and then; `--true-clocks` leaves it alone. Now and then the
gateway refuses every message alike, for longer than a single message would survive, while the rest goes on; ids of
another account are handed over among the others. `--cold` starts the installed command each time; without it daemons
are forked from a process that has everything imported, which leaves more time for faults. Prints a line a minute and a
summary; exit code 1 when anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from pollerd.core.model import State
from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import Shim, build
from tests.acceptance.crash_kit import (
    FAST,
    LIVELY,
    QUICK,
    Follower,
    Load,
    all_files,
    balance,
    settled,
    steady,
)
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until
from tests.acceptance.warm import Warm
from tests.sqlite_kit import autocommit

FAULTS = (
    "reset", "drop", "hang:{p}:seconds=5", "slow:{p}:seconds=2", "drip:{p}:seconds=0.05", "html", "truncated",
    "cut", "wrong_json", "redirect", "gzip_bomb:{p}:size=20000000", "empty", "huge", "407", "500", "502", "503",
    "504", "429", "429:{p}:retry_after=3", "503:{p}:retry_after=date+4", "429:{p}:retry_after=soon", "401", "403",
    "404:{p}:on=read", "410:{p}:on=read:by=connection", "422:{p}:on=read:by=0.5", "404:{p}:on=read:form=text",
)  # fmt: skip
REFUSALS = (
    "404:on=read", "404:on=read:form=text", "410:on=read", "422:on=read", "404:on=read:form=empty", "400:on=read",
    "410:on=read:form=json",
)  # fmt: skip
"""What a gateway, or a proxy in its place, answers to all, one kind a phase."""
GRACE = 5.0
"""Seconds of 404 (`not_found_grace`), and about those of five other refusals a second apart, that end one message."""
REFUSED_FOR = (3 * GRACE, 8 * GRACE)
"""Seconds of a mass refusal, at least and at most, not counting those that the machine sleeps."""
REFUSED_AT_LEAST = 10
"""Messages that were answered before a mass refusal: a 404 of one that never was says nothing of the gateway."""
LASTING = (Step(0.0, "ENROUTE"), Step(1200.0, "DELIVERED"))
"""Their states, by the simulator's clock: pending until all is refused and the account is held."""
LONGEST_PROBE = 300.0
"""Seconds between two probes of an account that is refused, at most."""
FOREIGN = 5_000_000_000
"""The first id that the simulator will not make in a run."""
POINTS = (
    "store.begun", "store.written", "store.committed", "file.before_write", "file.mid_write", "file.after_write",
    "file.before_fsync", "file.after_fsync", "file.before_cursor", "file.after_cursor", "file.rotated",
)  # fmt: skip

Happening = tuple[int, Callable[[], Awaitable[None]]]
"""Something that may happen, and how often among the others."""


class Soak:
    """One run."""

    def __init__(
        self,
        deployment: Deployment,
        simulator: Simulator,
        load: Load,
        rng: random.Random,
        shim: Shim | None = None,
    ) -> None:
        self._shim = shim
        self._deployment = deployment
        self._simulator = simulator
        self._load = load
        self._rng = rng
        self.done: Counter[str] = Counter()
        self.foreign: list[int] = []
        """Ids of another account, handed over as well."""
        self.refused: list[float] = []
        """Seconds of each mass refusal."""

    async def step(self) -> None:
        """One thing that happens to the deployment, and some time for its consequences."""
        happens = [(8, self._faults), (1, self._refuse), (1, self._hand_over_foreign), *self._machine_happens()]
        await self._one_of(happens)
        await asyncio.sleep(self._rng.uniform(0.1, 3.0))

    async def end(self) -> None:
        """Until everything that is the gateway's is done with and reported."""
        await self._polled_on()
        for first in range(0, len(self.foreign), 1000):
            ids = map(str, self.foreign[first : first + 1000])
            assert (await self._deployment.command("untrack", *ids))[0] == 0
        if self._shim is not None:
            # A 404 while all were refused may have put off a message that was never seen by up to an hour.
            self._sleep(self._shim, 3600.0)
        await settled(self._deployment, patience=1800)

    def _machine_happens(self) -> list[Happening]:
        """What the gateway has no part in."""
        happens: list[Happening] = [
            (4, self._kill),
            (2, self._kill_at_a_step),
            (3, self._rotate),
            (1, self._restart),
            (1, self._rotate_and_kill),
        ]
        if self._shim is not None:
            happens += [(2, partial(self._clocks, self._shim))]
        return happens

    async def _one_of(self, happens: list[Happening]) -> None:
        weights, actions = zip(*happens, strict=True)
        await self._rng.choices(actions, weights)[0]()

    async def _faults(self) -> None:
        """One or two kinds for a while: for some of the requests, or for all of them."""
        chosen = self._rng.sample(FAULTS, self._rng.choice((1, 1, 2)))
        share = self._rng.choice((0.02, 0.1, 0.3, 1.0))
        texts = [text.format(p=share) if "{p}" in text else f"{text}:{share}" for text in chosen]
        self._simulator.faults.set(*texts)
        self.done["fault phases"] += 1
        await asyncio.sleep(self._rng.uniform(0.5, 8.0))
        self._simulator.faults.set()
        if any(text.startswith(("401", "403")) for text in texts):
            # As an administrator would: the token is put there again, with another one in between.
            token = self._deployment.folder / "token"
            right = token.read_text()
            token.write_text("another\n")
            await asyncio.sleep(2.5)
            token.write_text(right)

    async def _refuse(self) -> None:
        """The gateway refuses all alike, and kills, clocks and rotations go on; then it is found again."""
        await self._polled_on()
        while not await self._some_last():
            pass
        refusal = REFUSALS[self.done["mass refusals"] % len(REFUSALS)]
        self._simulator.faults.set(refusal)
        self.done["mass refusals"] += 1
        began = time.monotonic()
        held = f"{refusal} to all holds the account"
        await until(lambda: self._held("form" not in refusal), held, patience=2 * LONGEST_PROBE)
        ends = began + self._rng.uniform(*REFUSED_FOR)
        while time.monotonic() < ends:
            await self._one_of(self._machine_happens())
            await asyncio.sleep(self._rng.uniform(0.5, 5.0))
        self._simulator.faults.set()
        self.refused.append(time.monotonic() - began)
        await self._polled_on()

    async def _some_last(self) -> bool:
        """Hand over some that last; whether they are answered and still pending. Nothing else proves that a refusal is
        the gateway's: where the answers came after a long hold only, they may be final.
        """
        lasting = self._load.more(REFUSED_AT_LEAST, LASTING)
        seen = f"messages WHERE seen_at IS NOT NULL AND id IN ({', '.join(map(str, lasting))})"
        await until(
            lambda: self._count(seen) == len(lasting), "some that last are answered", patience=2 * LONGEST_PROBE
        )
        return self._count(f"{seen} AND state = {State.PENDING}") == len(lasting)

    async def _polled_on(self) -> None:
        """No hold is in force. The next probe may be minutes away: a machine whose time can be moved sleeps so long."""
        if self._held() and self._shim is not None:
            self._sleep(self._shim, LONGEST_PROBE)
        await until(lambda: not self._held(), "the account is polled on", patience=2 * LONGEST_PROBE)

    def _held(self, refusing: bool = False) -> bool:
        """Whether the account is held, for `refusing` or for whatever reason."""
        return self._count(f"accounts WHERE {'refusing' if refusing else 'held_reason IS NOT NULL'}") > 0

    def _count(self, what: str) -> int:
        # Not read-only: so the file cannot be opened between an orderly stop and the next start.
        with autocommit(self._deployment.database) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])

    async def _hand_over_foreign(self) -> None:
        """As many as are pending of the others, or nearly."""
        first = FOREIGN + len(self.foreign)
        new = range(first, first + self._rng.randint(1, 100))
        self._deployment.insert(new)
        self.foreign += new
        self.done["foreign ids"] += len(new)

    async def _kill(self) -> None:
        await self._deployment.kill()
        self.done["kills"] += 1
        await self._deployment.launch(environment={"POLLERD_FAILPOINTS": ""})

    async def _kill_at_a_step(self) -> None:
        await self._deployment.kill()
        arm = f"{self._rng.choice(POINTS)}=kill:{self._rng.randint(1, 20)}"
        process = await self._deployment.launch(environment={"POLLERD_FAILPOINTS": arm})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._rng.uniform(1.0, 6.0)):
                await process.wait()
        if process.returncode is None:
            await self._deployment.kill()
        self.done["kills"] += 2
        await self._deployment.launch(environment={"POLLERD_FAILPOINTS": ""})

    async def _rotate(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.done["rotations"] += 1
            self._deployment.file.rename(self._deployment.file.with_name(f"events.ndjson.{self.done['rotations']}"))
        process = self._deployment.process
        if process is not None and self._rng.random() < 0.5 and self._deployment.socket.exists():
            with contextlib.suppress(AssertionError):
                await until(lambda: b"SigCgt" in Path(f"/proc/{process.pid}/status").read_bytes(), "it runs")
            if _catches_hangup(process.pid):
                process.send_signal(signal.SIGHUP)

    async def _rotate_and_kill(self) -> None:
        await self._rotate()
        await asyncio.sleep(self._rng.uniform(0.0, 0.3))
        await self._kill()

    async def _clocks(self, shim: Shim) -> None:
        """An hour or so of sleep, a paused virtual machine, or a clock that is set wrong and right again."""
        seconds = self._rng.choice((20.0, 300.0, 3600.0))
        what = self._rng.choice(("sleeps", "pauses", "steps"))
        self.done[what] += 1
        match what:
            case "sleeps":
                self._sleep(shim, seconds)
            case "pauses":
                shim.step(shim.off + seconds)
                self._simulator.skip(seconds)
            case _:
                wrong = self._rng.choice((-1, 1)) * self._rng.choice((seconds, 5 * 86400.0))
                shim.step(shim.off + wrong)
                await asyncio.sleep(self._rng.uniform(0.0, 6.0))
                shim.step(shim.off - wrong)

    def _sleep(self, shim: Shim, seconds: float) -> None:
        shim.sleep(seconds)
        self._simulator.skip(seconds)

    async def _restart(self) -> None:
        process = self._deployment.process
        if process is not None and process.returncode is None and _catches_hangup(process.pid):
            code = await self._deployment.stop(patience=30)
            self.done["orderly stops"] += 1
            assert code == 0, f"an orderly stop ended with {code}"
            await self._deployment.launch(environment={"POLLERD_FAILPOINTS": ""})


def _catches_hangup(pid: int) -> bool:
    """Whether the process handles SIGHUP already: a daemon that is only just starting would die of it, as any would."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return False
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt")), 0)
    return bool(caught >> (signal.SIGHUP - 1) & 1)


async def soak(minutes: float, seed: int, rate: float, *, cold: bool, true_clocks: bool) -> int:
    rng = random.Random(seed)
    folder = tempfile.mkdtemp(prefix="soak-")
    differs = 1
    try:
        differs = await _run(Path(folder), minutes, rng, rate, cold=cold, true_clocks=true_clocks)
    finally:
        if differs:
            print(f"what is left of it: {folder}")
        else:
            shutil.rmtree(folder)
    return differs


async def _run(folder: Path, minutes: float, rng: random.Random, rate: float, *, cold: bool, true_clocks: bool) -> int:
    with contextlib.ExitStack() as stack:
        shim = None
        if not true_clocks:
            (machine := folder / "machine").mkdir()
            shim = stack.enter_context(contextlib.closing(Shim(build(machine), machine)))
        async with Simulator(SimulatorConfig(speed=60, population=LIVELY)) as simulator:
            settings = {
                "limits": FAST + '\ntimeout = "3s"',
                "backoff": f'{QUICK}\nnot_found_grace = "{GRACE}s"',
                "more": 'level = "warning"',
            }
            deployment = Deployment(folder, simulator, **settings)
            deployment.warm = None if cold else stack.enter_context(Warm())
            deployment.machine = shim
            async with deployment:
                load = Load(deployment, simulator)
                run = Soak(deployment, simulator, load, rng, shim)
                return await _soak(deployment, simulator, load, run, minutes, rate)


async def _soak(
    deployment: Deployment, simulator: Simulator, load: Load, run: Soak, minutes: float, rate: float
) -> int:
    follower, polls = Follower(deployment.socket), 0
    assert (await deployment.command("track", str(simulator.truth.add())))[0] == 0
    load.ids += [record.id for record in simulator.records()]
    await deployment.launch(environment={"POLLERD_FAILPOINTS": ""})
    began = told = time.monotonic()
    async with follower.following():
        async with steady(load, max(1, round(rate * 0.2)), 0.2):
            while (now := time.monotonic()) < began + 60 * minutes:
                if now >= told + 60:
                    told = now
                    polls = simulator.statistics().requests
                    print(f"{(now - began) / 60:.0f} min: {len(load.ids)} messages, {polls} polls, {dict(run.done)}")
                    sys.stdout.flush()
                await run.step()
        await run.end()
        last = deployment.query("SELECT max(seq) FROM events")[0][0]
        await until(lambda: follower.seq == last, "the reader has everything")
    code = await deployment.stop()
    events = all_files(deployment)
    found = balance(events, simulator, load.ids)
    # An id of another account ends by our command and by nothing else; one of ours never is given up.
    gave_up = sorted((event["id"], event["reason"]) for event in events if event["type"] == "message.gave_up")
    wrongly = len(set(gave_up) ^ {(foreign, "untracked") for foreign in run.foreign})
    holds = Counter(event["reason"] for event in events if event["type"] == "account.held")
    unlike = [json.loads(line) for line in follower.lines] != events
    counted = simulator.statistics()
    tracebacks = deployment.text_log().count("Traceback")
    print(f"{minutes:g} minutes, {counted.requests} polls, {dict(run.done)}, exit code {code}")
    print(f"faults by kind: {dict(sorted(counted.by_fault.items()))}")
    shortest, longest = min(run.refused, default=0.0), max(run.refused, default=0.0)
    print(f"mass refusals: {len(run.refused)}, {shortest:.0f} to {longest:.0f} s, {sum(run.refused):.0f} s in all")
    print(f"holds: {dict(holds)}")
    print(f"books: {found}; {len(run.foreign)} foreign ids; wrongly given up {wrongly}; tracebacks {tracebacks}")
    same = "unlike" if unlike else "as"
    print(f"socket reader: {follower.connections} connections, {follower.gaps} gaps, {same} the file")
    differences = found.differences + wrongly + follower.gaps + unlike + tracebacks + (code != 0)
    print(f"differences: {differences}")
    return int(differences > 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--messages-per-second", type=float, default=20.0)
    parser.add_argument("--cold", action="store_true", help="start the installed command each time")
    parser.add_argument("--true-clocks", action="store_true", help="leave the machine's clocks alone")
    arguments = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    sys.stdout.flush()
    return asyncio.run(
        soak(
            arguments.minutes,
            seed,
            arguments.messages_per_second,
            cold=arguments.cold,
            true_clocks=arguments.true_clocks,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
