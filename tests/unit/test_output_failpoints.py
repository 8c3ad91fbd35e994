"""Failpoints: what the environment variable arms, and when they strike."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pollerd.base import failpoints


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "file.rotated=",
        "file.rotated=sleep",
        "file.rotated=kill:",
        "file.rotated=kill:a",
        "file.rotated=eio:1-2-3",
        "store.before_commit=kill",
        "=kill",
    ],
)
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="POLLERD_FAILPOINTS"):
        failpoints.parse(text)


@pytest.mark.parametrize(
    ("text", "strikes"),
    [
        ("store.begun=eio", [1, 2, 3, 4, 5, 6]),
        ("store.begun=eio:3", [3]),
        ("store.begun=eio:3-", [3, 4, 5, 6]),
        ("store.begun=eio:2-4", [2, 3, 4]),
        (" store.written=kill:1 , store.begun=enospc:6,", [6]),
        ("", []),
    ],
)
def test_strikes_at_the_hits_named(text: str, strikes: list[int]) -> None:
    code = (
        "from pollerd.base import failpoints\n"
        "for number in range(1, 7):\n"
        "    try: failpoints.hit('store.begun')\n"
        "    except OSError as error: print(number, error.errno)\n"
    )
    done = _run(code, text)
    assert done.returncode == 0
    expected = errno.ENOSPC if "enospc" in text else errno.EIO
    assert done.stdout.split() == [str(word) for strike in strikes for word in (strike, expected)]


def test_kill_ends_the_process_as_kill_9_does() -> None:
    done = _run(
        "from pollerd.base import failpoints\nfailpoints.hit('store.begun')\nprint('alive', flush=True)\n" * 2,
        "store.begun=kill:2",
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == "alive\n"


def test_stop_lets_the_process_go_on_when_it_is_told_to() -> None:
    code = "from pollerd.base import failpoints\nfailpoints.hit('store.begun')\nprint('alive', flush=True)\n"
    environment = os.environ | {failpoints.VARIABLE: "store.begun=stop:1"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=60)[0] == "alive\n"


def _run(code: str, text: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {failpoints.VARIABLE: text}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_each_name_is_hit_somewhere_and_nothing_else_is() -> None:
    package = Path(failpoints.__file__).parents[1]
    text = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "failpoints.py")
    assert set(re.findall(r'failpoints\.(?:hit|armed)\(\s*"([\w.]+)"', text)) == failpoints.NAMES
