"""Failpoints: what the environment variable arms, and when they strike."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from pollerd.base import failpoints


@pytest.mark.parametrize("text", ["x", "x=", "x=sleep", "x=kill:", "x=kill:a", "x=eio:1-2-3", "=kill"])
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="POLLERD_FAILPOINTS"):
        failpoints.parse(text)


@pytest.mark.parametrize(
    ("text", "strikes"),
    [
        ("step=eio", [1, 2, 3, 4, 5, 6]),
        ("step=eio:3", [3]),
        ("step=eio:3-", [3, 4, 5, 6]),
        ("step=eio:2-4", [2, 3, 4]),
        (" other=kill:1 , step=enospc:6,", [6]),
        ("", []),
    ],
)
def test_strikes_at_the_hits_named(text: str, strikes: list[int]) -> None:
    code = (
        "from pollerd.base import failpoints\n"
        "for number in range(1, 7):\n"
        "    try: failpoints.hit('step')\n"
        "    except OSError as error: print(number, error.errno)\n"
    )
    done = _run(code, text)
    assert done.returncode == 0
    expected = errno.ENOSPC if "enospc" in text else errno.EIO
    assert done.stdout.split() == [str(word) for strike in strikes for word in (strike, expected)]


def test_kill_ends_the_process_as_kill_9_does() -> None:
    done = _run(
        "from pollerd.base import failpoints\nfailpoints.hit('step')\nprint('alive', flush=True)\n" * 2, "step=kill:2"
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == "alive\n"


def _run(code: str, text: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {failpoints.VARIABLE: text}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
