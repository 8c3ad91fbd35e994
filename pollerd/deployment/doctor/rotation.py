"""Is the event file rotated, and in a way that loses nothing?"""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from pollerd.config import Config
from pollerd.deployment.doctor.check import Check, failure, ok, warning

NAME: Final = "rotation"
FOLDER: Final = Path("/etc/logrotate.d")
MAIN: Final = Path("/etc/logrotate.conf")
_BLOCK: Final = re.compile(r"([^{}]+)\{([^{}]*)\}")
_SCRIPT: Final = re.compile(
    r"^[ \t]*(?:prerotate|postrotate|preremove|firstaction|lastaction)\b.*?^[ \t]*endscript\b", re.MULTILINE | re.DOTALL
)
_WORDS_IN_NO: Final = frozenset({"notifempty"})
"""Directives that begin with "no" and take nothing back."""


class Rule(msgspec.Struct, frozen=True):
    """What one file of logrotate says about the path; `words` are the names of the directives in force for it."""

    file: Path
    words: frozenset[str]


def checks(config: Config, folder: Path = FOLDER, main: Path = MAIN) -> Iterator[Check]:
    """The rule for the event file."""
    if config.outputs.file is None:
        return
    path = config.outputs.file.path
    rules = list(rules_for(path, _files(folder, main)))
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
    for word in ("copytruncate", "renamecopy"):
        if word in rule.words:
            evidence = f"{rule.file} rotates {path} with {word}: what is written between copy and cut is lost"
            return failure(NAME, evidence, f"in {rule.file}, replace {word} by: create 0640 pollerd pollerd")
    if "compress" in rule.words and "delaycompress" not in rule.words:
        evidence = f"{rule.file} compresses {path} at once: what is written until the daemon has noticed is lost"
        return failure(NAME, evidence, f"in {rule.file}, add to the rule for {path}: delaycompress")
    if "copy" in rule.words:
        return warning(NAME, f"{rule.file} copies {path} and never empties it", "replace copy by create")
    return ok(NAME, f"{rule.file} rotates {path}")


def _files(folder: Path, main: Path) -> Iterator[Path]:
    if main.is_file():
        yield main
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.is_file())


def rules_for(path: Path, files: Iterable[Path]) -> Iterator[Rule]:
    """The rules in logrotate's files, read in its order, whose patterns name `path`."""
    # Directives outside of braces hold for all that is read later, in other files too.
    common: frozenset[str] = frozenset()
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        text = _SCRIPT.sub("", "\n".join("" if line.lstrip().startswith("#") else line for line in text.splitlines()))
        for names, body in _BLOCK.findall(text):
            common = _with_directives(common, names)
            if any(fnmatch.fnmatchcase(str(path), pattern) for pattern in _patterns(names)):
                yield Rule(file, _with_directives(common, body))
        common = _with_directives(common, _BLOCK.sub("", text))


def _with_directives(words: frozenset[str], text: str) -> frozenset[str]:
    """The directives in force after those in `text`."""
    force = set(words)
    for name in (line.split()[0] for line in text.splitlines() if line.split()):
        if name.startswith("no") and name not in _WORDS_IN_NO:
            force.discard(name.removeprefix("no"))
        else:
            force.add(name)
    return frozenset(force)


def _patterns(text: str) -> list[str]:
    # Directives of the whole file may stand before the first pattern; a pattern is an absolute path.
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    return [word for word in words if word.startswith("/")]
