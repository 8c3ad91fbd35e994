"""Is the event file rotated, and in a way that loses nothing?"""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pollerd.config import Config
from pollerd.doctor.check import Check, failure, ok, warning

NAME: Final = "rotation"
FOLDER: Final = Path("/etc/logrotate.d")
MAIN: Final = Path("/etc/logrotate.conf")
_BLOCK: Final = re.compile(r"([^{}]+)\{([^{}]*)\}")


class Rule(msgspec.Struct, frozen=True):
    """What one file of logrotate says about the path; `words` are its directives' names."""

    file: Path
    words: frozenset[str]


def checks(config: Config, folder: Path = FOLDER, main: Path = MAIN) -> Iterator[Check]:
    """The rule for the event file."""
    if config.outputs.file is None:
        return
    path = config.outputs.file.path
    rules = [rule for file in _files(folder, main) for rule in rules_of(file, path)]
    if not rules:
        yield warning(
            NAME,
            f"{path} grows for ever: no file in {folder} names it",
            f"put systemd/pollerd.logrotate to {folder}/pollerd with this path (pollerd service install does it)",
        )
        return
    for rule in rules:
        yield _judge(rule, path)
    if len(rules) > 1:
        files = ", ".join(str(rule.file) for rule in rules)
        yield warning(NAME, f"several rules name {path}: {files}", "keep one of them; logrotate refuses the others")
    elif shutil.which("logrotate", path="/usr/sbin:/sbin:/usr/bin:/usr/local/sbin") is None:
        yield warning(
            NAME, f"{rules[0].file} is there but logrotate is not installed", "run: apt-get install logrotate"
        )


def _judge(rule: Rule, path: Path) -> Check:
    if "copytruncate" in rule.words:
        evidence = f"{rule.file} rotates {path} with copytruncate: what is written between copy and cut is lost"
        return failure(NAME, evidence, f"in {rule.file}, replace copytruncate by: create 0640 pollerd pollerd")
    if "copy" in rule.words:
        return warning(NAME, f"{rule.file} copies {path} and never empties it", "replace copy by create")
    return ok(NAME, f"{rule.file} rotates {path}")


def _files(folder: Path, main: Path) -> Iterator[Path]:
    if main.is_file():
        yield main
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.is_file())


def rules_of(file: Path, path: Path) -> Iterator[Rule]:
    """The rules in a logrotate file whose patterns name `path`."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    text = "\n".join("" if line.lstrip().startswith("#") else line for line in text.splitlines())
    for names, body in _BLOCK.findall(text):
        if any(fnmatch.fnmatchcase(str(path), pattern) for pattern in _patterns(names)):
            yield Rule(file, frozenset(line.split()[0] for line in body.splitlines() if line.split()))


def _patterns(text: str) -> list[str]:
    # Directives of the whole file may stand before the first pattern; a pattern is an absolute path.
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    return [word for word in words if word.startswith("/")]
