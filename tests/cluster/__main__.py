"""Two or three daemons on one PostgreSQL, with a gateway and readers of file, socket, webhook and a foreign table; then
things go wrong.

    python -m tests.cluster --demo                           # half a minute to watch: one is killed, the other goes on
    python -m tests.cluster                                  # every case once
    python -m tests.cluster --case freeze_the_active         # chosen cases, also several by a part of their names
    python -m tests.cluster --kills 100 --members 3          # random kills of members, backends and the postmaster
    python -m tests.cluster --takeovers 20                   # how long from kill -9 to the first poll of the other

After each case nothing may be lost, doubled or torn, every member's file is the same without a gap, and the webhook's
receiver and the foreign table have heard of everything, never of an older state after a newer one. Exit code 1 when
anything differs. Needs PostgreSQL's programs (apt-get install postgresql) and a C compiler.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.cluster import replicas
from tests.cluster.cases import AT_RANDOM, CASES
from tests.cluster.demo import perform
from tests.cluster.outcome import taken_over
from tests.cluster.stage import Stage, since, stage

BETWEEN: Final = 10
"""Random kills after which everything comes to rest, and the books are balanced."""


async def balanced(on: Stage) -> str:
    """What is wrong once everybody has read everything; empty when nothing is."""
    await on.settle()
    return ", ".join(f"{count} {what}" for what, count in on.balance().items() if count)


async def play(on: Stage, names: list[str], messages: int) -> bool:
    """Each case with traffic under way, and the balance after it. Whether all is well."""
    bad = []
    for name in names:
        began = time.monotonic()
        on.send(messages)
        await asyncio.sleep(1.5)
        outcome = await CASES[name](on)
        wrong = "; ".join(filter(None, (outcome.wrong, await balanced(on))))
        if wrong:
            bad.append(name)
        print(
            f"{name}: {f'WRONG: {wrong}' if wrong else 'all well'}; {outcome.said} ({since(began):.0f} s)", flush=True
        )
    print(f"{len(names)} cases, {len(bad)} wrong {bad or ''}; {on.counts()}; {on.balance()}", flush=True)
    return not bad


async def kill_at_random(on: Stage, times: int, messages: int) -> bool:
    """Kills in a row, each as soon as all members are there again. Whether all is well."""
    done: Counter[str] = Counter()
    well = True
    for number in range(1, times + 1):
        case = random.choice(AT_RANDOM)
        on.send(messages)
        await asyncio.sleep(random.uniform(0.2, 2.0))
        outcome = await case(on)
        done[case.__name__] += 1
        await on.together()
        wrong = await balanced(on) if number % BETWEEN == 0 or number == times else ""
        well = well and not outcome.wrong and not wrong
        said = "; ".join(filter(None, (outcome.said, outcome.wrong, wrong)))
        print(f"{number} {case.__name__}: {said}", flush=True)
    print(f"{times} kills: {dict(done)}; {on.counts()}; {on.balance()}", flush=True)
    return well


async def measure(on: Stage, times: int) -> None:
    """Print how long takeovers take."""
    for what in ("kill -9", "SIGTERM"):
        took = []
        for _ in range(times):
            on.send(200, 15.0)
            await asyncio.sleep(random.uniform(1.0, 3.0))
            before, token = on.active(), on.token()
            if what == "kill -9":
                before.lose()
            else:
                before.end()
            took.append(await taken_over(on, token))
            await on.together()
        print(
            f"{what}: to the first poll of another {statistics.median(took):.2f} s (median), {max(took):.2f} s (worst) "
            f"of {times}",
            flush=True,
        )
    print(f"{await balanced(on) or 'all well'}; {on.counts()}; {on.balance()}", flush=True)


async def run(options: argparse.Namespace) -> int:
    """All that is wanted; those with replicas each on servers of their own."""
    every = (*CASES, *replicas.CASES)
    wanted = [name for name in every if not options.case or any(part in name for part in options.case)]
    names = [name for name in wanted if name in CASES]
    if options.takeovers or options.kills:
        return await on_one_server(options, [])
    well = not names or await on_one_server(options, names) == 0
    for name in [name for name in wanted if name in replicas.CASES]:
        with tempfile.TemporaryDirectory() as folder:
            well = await replicas.play(Path(folder), name, options.members, options.messages) and well
    return 0 if well else 1


async def on_one_server(options: argparse.Namespace, names: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder), options.members) as on:
            if options.takeovers:
                await measure(on, options.takeovers)
                return 0
            if options.kills:
                return 0 if await kill_at_random(on, options.kills, options.messages) else 1
            return 0 if await play(on, names, options.messages) else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--messages", type=int, default=200)
    known = ", ".join((*CASES, *replicas.CASES))
    parser.add_argument("--case", action="append", help=f"a name, or a part of some: {known}")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--takeovers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    random.seed(options.seed)
    if options.demo:
        asyncio.run(perform())
        return 0
    print(f"seed {options.seed}, {options.members} members", flush=True)
    return asyncio.run(run(options))


if __name__ == "__main__":
    sys.exit(main())
