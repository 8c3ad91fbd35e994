"""What an outage's end does to the messages that waited for it, on a real store."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from pollerd.backoff import Decision, Exponential, Group, Key, Settings
from pollerd.config import LimitsConfig
from pollerd.core.diff import Result
from pollerd.core.model import Message, Recipient, State
from pollerd.core.outcome import OutcomeRules
from pollerd.core.ports import Batch, Gateway
from pollerd.daemon.clock import SystemClock
from pollerd.gateway.limits.account import AccountLimiter
from pollerd.polling.committer import Committer
from pollerd.polling.poller import Poller
from pollerd.polling.ranking import PolicyRanker
from pollerd.polling.replan import SPREAD, Replanner
from pollerd.polling.window import Window
from pollerd.store.sqlite.store import SqliteStore
from tests.integration.gateway_kit import client
from tests.store_kit import handover_of


class Over(Exponential):
    """A policy for which the outage of one operator has just ended."""

    def base_for(self, key: Key, submit: float, base: float) -> float:
        return time.time()

    def replan(
        self,
        now: float,
        key: Key,
        submit: float,
        base: float,
        *,
        k: int = 1,
        validity: float | None = None,
        group: Group | None = None,
    ) -> Decision:
        return Decision(1.0, "the outage is over")


class Recording(Poller):
    """A poller that remembers what it is to poll."""

    def __init__(self, gateway: Gateway, store: SqliteStore, committer: Committer, clock: SystemClock) -> None:
        policy, rng = Exponential(Settings()), random.Random(1)
        super().__init__(
            "default",
            gateway=gateway,
            limiter=AccountLimiter("default", LimitsConfig(), clock, rng),
            rules=OutcomeRules(policy, Settings(), rng),
            window=Window("default", PolicyRanker(policy)),
            store=store,
            committer=committer,
            clock=clock,
            connections=1,
        )
        self.scheduled: list[int] = []

    def schedule(self, message: Message) -> None:
        self.scheduled.append(message.id)
        super().schedule(message)


async def test_messages_of_the_operator_are_due_again_soon_and_no_others(tmp_path: Path) -> None:
    with handover_of(tmp_path / "p.db") as handover:
        handover.track([1, 2, 3])
    clock = SystemClock()
    store = await SqliteStore.open(tmp_path / "p.db", clock.wall)
    committer = Committer(store, clock)
    now = clock.now()

    def row(message_id: int, mnc: str, due: float) -> Message:
        recipients = (Recipient(4500000000 + message_id, "ENROUTE", mcc="238", mnc=mnc),)
        return Message(message_id, "default", now - 9000, due, base=now - 9000, recipients=recipients)

    rows = (row(1, "1", now + 3600), row(2, "2", now + 3600), row(3, "1", now + 0.5))
    await store.commit(Batch(results=[Result(message, was=State.NEW) for message in rows]))
    policy = Over(Settings())
    committing = asyncio.create_task(committer.run())
    async with client("http://127.0.0.1:9") as gateway:
        poller = Recording(gateway, store, committer, clock)
        replanner = Replanner(policy, store, committer, {"default": poller}, clock, random.Random(1))
        await replanner.wake(frozenset({"238/01"}))
    await committer.flush()
    committing.cancel()
    stored = [await store.message(message_id) for message_id in (1, 2, 3)]
    await store.close()
    woken, other, soon = [message.next_poll_at for message in stored if message is not None]
    assert now < woken <= clock.now() + SPREAD
    assert other == now + 3600
    assert soon == now + 0.5
    assert poller.scheduled == [1]
