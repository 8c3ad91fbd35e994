"""Two or three daemons on one PostgreSQL, with a gateway and readers of file, socket and webhook; then things go wrong.

    python -m tests.cluster                                  # every case once
    python -m tests.cluster --case freeze_the_active         # chosen cases
    python -m tests.cluster --kills 100 --members 3          # random kills of members, backends and the postmaster
    python -m tests.cluster --takeovers 20                   # how long from kill -9 to the first poll of the other

After each case nothing may be lost, doubled or torn, every member's file is the same without a gap, and the webhook's
receiver has heard of everything, never of an older state after a newer one. Exit code 1 when anything differs. Needs
PostgreSQL's programs (apt-get install postgresql).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.cases import AT_RANDOM, CASES, kill, taken_over
from tests.cluster.stage import Stage, since, stage


async def play(on: Stage, names: list[str], messages: int) -> bool:
    """Each case with traffic under way, and the balance after it. Whether all is well."""
    well = True
    for name in names:
        began = time.monotonic()
        on.send(messages)
        await asyncio.sleep(1.5)
        said = await CASES[name](on)
        await on.settle()
        found = on.balance()
        wrong = {what: count for what, count in found.items() if count}
        well = well and not wrong and said == said.replace("NOT ", "").replace("SOME", "")
        print(f"{name}: {wrong or 'all well'}; {said} ({since(began):.0f} s)", flush=True)
    print(on.counts(), flush=True)
    return well


async def measure(on: Stage, times: int) -> None:
    """Print how long takeovers take."""
    for what in ("kill -9", "SIGTERM"):
        took = []
        for _ in range(times):
            on.send(400, 8.0)
            await asyncio.sleep(1.0)
            before = on.active()
            if what == "kill -9":
                kill(before)
            elif before.process is not None:
                before.process.terminate()
            took.append(await taken_over(on, before.name))
            await on.settle()
        print(
            f"{what}: to the first poll of another {statistics.median(took):.1f} s (median), {max(took):.1f} s (worst)"
        )


async def run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder), options.members) as on:
            if options.takeovers:
                await measure(on, options.takeovers)
                return 0
            names = options.case or list(CASES)
            if options.kills:
                names = [random.choice(AT_RANDOM).__name__ for _ in range(options.kills)]
            return 0 if await play(on, names, options.messages) else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--takeovers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    random.seed(options.seed)
    print(f"seed {options.seed}", flush=True)
    return asyncio.run(run(options))


if __name__ == "__main__":
    sys.exit(main())
