"""Power cuts: the event files hold each event once, whole, and where readers had seen it. The long form, hundreds of
cuts, is `python -m tests.powercuts`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pollerd.simulator import Simulator
from tests.acceptance.conftest import Row
from tests.acceptance.warm import Warm
from tests.powercuts.disk import Disk
from tests.powercuts.replay import LIFE, Found, Stage, record_catching_up, record_rotations, replay

UNSYNCED = 512 * 1024

Record = Callable[[Stage, Path, int, int], Awaitable[Disk]]


@pytest.mark.parametrize(
    ("record", "messages", "rotations", "cuts"),
    [(record_rotations, 200, 6, 10), (record_catching_up, 400, 4, 6)],
    ids=["rotated", "catching up"],
)
async def test_power_cuts(
    record: Record,
    messages: int,
    rotations: int,
    cuts: int,
    tmp_path: Path,
    library: Path,
    warm: Warm,
    row: Row,
    long: bool,
) -> None:
    found = Found()
    async with Simulator(LIFE) as simulator:
        stage = Stage(tmp_path, simulator, library, None if long else warm, random.Random(11))
        async with stage.deployment:
            stage.boot()
            before = await record(stage, tmp_path / "changes", messages, rotations)
            await replay(stage, before, tmp_path / "changes", 50 if long else cuts, found)
    row(str(found))
    assert found.differences == 0, "\n".join(found.told)
    assert 0 < found.waiting <= UNSYNCED
    assert found.cuts >= cuts
    # Else the cuts have shown nothing.
    assert min(found.damaged, found.renamed, found.first, found.repaired) > 0
