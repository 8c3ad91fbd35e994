"""The relay: outputs on their own, errors of one, errors that end all."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from pollerd.base.errors import DurabilityError, OutputError, StoreError
from pollerd.core.ports import EventLog, OutputHealth
from pollerd.outputs.file import FileOutput
from pollerd.outputs.relay import Relay
from pollerd.outputs.socket import SocketOutput
from tests.integration.output_kit import commit, exactly, seqs, until, wait_written
from tests.store_place import Place


class Ends:
    """An output that ends by `error` at each start, until there have been `times` of them."""

    name = "ends"

    def __init__(self, error: Exception | None, times: int = 1_000_000) -> None:
        self.error = error
        self.starts = 0
        self.times = times

    @property
    def health(self) -> OutputHealth:
        return OutputHealth(self.name, 0)

    def reopen(self) -> None:
        pass

    async def run(self, log: EventLog) -> None:
        self.starts += 1
        if self.starts > self.times:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_all_outputs_report_all_and_stop_in_order(tmp_path: Path, place: Place) -> None:
    files = [FileOutput(tmp_path / f"{number}.ndjson", name=f"file {number}") for number in range(3)]
    relay = Relay([*files, SocketOutput(tmp_path / "events.sock")])
    async with place.opened() as store:
        task = asyncio.create_task(relay.run(store))
        await commit(store, 100)
        for number in range(3):
            await wait_written(tmp_path / f"{number}.ndjson", 100)
        await until(lambda: [health.seq for health in relay.health] == [100] * 4, "all places")
        await stop(task)
        for number in range(3):
            cursor = await store.cursor(f"file {number}")
            assert cursor is not None
            assert cursor.seq == 100
    assert not (tmp_path / "events.sock").exists()


@pytest.mark.parametrize("error", [OutputError("the path is taken"), StoreError("the database is locked"), None])
async def test_trouble_of_one_is_tried_again_while_others_go_on(
    tmp_path: Path, place: Place, error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bad = Ends(error, times=4)
    relay = Relay([bad, FileOutput(tmp_path / "events.ndjson")], retry_first=0.01)
    async with place.opened() as store:
        task = asyncio.create_task(relay.run(store))
        await until(lambda: relay.health[0].trouble != "", "trouble")
        assert (str(error) if error else "ended by itself") in relay.health[0].trouble
        await commit(store, 10)
        await wait_written(tmp_path / "events.ndjson", 10)
        await until(lambda: bad.starts == 5 and relay.health[0].trouble == "", "end of trouble")
        assert relay.health[1].trouble == ""
        await stop(task)
    assert seqs(tmp_path / "events.ndjson") == exactly(10)
    said = [record.getMessage() for record in caplog.records if "ends" in record.getMessage()]
    assert len(said) == 2
    assert said[1] == "output ends: works again"


async def test_a_disk_that_cannot_be_trusted_ends_all(tmp_path: Path, place: Place) -> None:
    relay = Relay([FileOutput(tmp_path / "events.ndjson"), Ends(DurabilityError("not on disk"))])
    async with place.opened() as store:
        await commit(store, 10)
        with pytest.raises(DurabilityError, match="not on disk"):
            await relay.run(store)


async def test_a_defect_in_one_output_is_named_and_the_others_go_on(
    tmp_path: Path, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    defective = Ends(ValueError("a defect"), times=1)
    relay = Relay([FileOutput(tmp_path / "events.ndjson"), defective], retry_first=0.01)
    async with place.opened() as store:
        task = asyncio.create_task(relay.run(store))
        await until(lambda: defective.starts == 2, "another start of the defective one")
        await commit(store, 10)
        await until(lambda: seqs(tmp_path / "events.ndjson") == exactly(10), "the other one tells all")
        await stop(task)
    assert any(record.exc_info and "failed" in record.getMessage() for record in caplog.records)


async def test_a_reload_tries_at_once(tmp_path: Path, place: Place) -> None:
    bad = Ends(OutputError("the path is taken"), times=1)
    relay = Relay([bad], retry_first=3600.0)
    async with place.opened() as store:
        task = asyncio.create_task(relay.run(store))
        await until(lambda: relay.health[0].trouble != "", "trouble")
        relay.reopen()
        await until(lambda: bad.starts == 2, "another try")
        await stop(task)


async def test_a_path_put_right_is_taken_up_with_all_events(tmp_path: Path, place: Place) -> None:
    path = tmp_path / "events.ndjson"
    path.mkdir()
    relay = Relay([FileOutput(path)], retry_first=0.01)
    async with place.opened() as store:
        task = asyncio.create_task(relay.run(store))
        await commit(store, 10)
        await until(lambda: "not a regular file" in relay.health[0].trouble, "trouble")
        path.rmdir()
        await wait_written(path, 10)
        await stop(task)
    assert seqs(path) == exactly(10)


async def test_stopped_at_once_after_the_start_nothing_is_left_open(tmp_path: Path, place: Place) -> None:
    path = tmp_path / "events.ndjson"
    async with place.opened() as store:
        await commit(store, 10)
        for pause in range(30):
            task = asyncio.create_task(Relay([FileOutput(path)]).run(store))
            for _ in range(pause):
                await asyncio.sleep(0)
            await stop(task)
        task = asyncio.create_task(Relay([FileOutput(path)]).run(store))
        await wait_written(path, 10)
        await stop(task)
    assert seqs(path) == exactly(10)
