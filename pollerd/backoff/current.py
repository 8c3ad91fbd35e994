"""The policy in force: another may take its place while the daemon runs."""

from __future__ import annotations

from pollerd.backoff.protocol import EVERYWHERE, Decision, Group, Key, KeyInfo, Metrics, Plan, Policy


class Current:
    """Fulfils `Policy` by the policy that it was given last."""

    def __init__(self, policy: Policy) -> None:
        self._follow(policy)
        self._replaced = False

    def replace(self, policy: Policy) -> None:
        """From now on `policy` decides, with what was learned so far; all pending messages are planned anew."""
        policy.restore(self._policy.snapshot())
        self._follow(policy)
        self._replaced = True

    def _follow(self, policy: Policy) -> None:
        self._policy = policy
        # Called at every poll: its own methods, without another call in between.
        self.next, self.base_for = policy.next, policy.base_for
        self.together, self.observe = policy.together, policy.observe

    def first(self, now: float, *, k: int = 1) -> Decision:
        """See `Policy`, as for all that follow."""
        return self._policy.first(now, k=k)

    def replan(
        self,
        now: float,
        key: Key,
        submit: float,
        base: float,
        *,
        k: int = 1,
        validity: float | None = None,
        group: Group | None = None,
    ) -> Decision:
        return self._policy.replan(now, key, submit, base, k=k, validity=validity, group=group)

    def not_visible(self, now: float, submit: float, tries: int) -> Decision:
        return self._policy.not_visible(now, submit, tries)

    def scheduled(self, now: float, sendtime: float) -> Decision:
        return self._policy.scheduled(now, sendtime)

    def index(self, key: Key, a0: float, a1: float) -> float:
        return self._policy.index(key, a0, a1)

    def take_wake(self) -> list[Key]:
        found = self._policy.take_wake()
        if self._replaced:
            self._replaced = False
            return [EVERYWHERE]
        return found

    def maintain(self, now: float) -> bool:
        return self._policy.maintain(now)

    def snapshot(self) -> bytes:
        return self._policy.snapshot()

    def restore(self, data: bytes) -> None:
        self._policy.restore(data)

    def forget(self, key: Key | None) -> bool:
        return self._policy.forget(key)

    def explain(self, key: Key = None, *, k: int = 1) -> Plan:
        return self._policy.explain(key, k=k)

    def keys(self) -> list[KeyInfo]:
        return self._policy.keys()

    def metrics(self) -> Metrics:
        return self._policy.metrics()
