"""What one would write in an afternoon: APScheduler date jobs, aiohttp, one committed aiosqlite update a poll.

Prints polls a second. SQLite as it comes: a rollback journal, every update a transaction on disk. With `--shared`, WAL,
and what jobs do at the same time goes into one commit: faster, but no longer one commit a poll. No job store, no diff,
no events.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import aiosqlite
import uvloop
from apscheduler.schedulers.asyncio import AsyncIOScheduler

SCHEMA = "CREATE TABLE messages (id INTEGER PRIMARY KEY, status TEXT, polls INTEGER DEFAULT 0, next_poll_at REAL)"
UPDATE = "UPDATE messages SET status = ?, polls = polls + 1, next_poll_at = ? WHERE id = ?"


async def main(url: str, seconds: float, messages: int, interval: float, *, shared: bool) -> None:
    """Poll `messages` messages every `interval` seconds, or as fast as it goes."""
    polls = 0
    turn = asyncio.Semaphore(messages if shared else 1)
    scheduler = AsyncIOScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None})
    headers = {"Authorization": "Token benchmark"}
    with tempfile.TemporaryDirectory(prefix="pollerd-bench-") as folder:
        async with (
            aiosqlite.connect(Path(folder) / "plain.db") as database,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=40), headers=headers) as session,
        ):
            if shared:
                await database.execute("PRAGMA journal_mode = WAL")
            await database.execute(SCHEMA)
            ids = range(10**12, 10**12 + messages)
            await database.executemany("INSERT INTO messages (id) VALUES (?)", [(number,) for number in ids])
            await database.commit()

            async def poll(number: int) -> None:
                nonlocal polls
                async with session.get(f"{url}/rest/mtsms/{number}") as response:
                    answer = json.loads(await response.read())
                status = answer[0]["recipients"][0]["dsnstatus"]
                following = time.time() + interval
                async with turn:
                    await database.execute(UPDATE, (status, following, number))
                    await database.commit()
                polls += 1
                due = datetime.now(UTC) + timedelta(seconds=interval)
                scheduler.add_job(poll, "date", run_date=due, args=(number,))

            for number in ids:
                scheduler.add_job(poll, "date", run_date=datetime.now(UTC), args=(number,))
            scheduler.start()
            while polls < 200:
                await asyncio.sleep(0.05)
            polls, began = 0, time.monotonic()
            await asyncio.sleep(seconds)
            sys.stdout.write(f"{polls / (time.monotonic() - began)}\n")
            sys.stdout.flush()
            # Thousands of jobs wait for a connection: there is no orderly end worth waiting for.
            while os.path.exists(folder):
                # A job under way may begin a new journal meanwhile.
                shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--interval", type=float, default=2.0)
    parser.add_argument("--shared", action="store_true", help="WAL, and jobs share commits")
    options = parser.parse_args()
    uvloop.run(main(options.url, options.seconds, options.messages, options.interval, shared=options.shared))
