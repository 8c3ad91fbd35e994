"""Rights of files, secrets, and what a hostile answer can do to a screen."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from pollerd.simulator import Credentials, Simulator, SimulatorConfig, Step
from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment, finals
from tests.acceptance.waiting import until

pytestmark = pytest.mark.usefixtures("cold")

TIGHT = {"pollerd.db": 0o640, "pollerd.db-wal": 0o640, "pollerd.db-shm": 0o640, "pollerd.db.lock": 0o640,
         "events.ndjson": 0o640, "events.sock": 0o660, "control.sock": 0o660}  # fmt: skip
SECRET = "Zx9-very-secret-token-Q7"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x00\r\nforged: line\u202e\x9b31m"


async def test_modes_whatever_the_umask(tmp_path: Path, row: Row) -> None:
    before = os.umask(0)
    try:
        async with Simulator() as simulator, Deployment(tmp_path, simulator) as deployment:
            await deployment.start()
            deployment.insert([simulator.truth.add(steps=[Step(0.0, "DELIVERED")])])
            await until(lambda: finals(deployment.events()), "its final state")
            found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir() if path.name in TIGHT}
            assert await deployment.stop() == 0
    finally:
        os.umask(before)
    for name, mode in found.items():
        assert mode & ~TIGHT[name] == 0, f"{name}: {mode:o}"
    assert {"pollerd.db", "pollerd.db-wal", "events.ndjson", "events.sock", "pollerd.db.lock"} <= set(found)
    row(", ".join(f"{name} {mode:04o}" for name, mode in sorted(found.items())))


async def test_the_secret_is_nowhere(tmp_path: Path, row: Row) -> None:
    """At log level debug, with the gateway quoting it back in every refusal, and after a crash."""
    credentials = Credentials(tokens=frozenset({SECRET}))
    async with (
        Simulator(SimulatorConfig(credentials=credentials)) as simulator,
        Deployment(tmp_path, simulator, backoff='first_poll_after = "0s"') as deployment,
    ):
        text = deployment.config.read_text().replace("[log]", '[log]\nlevel = "debug"')
        deployment.config.write_text(text)
        process = await deployment.start()
        deployment.insert([simulator.truth.add(steps=[Step(0.0, "DELIVERED")]) for _ in range(5)])
        await until(lambda: len(finals(deployment.events())) == 5, "final states")
        simulator.faults.set("401")
        deployment.insert([simulator.truth.add(steps=[Step(0.0, "DELIVERED")])])
        await until(lambda: any(e["type"] == "account.held" for e in deployment.events()), "held")
        said = {"cmdline": Path(f"/proc/{process.pid}/cmdline").read_bytes()}
        for name, arguments in {
            "config show": ("config", "show"),
            "config show --json": ("config", "show", "--json"),
            "status": ("status",),
            "list": ("list",),
            "events": ("events",),
            "check": ("check",),
            "doctor": ("doctor",),
        }.items():
            _, out, err = await deployment.command(*arguments)
            said[name] = (out + err).encode()
        await deployment.kill()
        deployment.config.write_text(text.replace('path = "', 'path = 17 # "', 1))
        _, out, err = await deployment.command("run")
        said["a bad configuration"] = (out + err).encode()
        places = said | {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        places.pop("token")
        for name, content in places.items():
            assert SECRET.encode() not in content, name
        row(f"searched {len(places)} places: {', '.join(sorted(places))}")


@pytest.mark.parametrize("where", ["userref", "error"])
async def test_escapes_stay_in_their_field(where: str, tmp_path: Path, row: Row) -> None:
    """Control characters and terminal escapes: one line in the file, no control character on any screen."""
    async with (
        Simulator() as simulator,
        Deployment(tmp_path, simulator, backoff='first_poll_after = "0s"') as deployment,
    ):
        await deployment.start()
        number = simulator.truth.add(steps=[Step(0.0, "UNDELIVERABLE", 0x1010)], userref=ESCAPES)
        if where == "userref":
            deployment.insert([number])
        else:
            code, _, _ = await deployment.command("track", str(number), "--userref", ESCAPES.replace("\x00", ""))
            assert code in (0, 2)
            deployment.insert([number])
        await until(lambda: finals(deployment.events()), "its final state")
        raw = deployment.file.read_bytes()
        assert not any(byte < 32 and byte != 10 for byte in raw)
        assert all(json.loads(line)["seq"] for line in raw.splitlines())
        screens = {}
        for arguments in (("list",), ("show", str(number)), ("events",), ("status",)):
            _, out, err = await deployment.command(*arguments)
            screens[arguments[0]] = out + err
        assert await deployment.stop() == 0
        for name, text in screens.items():
            bad = [c for c in text if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 or c == "\u202e"]
            assert not bad, f"{name}: {bad!r}"
            assert "\nforged" not in text
        row(f"{where}: {len(ESCAPES)} hostile characters, {len(raw.splitlines())} lines in the file, 4 screens clean")


@pytest.mark.parametrize("error", ["eio", "enospc"])
async def test_a_start_that_fails_leaves_no_socket_behind(error: str, tmp_path: Path) -> None:
    """An error after the control socket was bound and before anything runs: no socket without a listener is left."""
    async with Simulator() as simulator, Deployment(tmp_path, simulator) as deployment:
        process = await deployment.launch(environment={"POLLERD_FAILPOINTS": f"app.before_serving={error}"})
        assert await process.wait() == 1
        assert not (tmp_path / "control.sock").exists()
        assert "Traceback" not in deployment.text_log()
