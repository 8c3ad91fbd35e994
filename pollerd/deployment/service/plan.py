"""What is going to be done, as a list that can be shown before it is carried out."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from pollerd.base.errors import PollerdError

_TIMEOUT: Final = 120.0  # Seconds for one command: longer than systemd itself waits for a start (90).


class Action(msgspec.Struct, frozen=True):
    """A change: what it does, in words, and how; `lines` show what becomes different in a file."""

    what: str
    act: Callable[[], None]
    lines: tuple[str, ...] = ()


class ServiceStep(msgspec.Struct, frozen=True):
    """A line of the plan that is no change: something that stays as it is, and why."""

    what: str


class ServicePlan(msgspec.Struct, frozen=True):
    """Changes in their order, what stays, and what a person does next."""

    actions: tuple[Action, ...]
    stays: tuple[ServiceStep, ...] = ()
    next_steps: tuple[str, ...] = ()


def carry_out(plan: ServicePlan, report: Callable[[str], None]) -> None:
    """Do it, reporting each change before it is made. Raises PollerdError at the first that fails."""
    for action in plan.actions:
        report(action.what)
        try:
            action.act()
        except OSError as error:
            raise PollerdError(
                f"could not {action.what}: {error.strerror or error}. What was done before stays; "
                "correct the cause and run the command again, it goes on from there."
            ) from error


def write(path: Path, text: str, mode: int) -> None:
    """Put a file in place at once and whole; missing folders are made with mode 0755."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)


def folder(path: Path, mode: int) -> None:
    """Make a folder with this mode; one that is there stays as it is."""
    if not path.is_dir():
        path.mkdir(parents=True)
        path.chmod(mode)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all in it, that may be gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def run(words: Sequence[str]) -> None:
    """Run a program of the system. Raises PollerdError with what it said when it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - words are our own, and no shell reads them
            list(words), capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise PollerdError(f"{' '.join(words)} did not end within {_TIMEOUT:g} s.") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or "it said nothing"
        raise PollerdError(f"{' '.join(words)} ended with {done.returncode}: {said}")


def says_yes(words: Sequence[str]) -> bool:
    """Whether a program of the system ends with 0; False when it is not there."""
    program = found(words[0])
    if program is None:
        return False
    try:
        done = subprocess.run([program, *words[1:]], capture_output=True, timeout=_TIMEOUT, check=False)  # noqa: S603 - words are our own
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def found(program: str) -> str | None:
    """Where a program of the system is; also when PATH does not name the folders of root's programs."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")
