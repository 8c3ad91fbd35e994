"""The exec output with real programs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pollerd.outputs.exec import ExecOutput
from pollerd.store.sqlite.store import SqliteStore
from tests.integration.control_kit import daemon
from tests.integration.output_kit import commit, running, until


def script(path: Path, body: str) -> list[str]:
    """A Python program; `got` in it is the file that the test reads."""
    program = path / "program.py"
    program.write_text(f"import json, os, sys, time\ngot = {str(path / 'got')!r}\n{body}\n")
    return [sys.executable, "-S", str(program)]


def output(command: list[str], **more: Any) -> ExecOutput:
    return ExecOutput(command, dict(os.environ), **{"retry_first": 0.02, "retry_max": 0.1, **more})


def got(path: Path) -> list[list[int]]:
    """The numbers in each batch that was taken."""
    with contextlib.suppress(FileNotFoundError):
        return [json.loads(line) for line in (path / "got").read_text().splitlines()]
    return []


TAKE = 'seqs = [json.loads(line)["seq"] for line in sys.stdin]\nopen(got, "a").write(json.dumps(seqs) + "\\n")'


async def test_batches_in_order_and_the_place_is_kept(store: SqliteStore, tmp_path: Path) -> None:
    first = output(script(tmp_path, TAKE))
    await first.prepare(store)
    await commit(store, 1200)
    async with running(first, store):
        await until(lambda: first.health.seq == 1200, "all")
    await commit(store, 3)
    async with running(second := output(script(tmp_path, TAKE)), store):
        await until(lambda: second.health.seq == 1203, "the rest")
    batches = got(tmp_path)
    assert [len(batch) for batch in batches] == [500, 500, 200, 3]
    assert [seq for batch in batches for seq in batch] == list(range(1, 1204))


async def test_a_new_output_begins_with_what_happens_from_then_on(store: SqliteStore, tmp_path: Path) -> None:
    await commit(store, 5)
    new = output(script(tmp_path, TAKE))
    await new.prepare(store)
    await commit(store, 1)
    async with running(new, store):
        await until(lambda: new.health.seq == 6, "the last")
    assert got(tmp_path) == [[6]]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ('print("no \\x1b[31m\\u2028disk", file=sys.stderr); sys.exit(3)', "exited with 3: no \\x1b[31m\\x2028disk"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("time.sleep(60)", "took longer than 0.5 s and was ended"),
    ],
)
async def test_a_batch_that_is_not_acknowledged_comes_again(
    store: SqliteStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, failure: str, said: str
) -> None:
    caplog.set_level(logging.INFO)
    body = f'if not os.path.exists(got + ".ok"):\n    {failure}\n{TAKE}'
    flaky = output(script(tmp_path, body), timeout=0.5)
    await flaky.prepare(store)
    await commit(store, 2)
    async with running(flaky, store):
        await until(lambda: said in flaky.health.trouble, said)
        assert flaky.health.seq == 0
        await commit(store, 1)
        (tmp_path / "got.ok").touch()
        # A loaded machine may need longer than half a second for a start.
        await until(lambda: flaky.health.seq == 3, "all")
        assert flaky.health.trouble == ""
    assert got(tmp_path)[-1][-1] == 3
    assert "works again" in caplog.text


async def test_a_program_that_does_not_read_its_input_may_acknowledge_it(store: SqliteStore, tmp_path: Path) -> None:
    deaf = output(["true"])
    await deaf.prepare(store)
    await commit(store, 600)
    async with running(deaf, store):
        await until(lambda: deaf.health.seq == 600, "all")


async def test_a_command_that_is_not_there_is_named_and_tried_again(store: SqliteStore, tmp_path: Path) -> None:
    missing = output([str(tmp_path / "tool")])
    await missing.prepare(store)
    await commit(store, 1)
    async with running(missing, store):
        await until(lambda: "cannot be started: No such file" in missing.health.trouble, "trouble")
        (tmp_path / "tool").write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / "tool").chmod(0o755)
        await until(lambda: missing.health.seq == 1, "it is there now")


async def test_arguments_are_no_shell_text_and_output_goes_nowhere(store: SqliteStore, tmp_path: Path) -> None:
    body = 'open(got, "w").write(json.dumps(sys.argv[1:])); sys.stdout.write("x" * 1_000_000)'
    plain = output([*script(tmp_path, body), "$(id); *", ""])
    await plain.prepare(store)
    await commit(store, 1)
    async with running(plain, store):
        await until(lambda: plain.health.seq == 1, "the event")
    assert json.loads((tmp_path / "got").read_text()) == ["$(id); *", ""]


async def test_a_child_that_stays_behind_holds_up_nobody(store: SqliteStore, tmp_path: Path) -> None:
    body = f"{TAKE}\nif os.fork() == 0:\n    time.sleep(600)"
    left = output([*script(tmp_path, body)], timeout=20.0)
    await left.prepare(store)
    await commit(store, 1)
    async with running(left, store):
        await until(lambda: left.health.seq == 1, "the event")


async def test_stopping_ends_the_whole_group_and_the_batch_comes_again(store: SqliteStore, tmp_path: Path) -> None:
    body = 'child = os.fork()\nopen(got + str(child == 0), "w").write(str(os.getpid()))\ntime.sleep(600)'
    slow = output(script(tmp_path, body))
    await slow.prepare(store)
    await commit(store, 1)
    pids = []
    async with running(slow, store):
        for path in (tmp_path / "gotTrue", tmp_path / "gotFalse"):
            await until(lambda path=path: path.exists() and path.read_text() != "", "both run")  # type: ignore[misc]
            pids.append(int(path.read_text()))
    for pid in pids:
        await until(lambda pid=pid: not alive(pid), "it is gone")  # type: ignore[misc]
    cursor = await store.cursor("exec")
    assert cursor is not None
    assert cursor.seq == 0


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_trouble_of_the_program_is_waited_out_with_growing_delays(store: SqliteStore, tmp_path: Path) -> None:
    body = 'open(got, "a").write("[]\\n"); sys.exit(1)'
    failing = output(script(tmp_path, body), retry_first=30.0, retry_max=60.0)
    await failing.prepare(store)
    await commit(store, 1)
    async with running(failing, store):
        await until(lambda: failing.health.trouble != "", "trouble")
        assert len(got(tmp_path)) == 1
        failing.reopen()
        await until(lambda: len(got(tmp_path)) == 2, "tried again when asked to")


async def test_a_program_gets_none_of_the_daemons_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a whole daemon: the token under any name, the webhook's, and the proxy's password stay here."""
    monkeypatch.setenv("HTTPS_PROXY", "http://bob:pass@127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("BACKUP", "simulator-demo")
    monkeypatch.setenv("HOOK", "signing-secret")
    program = script(tmp_path, 'sys.stdin.read()\nopen(got, "w").write(json.dumps(sorted(os.environ)) + "\\n")')
    more = (
        f"[outputs.exec]\ncommand = {json.dumps(program)}\n"
        '[outputs.webhook]\nurl = "http://127.0.0.1:9/"\nsecret_env = "HOOK"\n'
    )
    async with daemon(tmp_path, more=more, environment={"HOOK": "signing-secret"}) as served:
        await served.follow(1)
        await until(lambda: (tmp_path / "got").exists() and bool(got(tmp_path)), "the program ran")
    names = set(json.loads((tmp_path / "got").read_text()))
    assert "NO_PROXY" in names
    assert not {"HTTPS_PROXY", "BACKUP", "HOOK"} & names
