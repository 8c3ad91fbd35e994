"""What one check found."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How bad it is: nothing to do, worth attention, or something will not work."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Check(msgspec.Struct, frozen=True):
    """One finding: what was checked, how it is, what shows it, and what to do (empty when there is nothing to do).

    Evidence may hold text from outside; secrets are masked in it, control characters are not removed.
    """

    name: str
    level: Level
    evidence: str
    next_step: str = ""


def ok(name: str, evidence: str) -> Check:
    return Check(name, Level.OK, evidence)


def warning(name: str, evidence: str, next_step: str) -> Check:
    return Check(name, Level.WARNING, evidence, next_step)


def failure(name: str, evidence: str, next_step: str) -> Check:
    return Check(name, Level.FAILURE, evidence, next_step)
