"""Shell completion: the scripts, and what bash really offers with them."""

from __future__ import annotations

import os
import subprocess

import pytest

from pollerd.cli.group import COMMANDS
from tests.acceptance.deployment import COMMAND
from tests.acceptance.waiting import PATIENCE

ENVIRONMENT = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ.get('PATH', '')}"}
OFFER = """
source <(pollerd completion bash)
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
complete -p pollerd >/dev/null
_pollerd_completion pollerd
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(*words: str) -> set[str]:
    """What bash would offer for the last word."""
    done = subprocess.run(
        ["bash", "-c", OFFER, "bash", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=ENVIRONMENT,
        check=False,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("pollerd", ""), set(COMMANDS)),
        (("pollerd", "doc"), {"doctor"}),
        (("pollerd", "service", ""), {"install", "uninstall"}),
        (("pollerd", "service", "install", "--dr"), {"--dry-run"}),
        (("pollerd", "completion", "z"), {"zsh"}),
        (("pollerd", "nothing-like-it"), set()),
    ],
)
def test_bash_offers(words: tuple[str, ...], expected: set[str]) -> None:
    assert offered(*words) == expected


@pytest.mark.parametrize(
    ("shell", "mark"), [("zsh", "#compdef pollerd"), ("fish", "complete --no-files --command pollerd")]
)
def test_the_other_shells_get_their_script(shell: str, mark: str) -> None:
    done = subprocess.run([COMMAND, "completion", shell], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert mark in done.stdout


def test_a_shell_nobody_knows_is_wrong_usage() -> None:
    assert (
        subprocess.run([COMMAND, "completion", "tcsh"], capture_output=True, timeout=PATIENCE, check=False).returncode
        == 2
    )
