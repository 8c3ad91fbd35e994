"""All members through pgbouncer in transaction mode: each transaction may have another process of the server."""

from __future__ import annotations

from tests.acceptance.waiting import until
from tests.cluster.stage import PATIENCE, Stage
from tests.servers.pgbouncer import PgBouncer


async def through_pgbouncer(stage: Stage) -> str:
    """A standby takes over from one that is killed, then from one that ends; then pgbouncer itself starts anew."""
    takeovers = stage.counts()["takeovers"]
    with PgBouncer(stage.server, [stage.store.user]) as bouncer:
        for member in stage.members:
            member.proxy.lead_to(bouncer.port)
            member.proxy.reset()
        for name in ("kill", "terminate"):
            await stage.settle()
            before = stage.active()
            getattr(before.process, name)()
            await until(lambda: stage.holder() not in ("", before.name), "another polls", patience=PATIENCE)  # noqa: B023
            stage.send(50)
        bouncer.kill()
        stage.send(50)
        bouncer.start()
        await stage.settle()
        more = stage.counts()["takeovers"] - takeovers
        for member in stage.members:
            member.proxy.lead_to(stage.server.port)
    return f"{more} takeovers through it"
