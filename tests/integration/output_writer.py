"""A process that commits events and writes them to a file, to be killed: DATABASE FILE EVENTS.

Half-way it renames the file away, with a nudge or without. It exits with 0 when everything is reported.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from pollerd.outputs.file import FileOutput
from tests.integration.output_kit import commit, opened, running, until


async def main(database: Path, path: Path, count: int) -> None:
    choice = random.Random(os.getpid())
    async with opened(database) as store:
        output = FileOutput(path, advance=store.advance_seq)
        await output.prepare(store)
        async with running(output, store) as task:
            end, rotated = store.last + count, False
            await commit(store, 1)
            # So that there are at least two writes, however slow the start is.
            await until(lambda: output.health.seq == store.last or task.done(), "the first event told")
            while store.last < end:
                await commit(store, choice.randint(1, 10))
                if not rotated and store.last > end - count // 2 and path.exists():
                    path.rename(path.with_name(f"{path.name}.{time.time_ns()}"))
                    rotated = True
                    if choice.random() < 0.5:
                        output.reopen()
            await until(lambda: output.health.seq == store.last or task.done(), "all told")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
