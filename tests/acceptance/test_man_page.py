"""The manual page: made from the commands, current, and readable by man itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pollerd.cli.group import COMMANDS
from pollerd.cli.manpage import page

FILE = Path(__file__).parents[2] / "docs" / "man" / "pollerd.1"


def test_it_is_current() -> None:
    assert FILE.read_text() == page(), "run: python -m pollerd.cli.manpage > docs/man/pollerd.1"


def test_it_names_every_command_and_exit_code() -> None:
    text = page()
    for name in COMMANDS:
        assert f".SS pollerd {name}" in text
    for code in (0, 1, 2, 69, 75, 78):
        assert f".B {code}\n" in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_complain_about() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", FILE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
