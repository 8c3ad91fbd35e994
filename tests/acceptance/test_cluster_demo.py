"""`python -m tests.cluster --demo`, which the documentation names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.waiting import PATIENCE


def test_the_demo_of_two_daemons(has_postgresql: None, long: bool) -> None:
    if not long:
        pytest.skip("the long form: POLLERD_LONG=1")
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster", "--demo"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for said in ("app2 took over from app1: its lease ended", "app1 took over from app2: it ended in order"):
        assert said in done.stdout
    assert "nothing lost, nothing told twice" in done.stdout.splitlines()[-1]
