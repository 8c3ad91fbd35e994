"""`[store] group_writes`: an ordinary member of the group hands ids over with the README's own line of SQL."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from pollerd.simulator import Population, Simulator, SimulatorConfig
from tests.acceptance.deployment import COMMAND, NO_CERTIFICATES, Deployment, Running
from tests.acceptance.doctor_kit import doctor
from tests.acceptance.waiting import PATIENCE, until
from tests.sqlite_kit import readme_insert

SERVICE: Final = 60001
MEMBER: Final = 60002
STRANGER: Final = 60003
ANY_ID: Final = SimulatorConfig(population=Population(any_id=True, visibility_median=0.0))

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None or shutil.which("sqlite3") is None,
    reason="needs root to be others, setpriv and sqlite3",
)


def as_user(user: int, *groups: int) -> list[str]:
    more = [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
    return ["setpriv", f"--reuid={user}", f"--regid={user}", *more]


class Installed(Deployment):
    """A daemon of a user of its own."""

    async def launch(self, *, environment: dict[str, str] | None = None) -> Running:
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *as_user(SERVICE), COMMAND, "run", "-c", self.config,
                stdout=PIPE, stderr=log, env={**os.environ, **NO_CERTIFICATES, **(environment or {})},
            )  # fmt: skip
        return self.process

    def allow(self, text: str) -> None:
        self.config.write_text(self.config.read_text().replace("[store]\n", f"[store]\n{text}\n"))

    def run(self, user: list[str], *words: object) -> subprocess.CompletedProcess[str]:
        words = (*user, *words)
        return subprocess.run(
            list(map(str, words)), capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=self.folder
        )

    def insert_as(self, user: list[str], number: int) -> subprocess.CompletedProcess[str]:
        return self.run(user, *readme_insert(self.database, number))

    def rights(self) -> dict[str, tuple[int, int]]:
        """Mode and group of all that SQLite has made."""
        return {
            path.name: (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid)
            for path in self.folder.glob("pollerd.db*")
        }


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own, which is closed to other users."""
    with tempfile.TemporaryDirectory(prefix="pollerd-group-") as name:
        made = Path(name)
        os.chown(made, SERVICE, SERVICE)
        made.chmod(0o750)
        yield made


def give(folder: Path) -> None:
    for path in folder.iterdir():
        os.chown(path, SERVICE, SERVICE)


async def test_a_member_of_the_group_inserts_with_and_without_a_daemon(folder: Path) -> None:
    member = as_user(MEMBER, SERVICE)
    async with Simulator(ANY_ID) as simulator, Installed(folder, simulator) as deployment:
        deployment.allow("group_writes = true")
        give(folder)
        await deployment.start()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o2770
        done = deployment.insert_as(member, 1)
        assert (done.returncode, done.stderr) == (0, "")
        await until(lambda: simulator.truth.polls(1), "it is polled")
        assert {*deployment.rights().values()} == {(0o660, SERVICE)}
        assert {"pollerd.db-wal", "pollerd.db-shm"} <= {*deployment.rights()}
        assert deployment.insert_as(as_user(STRANGER), 9).returncode != 0

        # Without a daemon the member makes all files beside the database, which the daemon must be able to use.
        assert await deployment.stop() == 0
        for name in ("pollerd.db-wal", "pollerd.db-shm", "pollerd.db.lock"):
            (folder / name).unlink(missing_ok=True)
        held = subprocess.Popen(
            [*member, *readme_insert(deployment.database, 2)[:-1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert held.stdin is not None
        assert held.stdout is not None
        held.stdin.write(b"INSERT OR IGNORE INTO messages (id) VALUES (2); SELECT 'done';\n")
        held.stdin.flush()
        assert held.stdout.readline() == b"done\n"
        assert (folder / "pollerd.db-wal").stat().st_uid == MEMBER
        done = deployment.run(member, COMMAND, "track", "3", "-c", deployment.config)
        assert (done.returncode, "tracked 1" in done.stdout) == (0, True), done.stderr
        done = deployment.run(member, COMMAND, "poll", "3", "-c", deployment.config)
        assert done.returncode == 0, done.stderr
        assert (folder / "pollerd.db.lock").stat().st_uid == MEMBER
        await deployment.start()
        await until(lambda: simulator.truth.polls(2) and simulator.truth.polls(3), "they are polled")
        held.communicate()
        assert {*deployment.rights().values()} == {(0o660, SERVICE)}
        assert "group_writes_lacking" not in deployment.text_log()


async def test_the_doctor_says_what_is_missing_and_a_start_brings_it_back(folder: Path) -> None:
    async with Simulator(ANY_ID) as simulator, Installed(folder, simulator) as deployment:
        give(folder)
        await deployment.start()
        assert deployment.rights()["pollerd.db"] == (0o640, SERVICE)
        assert "readonly" in deployment.insert_as(as_user(MEMBER, SERVICE), 1).stderr
        assert await deployment.stop() == 0
        deployment.allow("group_writes = true")
        seen = await doctor(deployment)
        assert f"{folder} has mode 0750, and needs 2770" in seen.evidence("rights")
        assert f"{deployment.database} has mode 0640, and needs 0660" in seen.evidence("rights")
        assert "StateDirectoryMode=2770" in seen.next_step("rights")
        await deployment.start()
        seen = await doctor(deployment)
        assert seen.level("rights") == "ok", seen.evidence("rights")
        assert await deployment.stop() == 0
        deployment.config.write_text(deployment.config.read_text().replace("group_writes = true", ""))
        assert "though group_writes is not set" in (await doctor(deployment)).evidence("rights")
