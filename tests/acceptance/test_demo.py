"""`pollerd demo`: simulator, daemon and live view in one process tree, and what it says of them at the end."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.cli_kit import Cli


def test_the_demo_reports_the_truth_in_lines(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.environment["TMPDIR"] = str(tmp_path)
    before = set(tmp_path.iterdir())
    done = cli("demo", "--seconds", "6", "--messages", "30")
    assert (done.code, done.err) == (0, "")
    assert "DELIVERED" in done.text
    summary = done.text.rpartition("\n\n")[2]
    assert "polls after the end  0" in summary
    assert "0 differences" in summary
    assert "without a gap" in summary
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_ends_early_with_its_summary(tmp_path: Path, number: signal.Signals) -> None:
    cli = Cli(tmp_path)
    with cli.running("demo") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while b"DELIVERED" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        process.send_signal(number)
        out, err = process.stdout.read(), process.stderr.read()
        assert (process.wait(60), err) == (0, b"")
        assert b"0 differences" in out


def test_the_demo_paints_a_picture_on_a_terminal(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        cli.command("demo", "--seconds", "3", "--messages", "20"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=tmp_path,
        env={**cli.environment, "TERM": "xterm-256color"},
    )
    os.close(slave)
    out = b""
    while True:
        try:
            out += os.read(master, 65536)
        except OSError:
            break
    os.close(master)
    assert process.wait(60) == 0
    assert b"delivered in (median)" in out
    assert "pollerd reported the truth" in out.decode()
