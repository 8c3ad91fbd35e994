"""A deployment under a log of its disk, and daemons that start on what cuts leave of it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Final

from pollerd.simulator import Mix, Population, Simulator, SimulatorConfig
from tests.acceptance.crash_kit import FAST, QUICK
from tests.acceptance.deployment import Deployment, Running
from tests.acceptance.waiting import until
from tests.acceptance.warm import Warm
from tests.powercuts.cuts import Wish, anything, choose, draw, event_files, loses_first, loses_renamed, most_waiting
from tests.powercuts.disk import Disk, File, Log, read_log
from tests.sqlite_kit import rows

LIFE: Final = SimulatorConfig(
    speed=200, population=Population(mix=Mix(never=0), tail=0.01, validity=1200.0, visibility_median=0.2)
)
_NOTE: Final = "the order's number, and what else a customer's system sends along to find it again " * 8
"""Makes lines of two sectors, so that few events fill many pages."""


@dataclass(slots=True)
class Found:
    """What replays have shown. From `missing` on all have to be 0."""

    cuts: int = 0
    events: int = 0
    files: int = 0
    damaged: int = 0
    """Cuts that took bytes of an event file which readers had seen."""
    renamed: int = 0
    """Those that took them of a file that had its second name already."""
    first: int = 0
    """Those that took the first bytes of a file, and left some behind them."""
    repaired: int = 0
    """Starts that wrote lost bytes again."""
    waiting: int = 0
    """The most bytes of one event file that waited for a sync."""
    missing: int = 0
    doubled: int = 0
    junk: int = 0
    """Lines that are no event of the database, byte for byte."""
    moved: int = 0
    """Files in which a reader's offset does not lead to what it led to before the cut."""
    errors: int = 0
    """What the daemons have complained about in their logs: nobody but them has touched their files."""
    told: list[str] = field(default_factory=list)

    @property
    def differences(self) -> int:
        return self.missing + self.doubled + self.junk + self.moved + self.errors

    def __str__(self) -> str:
        return (
            f"{self.cuts} cuts, {self.events} events in {self.files} files, {self.damaged} damaged ({self.renamed} in "
            f"a renamed file, {self.first} at a file's beginning), {self.repaired} repaired, at most "
            f"{self.waiting:,} bytes not synced: {self.missing} missing, {self.doubled} doubled, {self.junk} junk "
            f"lines, {self.moved} files with moved lines, {self.errors} errors in the logs"
        )


class Stage:
    """One deployment whose data lie in a folder of their own, so that they can be taken away and put back."""

    def __init__(
        self, folder: Path, simulator: Simulator, library: Path, warm: Warm | None, rng: random.Random
    ) -> None:
        self.rng = rng
        self.data = folder / "data"
        self.data.mkdir()
        (self.data / "old").mkdir()
        self._vault = folder / "vault"
        self._vault.mkdir()
        self._folder = folder
        self._simulator = simulator
        self._library = library
        self._boot = folder / "boot"
        self._numbers = count(1)
        self.booted = ""
        self.deployment = Deployment(folder, simulator)
        self.deployment.warm = warm
        self.deployment.database = self.data / "pollerd.db"
        self.deployment.file = self.data / "events.ndjson"
        self.configure()

    def configure(self, *, file: bool = True) -> None:
        """Write the configuration; without the event file no event goes to one for the time being."""
        self.deployment.configure(self._simulator.url, "simulator-demo", limits=FAST, backoff=QUICK)
        if not file:
            text = self.deployment.config.read_text()
            self.deployment.config.write_text(text.replace(f'[outputs.file]\npath = "{self.deployment.file}"\n', ""))

    def boot(self, name: str = "") -> None:
        """The machine starts; with a name it is back in the boot that is called so."""
        self.booted = name or f"boot{next(self._numbers)}"
        self._boot.write_text(self.booted + "\n")

    async def start(self, log: Path | None = None) -> Running:
        """Start the daemon, and log what reaches its disk."""
        return await self.deployment.start(environment=self._environment(log))

    def _environment(self, log: Path | None) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self._library),
            "SHIM_BOOT": str(self._boot),
            "SHIM_LOG": "" if log is None else str(log),
            "SHIM_LOG_FOLDER": str(self.data),
        }

    async def hand_over(self, messages: int, log: Path | None = None) -> None:
        """By the command, which writes the database itself where it may: that is logged too."""
        truth = self._simulator.truth
        ids = "\n".join(str(truth.add(recipients=3 if n % 10 == 0 else 1)) for n in range(messages))
        code, _, said = await self.deployment.command(
            "track", "-", "--userref", _NOTE, stdin=ids.encode(), environment=self._environment(log)
        )
        assert code == 0, said

    async def acquaint(self) -> None:
        """Let the daemon meet the gateway's clock: without it a start after a boot waits for the right time."""
        await self.start()
        await self.hand_over(3)
        known = "SELECT count(*) FROM meta WHERE name = 'time' AND CAST(value AS TEXT) LIKE '%\"gateways\":{\"%'"
        await until(lambda: self.deployment.query(known) == [(1,)], "the gateway's clock is known")
        await self.done()

    async def done(self) -> None:
        """Everything is reported and the daemon has stopped."""
        place = "coalesce((SELECT seq FROM outputs WHERE name = 'file'), 0)"
        wanted = "TRUE" if "[outputs.file]" in self.deployment.config.read_text() else "FALSE"
        waiting = f"SELECT count(*) FROM events WHERE {wanted} AND seq > {place}"
        try:
            await until(
                lambda: self.deployment.pending() == 0 and self.deployment.query(waiting) == [(0,)],
                "everything is told",
            )
        except AssertionError as error:
            # What is in the way is in the log.
            raise AssertionError(self.deployment.text_log()[-2000:]) from error
        assert await self.deployment.stop() == 0, self.deployment.text_log()[-2000:]

    def keep(self) -> set[int]:
        """Keep the event files of now under names of their own, so that no other file gets their inodes."""
        for path in self.files():
            kept = self._vault / str(path.stat().st_ino)
            if not kept.exists():
                kept.hardlink_to(path)
        return {path.stat().st_ino for path in self.files()}

    def forget(self, but: set[int]) -> None:
        """Keep no files but these."""
        for path in self._vault.iterdir():
            if int(path.name) not in but:
                path.unlink()

    def put(self, left: Mapping[str, tuple[File, bytes]], *, same_inodes: bool) -> None:
        """Lay out what a cut left; event files as the files that they were, or as copies with other inodes."""
        for path in self.data.rglob("*"):
            if path.is_file():
                path.unlink()
        for number, (name, (file, content)) in enumerate(left.items()):
            path, kept = Path(name), self._vault / str(file.inode)
            if same_inodes and kept.exists():
                kept.write_bytes(content)
                path.hardlink_to(kept)
            else:
                path.write_bytes(content)
            # The clock of a file system is coarse: what was named last is to be the newest.
            os.utime(path, (number, number))

    # -- what the files show

    def files(self) -> list[Path]:
        """The event file and all it was rotated to."""
        return sorted(path for path in self.data.rglob("events.ndjson*") if path.is_file())

    def compare(self, found: Found, seen: Mapping[str, bytes], what: str, errors: Sequence[str]) -> None:
        """The files together against the database, and against what readers had seen."""
        events = rows(self.deployment.database, "SELECT seq, body FROM events ORDER BY seq")
        stored = {b'{"seq":%d,%b' % (seq, bytes(body)[1:]): seq for seq, body in events}
        lines: list[bytes] = []
        was = found.differences
        found.errors += len(errors)
        for path in self.files():
            *part, rest = path.read_bytes().split(b"\n")
            numbers = [stored[line] for line in part if line in stored]
            found.junk += len(part) - len(numbers) + (rest != b"")
            found.moved += any(after <= before for before, after in pairwise(numbers))
            lines += part
        found.missing += len(stored.keys() - set(lines))
        found.doubled += len(lines) - len(set(lines))
        for name, content in seen.items():
            now = Path(name).read_bytes() if Path(name).exists() else b""
            if not now.startswith(content):
                found.moved += 1
                same = next(
                    (n for n, (one, other) in enumerate(zip(now, content, strict=False)) if one != other), len(now)
                )
                what += f"; {Path(name).name} is {same} bytes as before, {len(content)} were seen, {len(now)} are there"
        found.cuts += 1
        found.events += len(stored)
        found.files += len(self.files())
        if found.differences > was:
            found.told.append(
                f"{what}; {'; '.join(errors)}; place {rows(self.deployment.database, 'SELECT * FROM outputs')}"
            )

    def repairs(self) -> int:
        """How often the daemons have said that lost bytes were written again."""
        return self.deployment.text_log().count("they are written again, in their places")

    def check_boot(self) -> None:
        """The last daemon has saved the name of this boot with its place."""
        ((place,),) = self.deployment.query("SELECT detail FROM outputs WHERE name = 'file'")
        assert f'"boot":"{self.booted}"' in place, f"the daemon does not know that this is {self.booted}: {place}"

    def errors(self) -> list[str]:
        """What the daemons have complained about so far."""
        return [entry["message"] for entry in self.deployment.log() if entry["level"].lower() == "error"]


# -- what is recorded


async def record_rotations(stage: Stage, log: Path, messages: int, rotations: int) -> Disk:
    """Events flow while the file is renamed: with a new one in its place or not, to another folder, with SIGHUP, and
    once while the daemon is killed. Returns the disk before.
    """
    await stage.acquaint()
    rng, file, hand, before = stage.rng, stage.deployment.file, Log(log), Disk.of(stage.data)
    process = await stage.start(log)
    await stage.hand_over(messages, log)
    for number in range(rotations):
        if stage.deployment.pending() < messages // 3:
            await stage.hand_over(messages // 2, log)
        await until(lambda: file.exists() and file.stat().st_size > 0, "lines in the new file", look=0.005)
        await asyncio.sleep(rng.uniform(0.0, 0.25))
        killed = number == rotations // 2
        if killed:
            with hand.still():
                await stage.deployment.kill()
        target = stage.data / ("old" if number % 4 == 3 else "") / f"events.ndjson.{number}"
        hand.rename(file, target)
        if rng.random() < 0.5:
            hand.create(file)
        if killed:
            process = await stage.start(log)
        elif rng.random() < 0.5:
            process.send_signal(signal.SIGHUP)
    await stage.done()
    return before


async def record_catching_up(stage: Stage, log: Path, messages: int, rotations: int) -> Disk:
    """Events have piled up; then they are written as fast as it goes, and the file is renamed meanwhile. Returns the
    disk before that.
    """
    rng = stage.rng
    stage.configure(file=False)
    await stage.acquaint()
    await stage.start()
    await stage.hand_over(messages)
    await stage.done()
    stage.configure()
    file, hand, before = stage.deployment.file, Log(log), Disk.of(stage.data)
    await stage.start(log)
    told = "SELECT seq FROM outputs WHERE seq = (SELECT max(seq) FROM events)"
    for number in range(rotations):
        # The daemon checks for a rotation between two batches, and those grow: so do the files.
        size = rng.randint(1, 20_000 << number)
        await until(partial(_large, file, size, stage.deployment, told), "lines", look=0.001)
        if stage.deployment.query(told):
            break
        hand.rename(file, file.with_name(f"events.ndjson.{number}"))
    await stage.done()
    return before


def _large(file: Path, size: int, deployment: Deployment, told: str) -> bool:
    """Whether the file has its size, or everything is reported."""
    return (file.exists() and file.stat().st_size >= size) or bool(deployment.query(told))


# -- what is replayed


async def replay(stage: Stage, before: Disk, log: Path, cuts: int, found: Found, *, again: float = 0.3) -> None:
    """Cut a log `cuts` times. `again`: how often the start after a cut is cut too, while it repairs."""
    rng, disk, done, recorded = stage.rng, before, 0, stage.booted
    changes, files = read_log(log), stage.keep()
    found.waiting = max(found.waiting, most_waiting(changes, files))
    for at, wish in choose(changes, files, cuts, rng):
        for change in changes[done:at]:
            disk.change(change)
        done = max(done, at)
        stage.boot(recorded)
        what = f"cut at {at} of {len(changes)}"
        await _cut(stage, disk, {}, found, what, wish, again=rng.random() < again)
        stage.forget(files)


async def _cut(
    stage: Stage, disk: Disk, seen: dict[str, bytes], found: Found, what: str, wish: Wish, *, again: bool
) -> None:
    rng = stage.rng
    loss, left = draw(disk, rng, wish)
    same = rng.random() < 0.5
    found.damaged += any(content != file.content() for _, file, content in event_files(left))
    found.renamed += any(loses_renamed(*one) for one in event_files(left))
    found.first += any(loses_first(*one) for one in event_files(left))
    # By file, not by name: readers have the offsets of a file, also when its newest name is lost.
    shown = {file.inode: file.content() for path, file in disk.shown().items() if "events.ndjson" in path}
    found.moved += sum(content != b"" for inode, content in shown.items() if inode not in _inodes(left))
    seen = {path: max(seen.get(path, b""), shown.get(file.inode, b""), key=len) for path, (file, _) in left.items()}
    stage.put(left, same_inodes=same)
    if (same and loss != "all") or rng.random() < 0.5:
        # Else nothing was lost: the daemon was killed. Or the files are copies, which are no boot's.
        stage.boot()
    what = f"{what}, {loss} kept, {'same' if same else 'other'} inodes, {stage.booted}"
    log = stage.data.with_name("again.log")
    log.unlink(missing_ok=True)
    base, repairs, errors = Disk.of(stage.data), stage.repairs(), len(stage.errors())
    await stage.start(log if again else None)
    try:
        await stage.done()
    except AssertionError as error:
        error.add_note(what)
        raise
    if stage.repairs() > repairs:
        found.repaired += 1
        stage.check_boot()
    stage.compare(found, {path: content for path, content in seen.items() if content}, what, stage.errors()[errors:])
    if again:
        files, changes = stage.keep(), read_log(log)
        anywhere = [n for n, change in enumerate(changes, 1) if change.kind in "WTSDC"]
        repairing = [n for n in anywhere if changes[n - 1].inode in files]
        at = rng.choice(rng.choice((repairing or anywhere, anywhere)))
        for change in changes[:at]:
            base.change(change)
        what = f"{what}; then at {at} of {len(changes)} of the start"
        await _cut(stage, base, seen, found, what, anything, again=False)


def _inodes(left: Mapping[str, tuple[File, bytes]]) -> set[int]:
    return {file.inode for file, _ in left.values()}
