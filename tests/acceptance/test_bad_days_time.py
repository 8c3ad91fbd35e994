"""Whatever is done to the machine's clocks: ages, due times and deadlines are those of the time that really passed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pollerd.simulator import Simulator, SimulatorConfig, Step
from tests.acceptance.bad_days_kit import AT_ONCE, Shim
from tests.acceptance.clock_kit import DAY, HOUR, INTERVAL, MINUTE, Life, random_life, shown, to_the_end, wall_time
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment, finals, truth
from tests.acceptance.waiting import until
from tests.sqlite_kit import transaction

SEEDS = 15
LONG_SEEDS = 200
AT_A_TIME = 30
"""Daemons that run beside each other: most of the time they wait for what a clock will say."""


@pytest.fixture
async def life(tmp_path: Path, library: Path) -> AsyncIterator[Life]:
    async with Life(tmp_path / "life", library, messages=50) as life:
        yield life


@pytest.mark.timeout(600)
async def test_sequences_at_random(tmp_path: Path, library: Path, row: Row, long: bool) -> None:
    """The long form: POLLERD_LONG=1 pytest tests/acceptance/test_bad_days_time.py -k random."""
    turn, things, polls = asyncio.Semaphore(AT_A_TIME), [], []

    async def one(seed: int) -> None:
        async with turn, Life(tmp_path / str(seed), library) as life:
            rng = random.Random(seed)
            await random_life(life, rng, rng.randint(3, 25 if long else 7))
            if seed % 5 == 0:
                await to_the_end(life)
            things.append(len(life.told))
            polls.append(sum(len(life.polls(message)) for message in life.ids))
            assert await life.deployment.stop() == 0

    async with asyncio.TaskGroup() as group:
        for seed in range(LONG_SEEDS if long else SEEDS):
            group.create_task(one(seed))
    row(f"{len(things)} sequences, {sum(things)} things done to the clocks, {sum(polls)} polls, 0 early, 0 given up")


async def noticed(life: Life) -> None:
    await until(lambda: "clock_stepped" in life.deployment.text_log(), "the first step is noticed")


async def five_minutes_back_five_days_forward(life: Life) -> None:
    life.set_clock(-5 * MINUTE)
    await noticed(life)
    life.set_clock(5 * DAY)


async def an_hour_back_an_hour_forward(life: Life) -> None:
    life.set_clock(-HOUR)
    await life.polled()
    life.set_clock(HOUR)


async def back_with_the_daemon_and_forward_without(life: Life) -> None:
    life.set_clock(-HOUR)
    await life.polled()
    # A kill costs a poll that is not on disk yet: that is no step's doing.
    await life.saved()
    await life.kill()
    life.set_clock(5 * DAY)
    await life.start()


async def killed_at_the_step(life: Life) -> None:
    life.set_clock(-HOUR)
    await noticed(life)
    await life.kill()
    await life.start()
    await life.kill()
    await life.start()


async def set_to_1970_and_right_again(life: Life) -> None:
    life.set_clock(-life.shim.wall() + 5000.0)
    await life.polled()
    await life.restart()
    life.set_clock(-life.wrong)


@pytest.mark.parametrize(
    "case",
    [
        five_minutes_back_five_days_forward,
        an_hour_back_an_hour_forward,
        back_with_the_daemon_and_forward_without,
        killed_at_the_step,
        set_to_1970_and_right_again,
    ],
    ids=lambda case: case.__name__,
)
async def test_steps(case: Callable[[Life], Awaitable[None]], life: Life, row: Row) -> None:
    await life.saved()
    await case(life)
    await life.polled()
    life.check()
    polls = {one: len(life.polls(one)) for one in life.ids}
    assert set(polls.values()) == {1}, f"nobody was due again: {polls}"
    assert await life.deployment.stop() == 0
    row(f"{len(polls)} messages, one poll each, 0 given up")


@pytest.mark.parametrize("step", [5 * DAY, -5 * DAY])
async def test_handed_over_in_the_second_before_the_step_is_noticed(step: float, life: Life) -> None:
    young = [life.hand_over() for _ in range(20)]
    life.set_clock(step)
    young += [life.hand_over() for _ in range(20)]
    await until(lambda: all(life.polls(one) for one in young), "they are polled")
    await life.polled()
    life.check()
    await life.deployment.stop()
    assert span(life, young) < 60.0, "by whichever time they were sent"


@pytest.mark.parametrize("wrong", [HOUR, 5 * DAY, -5 * DAY])
async def test_handed_over_by_a_clock_that_was_wrong_between_two_checks(wrong: float, life: Life) -> None:
    """Set and set back between two checks: the daemon never sees the time by which the id was handed over."""
    life.set_clock(wrong)
    young = life.hand_over()
    life.set_clock(-wrong)
    await until(lambda: life.polls(young), "it is polled")
    await life.polled()
    life.check()
    assert await life.deployment.stop() == 0
    assert span(life, [young, life.ids[-1]]) < 60.0, "it is as old as what is handed over now"


def span(life: Life, ids: list[int]) -> float:
    """Seconds between the times of sending of the first and the last."""
    oldest, newest = life.deployment.query(
        f"SELECT min(base), max(base) FROM messages WHERE id IN ({', '.join(map(str, ids))})"
    )[0]
    return float(newest - oldest)


async def test_an_age_that_is_only_reported_ends_nobody_at_once(life: Life) -> None:
    """Handed over as five days old: three answers, spread over the grace of a quarter of an hour, and not before."""
    old = life.hand_over(sent_before=5 * DAY)
    handed_over = life.simulator.now()
    for polls in (1, 2):
        await until(lambda polls=polls: len(life.polls(old)) == polls, "it is polled")  # type: ignore[misc]
        life.check()
        life.sleep(8 * MINUTE)
    await until(lambda: life.given_up() == 1, "then it ends")
    assert life.simulator.now() - handed_over >= 15 * MINUTE
    assert len(life.polls(old)) == 3


async def test_a_sleep_puts_nothing_off(life: Life) -> None:
    life.sleep(1.3 * INTERVAL)
    await life.polled()
    life.check()
    # What is due is polled at once, whenever the sleep is noticed.
    await until(lambda: "machine_slept" in life.deployment.text_log(), "the sleep is told")
    assert "clock_stepped" not in life.deployment.text_log()
    assert all(len(life.polls(one)) == 2 for one in life.ids[:50]), "once each, however much fell due"


async def test_a_stopped_machine_is_no_step(life: Life) -> None:
    life.stop_machine(1.3 * INTERVAL)
    young = [life.hand_over()]
    await life.polled()
    young.append(life.hand_over())
    await life.polled()
    assert span(life, young) < 60.0, "what is handed over before anybody knows has not waited for so long"
    life.check()
    assert '"machine_stopped"' in life.deployment.text_log()
    assert all(len(life.polls(one)) == 2 for one in life.ids[:50])
    # And it has passed for good: a kill does not take it back.
    await life.kill()
    await life.start()
    await life.polled()
    life.check()


@pytest.mark.parametrize("wrong", [0.0, 5 * DAY])
async def test_a_restart_of_the_machine(wrong: float, life: Life) -> None:
    """What passed meanwhile is what gateway and wall clock agree upon; a wall clock alone makes nobody old."""
    await life.deployment.stop()
    life.shim.reboot()
    life.stop_machine(1.3 * INTERVAL)
    if wrong:
        life.set_clock(wrong)
    await life.start()
    await life.polled()
    life.check()
    assert all(len(life.polls(one)) == 2 for one in life.ids[:50])
    assert '"doubted": false' in life.deployment.text_log().replace('":', '": ').replace("  ", " ")


@pytest.mark.parametrize("step", [-5 * DAY, 5 * DAY])
async def test_what_is_reported_and_shown_is_the_wall_clocks(step: float, life: Life) -> None:
    """While the daemon runs, after it, and before the next one: the times are those of the clock on the wall."""
    life.set_clock(step)
    await life.polled()
    await until(lambda: '"clock_wrong"' in life.deployment.text_log(), "it is said that the clock is wrong")
    one, now = life.ids[-1], life.shim.wall()

    async def documents() -> list[dict[str, float]]:
        found = []
        for command in (["show", str(one), "--json"], ["list", "--json", "--limit", "1000"]):
            code, out, err = await life.deployment.command(*command)
            assert code == 0, err
            lines = [json.loads(line) for line in out.splitlines()]
            found += [shown(line) for line in lines if line["id"] == one]
        code, out, err = await life.deployment.command("status", "--json")
        assert code == (0 if running else 69), err
        status = json.loads(out)
        assert abs(wall_time(status["messages"]["oldest_pending_sent_at"]) - now) < 120.0
        assert status["late"] == []
        return found

    for running in (True, False):
        if not running:
            assert await life.deployment.stop() == 0
        for times in await documents():
            assert abs(times["sent_at"] - now) < 60.0
            assert abs(times["last_poll_at"] - now) < 60.0
            assert 0.5 * INTERVAL < times["next_poll_at"] - now < 1.5 * INTERVAL
    told = [event for event in life.deployment.events() if event.get("id") == one]
    assert abs(wall_time(told[0]["observed_at"]) - now) < 60.0


@pytest.mark.parametrize("wrong", [HOUR, 5 * DAY, -HOUR, -5 * DAY])
async def test_a_clock_that_was_wrong_from_the_beginning(
    wrong: float, tmp_path: Path, library: Path, shim: Shim
) -> None:
    """A new installation. By the gateway's times every message seems to be sent much later, or was sent long ago."""
    shim.step(wrong)
    growing = 'policy = "exponential"\nfirst_poll_after = "1s"\nmin_interval = "1s"'
    async with (
        Simulator(SimulatorConfig(population=AT_ONCE)) as simulator,
        Deployment(tmp_path, simulator, backoff=growing) as deployment,
    ):
        deployment.machine = shim
        await deployment.start()
        ids = [simulator.truth.add(steps=[Step(0.0, "BUFFERED"), Step(4.0, "DELIVERED")]) for _ in range(20)]
        deployment.insert(ids)
        await until(lambda: finals(deployment.events()) == truth(simulator, ids), "all final states")
        # The gateway sends by its own clock what is scheduled.
        later = simulator.now() + 5.0
        ids.append(simulator.truth.add(steps=[Step(0.0, "DELIVERED")], sendtime=later))
        with transaction(deployment.database) as connection:
            connection.execute("INSERT INTO messages (id, sent_at, sendtime) VALUES (?, ?, ?)",
                               (ids[-1], shim.wall(), later))  # fmt: skip
        await until(lambda: finals(deployment.events()) == truth(simulator, ids), "the scheduled one")
        assert await deployment.stop() == 0
