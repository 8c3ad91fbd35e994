"""What the tests of bad days share: a fast deployment, the balance of what was reported against the truth, readers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from pollerd.simulator import Mix, Population, Simulator, Step
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import listening, until

QUICK: Final = 'policy = "exponential"\nfirst_poll_after = "50ms"\nmin_interval = "50ms"\nmax_interval = "1s"'
"""A backoff for gateways in a hurry."""
FAST: Final = "requests_per_second = 800"
LIVELY: Final = Population(mix=Mix(never=1), tail=0.01, validity=1200.0, visibility_median=0.2)
"""Messages that pass several states and end within seconds at a speed of a hundred or more."""


# -- the balance


@dataclass(frozen=True, slots=True)
class Balance:
    """What was reported against what the gateway knows. Everything but the first three has to be 0."""

    messages: int
    changes: int
    events: int
    missing: int
    """Numbers left out."""
    repeated: int
    """Numbers reported twice, or out of order."""
    lost: int
    """Final states and completions never reported, and links missing in a recipient's chain of states."""
    doubled: int
    """Final states and completions reported twice, and whatever follows a final state."""
    untrue: int
    """States that the gateway never had, or not in this order."""

    @property
    def differences(self) -> int:
        return self.missing + self.repeated + self.lost + self.doubled + self.untrue

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, field.name)} {field.name}" for field in fields(self))


def balance(events: Sequence[Mapping[str, Any]], simulator: Simulator, ids: Iterable[int]) -> Balance:
    """Compare all events, in the order reported, with the simulator's truth about `ids`."""
    seqs = [event["seq"] for event in events]
    missing = len(set(range(1, max(seqs, default=0) + 1)) - set(seqs))
    repeated = sum(after <= before for before, after in pairwise(seqs))
    told: defaultdict[tuple[int, int], list[Mapping[str, Any]]] = defaultdict(list)
    completed: Counter[int] = Counter()
    for event in events:
        if event["type"] == "message.status":
            told[event["id"], event["msisdn"]].append(event)
        elif event["type"] == "message.completed":
            completed[event["id"]] += 1
    lost = doubled = untrue = messages = 0
    for message_id in ids:
        messages += 1
        record = simulator.record(message_id)
        for recipient in record.recipients:
            chain = told.pop((message_id, recipient.msisdn), [])
            lost += _breaks(chain) + (not chain or not chain[-1]["final"])
            doubled += sum(event["final"] for event in chain[:-1])
            untrue += not _in_order([event["status"] for event in chain], [c.status for c in recipient.changes])
            untrue += bool(chain) and chain[-1]["status"] != recipient.final
        lost += completed[message_id] == 0
        doubled += max(0, completed[message_id] - 1)
    untrue += len(told)
    changes = sum(event["type"] == "message.status" for event in events)
    return Balance(messages, changes, len(events), missing, repeated, lost, doubled, untrue)


def _breaks(chain: Sequence[Mapping[str, Any]]) -> int:
    """Events whose `previous` is not what was reported before them: one in between was lost."""
    before = [None, *(event["status"] for event in chain)]
    return sum(event["previous"] != state for event, state in zip(chain, before, strict=False))


def _in_order(told: Iterable[str], happened: Iterable[str]) -> bool:
    """Whether `told` can be had from `happened` by leaving out what no poll saw. UNKNOWN is before everything."""
    ahead = iter(["UNKNOWN", *happened])
    return all(any(state == status for state in ahead) for status in told)


async def settled(deployment: Deployment, *, patience: float = 120.0) -> None:
    """Every message is done with and everything is in the file."""
    await until(lambda: deployment.pending() == 0, "all messages are done with", patience=patience)
    await in_file(deployment)


async def in_file(deployment: Deployment) -> None:
    """Everything committed is in the file."""

    def all_there() -> bool:
        last = deployment.query("SELECT coalesce(max(seq), 0) FROM events")[0][0]
        return last == 0 or last_line(deployment.file).startswith(b'{"seq":%d,' % last)

    await until(all_there, "everything is in the file")


def last_line(path: Path) -> bytes:
    """The last line of a file; empty when it is torn or nothing is there."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 65536))
            content = file.read()
    except FileNotFoundError:
        return b""
    return content.splitlines()[-1] if content.endswith(b"\n") else b""


def stored(deployment: Deployment) -> list[dict[str, Any]]:
    """The events as the database has them."""
    rows = deployment.query("SELECT seq, CAST(body AS TEXT) FROM events ORDER BY seq")
    return [{"seq": seq, **json.loads(body)} for seq, body in rows]


def all_files(deployment: Deployment) -> list[dict[str, Any]]:
    """The events of the file and of all that it was rotated to, by their first number."""
    parts: list[list[dict[str, Any]]] = []
    for path in deployment.folder.glob("events.ndjson*"):
        content = path.read_bytes()
        assert content == b"" or content.endswith(b"\n"), f"torn last line in {path.name}"
        if content:
            parts.append([json.loads(line) for line in content.splitlines()])
    parts.sort(key=lambda events: events[0]["seq"])
    return [event for part in parts for event in part]


# -- load


class Load:
    """Messages of a simulator, handed over by plain SQL."""

    def __init__(self, deployment: Deployment, simulator: Simulator) -> None:
        self._deployment = deployment
        self._simulator = simulator
        self.ids: list[int] = []

    def more(self, count: int, steps: Sequence[Step] | None = None) -> list[int]:
        """Every tenth message has three recipients; all go through `steps`, None: as the simulator chooses."""
        truth = self._simulator.truth
        new = [truth.add(recipients=3 if (len(self.ids) + n) % 10 == 0 else 1, steps=steps) for n in range(count)]
        self._deployment.insert(new)
        self.ids += new
        return new


@asynccontextmanager
async def steady(load: Load, count: int, every: float) -> AsyncIterator[None]:
    """`count` new messages every `every` seconds for as long as the body runs."""

    async def feed() -> None:
        while True:
            load.more(count)
            await asyncio.sleep(every)

    task = asyncio.create_task(feed())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


# -- a reader of the socket


async def connected(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the socket, as soon as there is one to be had."""
    while True:
        await until(lambda: listening(path), f"somebody listens at {path.name}", look=0.005)
        # It may be gone again by now: daemons are killed here.
        with contextlib.suppress(ConnectionError, FileNotFoundError):
            return await asyncio.open_unix_connection(path)


class Follower:
    """Reads the socket as a user's program would: where the connection ends it asks for what comes `after` its last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: list[bytes] = []
        self.seq = 0
        self.connections = 0
        self.gaps = 0
        """Numbers left out on a connection that had found its place."""
        self.told_gaps: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            reader, writer = await connected(self._path)
            self.connections += 1
            try:
                writer.write(b"after %d\n" % self.seq)
                await self._read(reader)
            except ConnectionError:
                pass
            finally:
                writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        in_place = False
        while (line := await reader.readline()).endswith(b"\n"):
            event = json.loads(line)
            if event["type"] == "gap":
                self.told_gaps.append(event)
                self.seq = max(self.seq, event["first"] - 1)
                continue
            number = event["seq"]
            if number == self.seq + 1:
                in_place = True
                self.seq = number
                self.lines.append(line)
            elif number > self.seq + 1:
                # Until `after N` is read, a new connection is shown what is new.
                self.gaps += in_place

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Follower]:
        """Read while the body runs."""
        task = asyncio.create_task(self.run())
        try:
            yield self
            assert not task.done(), task.exception()
        finally:
            task.cancel()
