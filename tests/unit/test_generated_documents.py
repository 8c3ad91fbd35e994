"""Files in the repository that are made from the code are those that the code makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_each_is_current() -> None:
    done = subprocess.run(
        [sys.executable, TOP / "docs" / "generate", "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
