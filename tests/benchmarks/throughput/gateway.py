"""The stub gateway as a process of its own, and what it has counted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.request import urlopen


class Count(NamedTuple):
    """Reads answered so far, at an instant of the monotonic clock; the first one (0: none) since `forget`."""

    reads: int
    at: float
    first: float


class Stub:
    """A running stub."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def count(self) -> Count:
        found = self._ask("count")
        return Count(found["reads"], found["at"], found["first"])

    def notes(self) -> dict[str, Any]:
        """Everything it has noted since it was last told to forget."""
        return self._ask("notes")

    def forget(self) -> None:
        """Begin its notes again."""
        self._ask("forget")

    def _ask(self, path: str) -> dict[str, Any]:
        with urlopen(f"{self.url}/{path}") as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@contextmanager
def gateway(mode: str = "enroute", latency: float = 0.0, *, note: bool = False) -> Iterator[Stub]:
    """A stub for as long as the body runs."""
    command = [sys.executable, "-m", "tests.benchmarks.throughput.stub", "--mode", mode, "--latency", str(latency)]
    command += ["--note"] if note else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Stub(int(process.stdout.readline()))
        finally:
            process.kill()
