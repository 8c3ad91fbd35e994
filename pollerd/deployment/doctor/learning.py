"""What the backoff has learned: is it far from general experience, so that somebody should check it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from pollerd.base.errors import StoreError
from pollerd.base.text import counted, duration
from pollerd.config.policy import MODEL, make_policy
from pollerd.deployment.doctor.check import Check, ok, warning
from pollerd.store.engine import engine_of

if TYPE_CHECKING:
    from pollerd.backoff import Plan
    from pollerd.config import Config

NAME: Final = "learning"
EVENTS: Final = 30.0
"""Final states (decayed) below which what was learned is hardly used, and changes with each further one."""
FAR: Final = 10.0
"""A network ten times as slow as others is either a very slow one, or the times it was learned from are wrong."""
SLOW: Final = 60.0
"""Seconds: where half of the messages end earlier than this, a wrong schedule costs little."""
LATE: Final = 120.0
"""Seconds between sending and hand-over that no network and no clock explains."""
SAMPLE: Final = 200  # Messages.
SAMPLE_LEAST: Final = 20
"""Of so many messages that ended last the typical one is taken, where there are enough."""
MOST_NAMED: Final = 5
"""Networks that are named at most."""


def checks(config: Config) -> Iterator[Check]:
    """One finding for what is known in all, and one for each network that is far from experience."""
    policy = make_policy(config, 0)
    learned, delays = _read(config)
    yield from _hand_over(delays)
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
    for plan in far[:MOST_NAMED]:
        yield _far(plan, experience)
    if world.railed:
        evidence = "what was learned is by its own figures no better than exponential backoff, which is used instead"
        yield warning(NAME, evidence, "if it stays so for hours, start anew with: pollerd plan --forget")


def _hand_over(delays: Sequence[float]) -> Iterator[Check]:
    """Whether ids are handed over long after their messages were sent."""
    if len(delays) >= SAMPLE_LEAST and (typical := sorted(delays)[len(delays) // 2]) > LATE:
        yield warning(
            "hand-over",
            f"most of the latest ids were handed over more than {duration(typical)} after their messages were sent",
            "hand ids over right after the send call: news of what ends before is late, and teaches nothing; "
            "after an import of old messages this is as it should be",
        )


def _read(config: Config) -> tuple[bytes | None, list[float]]:
    """What was learned, and how long after sending ids were handed over; nothing where the store is not well, which is
    said elsewhere.
    """
    try:
        with engine_of(config.store).inspect() as view:
            return view.note(MODEL), view.hand_over_delays(SAMPLE)
    except StoreError:
        return None, []


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
