"""Cut the power of a daemon at work, hundreds of times, and see what becomes of its event files.

    python -m tests.powercuts --cuts 200 [--seed N] [--warm]

The installed command starts after each cut; `--warm` forks it from a process that has everything imported. Prints what
was found; exit code 1 when anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from pollerd.simulator import Simulator
from tests.acceptance.bad_days_kit import build
from tests.acceptance.warm import Warm
from tests.powercuts.replay import LIFE, Found, Stage, record_catching_up, record_rotations, replay

EACH = 50
"""Cuts of one recording."""


async def run(cuts: int, seed: int, folder: Path, *, warm: bool) -> Found:
    found, library, told = Found(), build(folder), 0
    for number in range(-(-cuts // EACH)):
        async with AsyncExitStack() as stack:
            simulator = await stack.enter_async_context(Simulator(LIFE))
            server = stack.enter_context(Warm()) if warm else None
            place = folder / f"recording-{number}"
            place.mkdir()
            stage = Stage(place, simulator, library, server, random.Random(seed + number))
            await stack.enter_async_context(stage.deployment)
            stage.boot()
            log = place / "changes"
            began = time.monotonic()
            if number % 2:
                before = await record_catching_up(stage, log, 800, 6)
            else:
                before = await record_rotations(stage, log, 300, 12)
            print(f"recording {number}: {log.stat().st_size:,} bytes in {time.monotonic() - began:.0f} s", flush=True)
            await replay(stage, before, log, min(EACH, cuts - number * EACH), found)
            print("\n".join([*found.told[told:], str(found)]), flush=True)
            told = len(found.told)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.powercuts", description=__doc__)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--warm", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="powercuts-") as folder:
        found = asyncio.run(run(options.cuts, options.seed, Path(folder), warm=options.warm))
    print(f"{found}, {time.monotonic() - began:.0f} s")
    return 1 if found.differences else 0


if __name__ == "__main__":
    sys.exit(main())
