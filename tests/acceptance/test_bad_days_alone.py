"""Refused, and no other message was ever answered: nobody can say whose fault it is. It ends after a day, no sooner."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim, account_events
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment
from tests.acceptance.waiting import until

HOUR = 3600.0
DAY = 24 * HOUR
STRIDE = 1.3 * HOUR
"""Longer than the longest wait for a message that is refused: it is asked about after each."""


@pytest.mark.parametrize(("refusal", "seen", "reason"), [
    ("404", True, "not_found"), ("422", False, "rejected_request"),
])  # fmt: skip
async def test_a_refusal_without_a_control_ends_after_a_day_and_not_sooner(
    refusal: str, seen: bool, reason: str, tmp_path: Path, shim: Shim, row: Row
) -> None:
    """The machine sleeps through it stride by stride, is restarted once, and has its clock set in between."""
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE, poll_log=1000)) as simulator,
        Deployment(tmp_path, simulator, backoff='policy = "exponential"\nmax_interval = "5s"') as deployment,
    ):
        deployment.machine = shim
        await deployment.start()
        if not seen:
            simulator.faults.set(f"{refusal}:on=read")
        one = simulator.truth.add(steps=[Step(0.0, "ENROUTE")])
        deployment.insert([one])

        def answers(*of: str) -> list[float]:
            return [at for at, answer in simulator.record(one).poll_log if answer.startswith(of)]

        def given_up() -> list[str]:
            return [event["reason"] for event in deployment.events() if event["type"] == "message.gave_up"]

        async def asleep(seconds: float) -> None:
            before = len(answers("fault"))
            shim.sleep(seconds)
            simulator.skip(seconds)
            await until(lambda: len(answers("fault")) > before, f"it is asked about, {before} times before")

        if seen:
            saved = "SELECT count(*) FROM messages WHERE seen_at IS NOT NULL"
            await until(lambda: deployment.query(saved) == [(1,)], "it is answered")
            simulator.faults.set(f"{refusal}:on=read")
        await until(lambda: answers("fault"), "it is refused")
        first = answers("fault")[0]
        while simulator.now() + STRIDE < first + DAY:
            await asleep(STRIDE)
            assert given_up() == []
            if not DAY / 2 < simulator.now() - first < DAY / 2 + STRIDE:
                continue
            shim.step(shim.off - 5 * DAY)
            assert await deployment.stop() == 0
            await deployment.start()
        left = first + DAY - simulator.now()
        assert left > 0
        tries = len(answers("fault"))
        await asleep(left + STRIDE)
        await until(given_up, "then it ends")
        assert await deployment.stop() == 0
        assert given_up() == [reason]
        assert account_events(deployment) == []
        warnings = [line for line in deployment.log() if line.get("event") == "refusal_alone"]
        assert 1 <= len(warnings) <= 2, "once a run"
        row(f"{refusal}: {tries} tries in 24 h, then {reason}; {len(warnings)} warnings in two runs, 0 holds")
