"""The yardstick: an aiohttp loop that fetches, decodes and forgets. Prints polls a second and CPU seconds a poll."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time

import aiohttp
import msgspec
import uvloop


async def main(url: str, seconds: float, connections: int) -> None:
    """Fetch as fast as `connections` workers can for so many seconds."""
    decoder = msgspec.json.Decoder()
    ids = itertools.count(10**12)
    headers = {"Authorization": "Token benchmark"}
    polls = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections), headers=headers) as session:

        async def work(until: float) -> None:
            nonlocal polls
            while time.monotonic() < until:
                async with session.get(f"{url}/rest/mtsms/{next(ids)}") as response:
                    decoder.decode(await response.read())
                    polls += 1

        # Connections are opened before the clock starts.
        await asyncio.gather(*(work(time.monotonic() + 0.3) for _ in range(connections)))
        polls, began, used = 0, time.monotonic(), time.process_time()
        await asyncio.gather(*(work(began + seconds) for _ in range(connections)))
        sys.stdout.write(f"{polls / (time.monotonic() - began)} {(time.process_time() - used) / polls}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=40)
    options = parser.parse_args()
    uvloop.run(main(options.url, options.seconds, options.connections))
