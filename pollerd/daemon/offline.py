"""What a command does itself while no daemon runs: it owns the database and does what is requested in it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from pollerd.base.errors import root_cause
from pollerd.config import Config
from pollerd.config.policy import MODEL, Learner, make_policy, make_settings
from pollerd.core.model import Message
from pollerd.core.outcome import OutcomeRules
from pollerd.core.ports import Clock, Limiter
from pollerd.daemon.gateway_time import gateway_ahead, resume_time
from pollerd.gateway.limits.account import AccountLimiter
from pollerd.intake.loop import Intake
from pollerd.polling.committer import Committer
from pollerd.store.engine import engine_of

TIMEOUT: Final = 10.0
"""Seconds that a command waits for a database that cannot be written now: a person waits for the command."""


class OfflinePlanner:
    """Plans an account's messages while they are not polled. Fulfils `intake.loop.AccountPlanner`."""

    def __init__(self, rules: OutcomeRules, clock: Clock, limiter: Limiter, committer: Committer) -> None:
        self._rules = rules
        self._clock = clock
        self._limiter = limiter
        self._committer = committer

    def plan(self, messages: Sequence[Message]) -> list[Message]:
        """Plan rows that are not planned yet."""
        now, held_total = self._clock.now(), self._limiter.held_total
        return [self._rules.first(message, now, held_total) for message in messages]

    def again(self, message: Message) -> Message:
        """Plan a message that was given up."""
        return self._rules.again(message, self._clock.now(), self._limiter.held_total)

    def resume(self) -> None:
        """End a hold for `refusing`."""
        if (transition := self._limiter.resume()) is not None:
            self._committer.record_account(transition.state, transition.bodies)

    def schedule(self, message: Message) -> None:
        """The next daemon finds it in the store."""

    def drop(self, message_id: int) -> None:
        """Nothing is in memory."""

    def busy_with(self, message_id: int) -> bool:
        """Nothing is being polled."""
        return False


async def settle_requests(config: Config) -> None:
    """Do what commands have requested, while no daemon runs.

    Raises DatabaseBusyError when one does, StoreError when the database cannot be written, now or at all.
    """
    async with AsyncExitStack() as stack:
        engine = engine_of(config.store)
        stack.enter_context(engine.own())
        store = await engine.open(time.time)
        stack.push_async_callback(store.close)
        clock, witness = await resume_time(store)
        committer = Committer(store, clock, give_up_after=TIMEOUT)
        known = await store.accounts()
        policy = make_policy(config, 0, await store.note(MODEL))
        settings = make_settings(config)
        planners = {
            name: OfflinePlanner(
                OutcomeRules(policy, settings, random.Random(), clock, account.overdue_after),
                clock,
                AccountLimiter(name, account.limits, clock, random.Random(), known.get(name)),
                committer,
            )
            for name, account in config.accounts.items()
        }
        ahead = gateway_ahead(config, witness)
        intake = Intake(store, committer, planners, clock, Learner(policy), gateway_ahead=ahead)
        store.taken = clock.taken
        try:
            async with asyncio.TaskGroup() as group:
                committing = group.create_task(committer.run())
                await intake.settle_requests()
                committing.cancel()
        except BaseExceptionGroup as failed:
            raise root_cause(failed) from failed
