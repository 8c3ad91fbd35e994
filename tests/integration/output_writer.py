"""A process that commits events and tells them to a file, to be killed: DATABASE FILE EVENTS.

It rotates the file by rename once on the way, every second time without a nudge, and exits with 0 when all is told.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from output_kit import commit, opened, running, wait_told

from pollerd.outputs import FileOutput


async def main(database: Path, path: Path, count: int) -> None:
    choice = random.Random(os.getpid())
    async with opened(database) as store:
        output = FileOutput(path, advance=store.advance_seq)
        await output.prepare(store)
        async with running(output, store) as task:
            rest = count
            while rest:
                await commit(store, 1 if rest == 1 else choice.randint(1, min(rest - 1, 30)))
                rest = max(0, count - (rest := rest - 1)) and rest
                await asyncio.sleep(0)
            await wait_told(path, store.last)
            assert not task.done()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
