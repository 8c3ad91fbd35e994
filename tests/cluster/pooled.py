"""All members through pgbouncer in transaction mode: each transaction may have another process of the server."""

from __future__ import annotations

import signal

from tests.cluster.outcome import Outcome, judged, taken_over
from tests.cluster.stage import Stage
from tests.servers.pgbouncer import PgBouncer


async def through_pgbouncer(stage: Stage) -> Outcome:
    """A standby takes over from one that is killed, then from one that ends; then pgbouncer itself starts anew."""
    takeovers = stage.takeovers()
    with PgBouncer(stage.server, [stage.store.user]) as bouncer:
        for member in stage.members:
            member.proxy.lead_to(bouncer.port)
            member.proxy.reset()
        for number in (signal.SIGKILL, signal.SIGTERM):
            await stage.settle()
            # Something must be due for whoever takes over.
            stage.send(50, 15.0)
            token = stage.token()
            stage.active().signal(number)
            await taken_over(stage, token)
        bouncer.kill()
        stage.send(50)
        bouncer.start()
        await stage.settle()
        more = stage.takeovers() - takeovers
        for member in stage.members:
            member.proxy.lead_to(stage.server.port)
    return judged(f"{more} takeovers through it", the_duty_went_over=more > 0)
