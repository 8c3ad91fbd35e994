"""Which due message gains most by a poll now, as the policy sees it."""

from __future__ import annotations

import math

from pollerd.backoff import Policy
from pollerd.core.learning import key
from pollerd.core.model import Message
from pollerd.polling.ready import Bucket


class PolicyRanker:
    """Buckets by operator and octave of the age at the last poll; ranked by what the policy expects of a poll now."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def bucket(self, message: Message) -> Bucket:
        """Never polled messages go by the minute of their sending."""
        if message.last_poll_at is None:
            return (None, int(message.sent_at // 60))
        age = message.last_poll_at - message.base
        return (key(message), math.frexp(age)[1] if age > 1.0 else 0)

    def rank(self, message: Message, now: float) -> float:
        """Weighted staleness gathered since the last poll."""
        last = 0.0 if message.last_poll_at is None else max(0.0, message.last_poll_at - message.base)
        return self._policy.index(key(message), last, max(last, now - message.base))
