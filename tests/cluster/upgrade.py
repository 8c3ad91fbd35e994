"""An upgrade one member at a time, on a stage of its own: nothing there is what other cases begin with."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.acceptance.waiting import until
from tests.cluster.member import Member
from tests.cluster.outcome import Outcome, judged, polled
from tests.cluster.stage import PATIENCE, Stage, stage
from tests.releases import AFTER_NEXT, NEXT, release


async def upgrade(_: Stage) -> Outcome:
    """To the next release and to the one after it: the standby first, then the active one, and the other way round.
    Messages are under way all the time. At the end a member that is two releases older is turned away.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        releases = {
            "0.2.0": release(folder / "next", "0.2.0", [NEXT]),
            "0.3.0": release(folder / "after", "0.3.0", [NEXT, AFTER_NEXT]),
        }
        async with stage(folder, 2) as on:
            for active_first, (number, made) in enumerate(releases.items()):
                on.send(100)
                first = on.active() if active_first else on.standby()
                for member in sorted(on.members, key=lambda each: each is not first):
                    await _upgraded(on, member, number, made)
            await on.settle()
            wrong = {what: count for what, count in on.balance().items() if count}
            older = on.members[0]
            older.install(None)
            done = await older.command("list")
            refused = done[0] == 1 and "Install the newer pollerd" in done[2]
            return judged(
                f"{wrong or 'nothing lost'}, {on.counts()}", nothing_lost=not wrong, the_older_is_refused=refused
            )


async def _upgraded(on: Stage, member: Member, number: str, made: Path) -> None:
    """It ends in order, and comes back with another release; then messages are polled by whoever is active."""
    member.install(made)
    member.end()
    there = "SELECT count(*) FROM members WHERE name = ? AND version = ?"
    await until(
        lambda: on.store.query(there, member.name, number) == [(1,)], f"{member.name} has {number}", patience=PATIENCE
    )
    await until(on.holder, "one polls", patience=PATIENCE)
    on.send(100)
    await polled(on)
