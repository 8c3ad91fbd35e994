"""The manual page: names everything, and is readable by man itself. That it is current: test_generated_documents."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pollerd.cli.group import COMMANDS
from pollerd.config.outline import sections

FILE = Path(__file__).parents[2] / "docs" / "man" / "pollerd.1"


def test_it_names_every_command_and_exit_code() -> None:
    text = FILE.read_text()
    for name in COMMANDS:
        assert f".SS pollerd {name}" in text
    for code in (0, 1, 2, 69, 75, 78):
        assert f".B {code}\n" in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_it_names_every_key_of_the_configuration_as_it_is_written_there() -> None:
    # The lines are long enough for every setting to stand on one.
    groff = ["groff", "-man", "-Tutf8", "-P-cbou", "-rLL=400n", str(FILE)]
    shown = subprocess.run(groff, capture_output=True, text=True, timeout=60, check=True).stdout
    lines = {line.strip() for line in shown.replace("\u2010", "-").replace("\u2212", "-").splitlines()}
    for section in sections():
        assert not section.blocks or section.header in lines
        for block in section.blocks:
            for entry in block.entries:
                assert f"{entry.name} = {entry.value}" in lines


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_complain_about() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", FILE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
