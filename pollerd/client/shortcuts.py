"""One call each, for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from pollerd.client.sync import AnyPath, Client
from pollerd.client.values import AnyEvent, FinalStates, Tracked


def track(
    *ids: int | str,
    account: str | None = None,
    userref: str | None = None,
    sent_at: float | datetime | None = None,
    sendtime: float | datetime | None = None,
    priority: str | None = None,
    overdue_after: float | timedelta | str | None = None,
    config: AnyPath | None = None,
) -> Tracked:
    """Follow messages from now on. See `Client.track`."""
    return Client(config).track(
        *ids,
        account=account,
        userref=userref,
        sent_at=sent_at,
        sendtime=sendtime,
        priority=priority,
        overdue_after=overdue_after,
    )


def wait(message_id: int | str, timeout: float | None = None, *, config: AnyPath | None = None) -> FinalStates:
    """Return how a message ended, once it has; TimeoutError after `timeout` seconds. See `Client.wait`."""
    return Client(config).wait(message_id, timeout)


def events(after: int = 0, *, follow: bool = False, config: AnyPath | None = None) -> Iterator[AnyEvent]:
    """The events with a `seq` above `after`; with `follow` also those to come. See `Client.events`."""
    return Client(config).events(after, follow=follow)
