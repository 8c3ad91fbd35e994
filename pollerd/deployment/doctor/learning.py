"""What the backoff has learned: is it far from general experience, so that somebody should look at it?"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pollerd.base.text import counted, duration
from pollerd.config.policy import MODEL, make_policy
from pollerd.deployment.doctor.check import Check, ok, warning
from pollerd.deployment.doctor.database import open_untouched

if TYPE_CHECKING:
    from pollerd.backoff import Plan
    from pollerd.config import Config

NAME: Final = "learning"
EVENTS: Final = 30.0
"""Final states (decayed) below which what was learned is hardly used, and changes with each further one."""
FAR: Final = 10.0
"""A network ten times as slow as others is either a very slow one, or the times it was learned from are wrong."""
SLOW: Final = 60.0
"""Seconds: where half of the messages end earlier than this, a wrong schedule costs nobody much."""
LATE: Final = 120.0
"""Seconds between sending and hand-over that no network and no clock explains."""
SAMPLE: Final = 200
SAMPLE_LEAST: Final = 20
"""Of so many messages that ended last the typical one is looked at, where there are enough."""
_DELAYS: Final = """
SELECT taken_at - origin FROM (
    SELECT taken_at, origin FROM messages WHERE state >= 2 ORDER BY finished_at DESC LIMIT ?
) WHERE taken_at IS NOT NULL AND origin IS NOT NULL
"""
MOST: Final = 5
"""Networks that are named at most."""


def checks(config: Config) -> Iterator[Check]:
    """One finding for what is known in all, and one for each network that is far from experience."""
    policy = make_policy(config, 0)
    yield from _hand_over(config.store.path)
    learned = _note(config.store.path)
    experience = _half(policy.explain())
    if learned is not None:
        policy.restore(learned)
    world = policy.explain()
    if world.policy != "adaptive" or learned is None or world.events < EVENTS or experience is None:
        return
    networks = policy.keys()
    known = [info.key for info in networks if info.key is not None and info.events >= EVENTS]
    far = [plan for plan in map(policy.explain, known) if _is_far(_half(plan), experience)]
    if not far and not world.railed:
        first = world.rows[0].age if world.rows else 0.0
        evidence = f"from about {counted(round(world.events), 'final state')}; first poll after {duration(first)}"
        yield ok(NAME, evidence)
    for plan in far[:MOST]:
        yield _far(plan, experience)
    if world.railed:
        evidence = "what was learned is by its own figures no better than exponential backoff, which is used instead"
        yield warning(NAME, evidence, "if it stays so for hours, start anew with: pollerd plan --forget")


def _hand_over(path: Path) -> Iterator[Check]:
    """Whether ids are handed over long after their messages were sent."""
    delays = sorted(float(row[0]) for row in _rows(path, _DELAYS, (SAMPLE,)))
    if len(delays) >= SAMPLE_LEAST and (typical := delays[len(delays) // 2]) > LATE:
        yield warning(
            "hand-over",
            f"most of the latest ids were handed over more than {duration(typical)} after their messages were sent",
            "hand ids over right after the send call: news of what ends before is late, and teaches nothing; "
            "after an import of old messages this is as it should be",
        )


def _note(path: Path) -> bytes | None:
    """What was learned; None where there is nothing, or the database is not well, which is said elsewhere."""
    found = _rows(path, "SELECT value FROM meta WHERE name = ?", (MODEL,))
    return found[0][0] if found and isinstance(found[0][0], bytes) else None


def _rows(path: Path, sql: str, parameters: tuple[object, ...]) -> list[Any]:
    try:
        with closing(open_untouched(Path(os.path.realpath(path)))) as connection:
            return connection.execute(sql, parameters).fetchall()
    except sqlite3.Error:
        return []


def _is_far(half: float | None, experience: float) -> bool:
    return half is not None and half > SLOW and half > FAR * experience


def _far(plan: Plan, experience: float) -> Check:
    half = _half(plan) or 0.0
    return warning(
        NAME,
        f"{plan.key}: half of the messages are expected to be pending after {duration(half)}; general experience "
        f"says {duration(experience)}",
        "if that network is not so slow, the sending times it was learned from were wrong (messages handed over long "
        f"before or after they were sent, or a wrong clock): start anew with: pollerd plan --forget {plan.key}",
    )


def _half(plan: Plan) -> float | None:
    """The age at which half of the messages are still pending."""
    return next((age for age, alive in plan.curve if alive <= 0.5), None)
