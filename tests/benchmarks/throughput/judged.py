"""Judges so many answers that change nothing, and ends: what one costs is what valgrind counts for more of them.

python -m tests.benchmarks.throughput.judged COUNT [adaptive]
"""

from __future__ import annotations

import gc
import random
import sys

from pollerd.backoff import Settings
from pollerd.backoff.adaptive import Adaptive
from pollerd.backoff.exponential import Exponential
from pollerd.core.model import Answer, Message, Recipient, State
from pollerd.core.outcome import OutcomeRules

NOW = 1_790_000_000.0
MOST = 1600
"""Messages that are made, whatever the count: only the judging differs between two runs."""
KNOWN = 300
"""Messages that the learner has seen end before."""


def messages() -> list[Message]:
    """Messages of up to fifty seconds' difference in age, polled before."""
    made = []
    for number in range(MOST):
        sent = NOW - 60.0 - number % 50
        shown = (Recipient(4512345678 + number, "ENROUTE", sent, country="DK", mcc="238", mnc="1", sent=sent),)
        made.append(
            Message(
                10**12 + number,
                "default",
                sent - 1.0,
                NOW,
                state=State.PENDING,
                base=sent,
                origin=sent,
                polls=3,
                first_poll_at=NOW - 50.0,
                last_poll_at=NOW - 10.0,
                last_answer="200",
                seen_at=NOW - 10.0,
                taken_at=sent - 1.0,
                recipients=shown,
                trail=b"12345678" * 3,
            )
        )
    return made


def main() -> None:
    """Judge as many as the first argument says."""
    count, settings = int(sys.argv[1]), Settings()
    policy = Adaptive(5, 1, settings=settings) if "adaptive" in sys.argv else Exponential(settings, 1)
    tracked = messages()
    for message in tracked[:KNOWN]:
        policy.first(NOW)
        policy.observe(NOW, "238/01", 2.0, 5.0, True, 4.0, "DELIVERED", message.base, message.base)
    while policy.maintain(NOW):
        pass
    rules = OutcomeRules(policy, settings, random.Random(1))
    answers = [Answer.again(message, 0.0) for message in tracked]
    gc.disable()
    for place in range(count):
        rules.settle(tracked[place], answers[place], NOW + place * 0.0002, 0.0)


if __name__ == "__main__":
    main()
