"""A disk as a log of changes describes it, and what a power cut may leave of it.

A record of the log (little-endian, packed): kind (1 byte), inode (8), place (8), size (4), then `size` bytes.

    W  inode place data     written at `place`              S  inode   everything of the file is on disk
    T  inode place          its size is `place` now         D  path    all names in the folder are on disk
    C  inode path           created                         U  path    a name is gone
    R  inode from NUL to    renamed

What was synced stays. Of what was written since, every sector (or page) holds either what it held at the last sync or
what it held at any moment since; the size is that of the last sync, the newest, or one in between. Names change in the
order in which they were changed, up to any of the changes that no sync of their folder has confirmed.
"""

from __future__ import annotations

import fcntl
import random
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

_HEAD: Final = struct.Struct("<cQQI")
SECTOR: Final = 512
PAGE: Final = 4096
LOSSES: Final = ("none", "all", "sectors", "pages", "sectors", "pages")
"""What is kept of what was not synced: nothing, everything, or, twice as often, random parts."""


@dataclass(frozen=True, slots=True)
class Change:
    """A record of the log."""

    kind: str
    inode: int
    place: int
    data: bytes

    @property
    def paths(self) -> list[str]:
        return self.data.decode().split("\0")


def read_log(path: Path) -> list[Change]:
    """All records of a log."""
    raw = path.read_bytes()
    found, at = [], 0
    while at < len(raw):
        kind, inode, place, size = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        found.append(Change(kind.decode(), inode, place, raw[at : at + size]))
        at += size
    return found


class Log:
    """The log as another process writes to it: a change and its record are one step for all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rename(self, source: Path, target: Path) -> None:
        self._step("R", lambda: source.rename(target), target, f"{source}\0{target}")

    def create(self, path: Path) -> None:
        """An empty file, unless another program was faster."""
        if not path.exists():
            self._step("C", lambda: path.touch(exist_ok=False), path, str(path))

    @contextmanager
    def still(self) -> Iterator[BinaryIO]:
        """Nobody is between a change and its record: the moment to kill a process."""
        with self._path.open("ab", buffering=0) as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            yield log

    def _step(self, kind: str, change: Callable[[], object], path: Path, data: str) -> None:
        with self.still() as log:
            try:
                change()
            except FileExistsError:
                return
            log.write(_HEAD.pack(kind.encode(), path.stat().st_ino, 0, len(data.encode())) + data.encode())


@dataclass(slots=True, eq=False)
class File:
    """A file: what is on disk for good, and what was done to it since, in order."""

    inode: int
    synced: bytes = b""
    since: list[Change] = field(default_factory=list)

    def content(self) -> bytes:
        """What the system shows."""
        made = bytearray(self.synced)
        for change in self.since:
            _apply(made, change)
        return bytes(made)

    def sync(self) -> None:
        if self.since:
            self.synced = self.content()
            self.since = []

    def left(self, loss: str, rng: random.Random) -> bytes:
        """What a power cut leaves of it."""
        if loss == "none" or not self.since:
            return self.synced
        whole = self.content()
        if loss == "all":
            return whole
        unit = SECTOR if loss == "sectors" else PAGE
        made = bytearray(self.synced)
        reached: dict[int, int] = {}
        for number, change in enumerate(self.since):
            for block, start, part in _blocks(change, unit):
                until = reached.get(block)
                if until is None:
                    until = reached[block] = rng.choice((0, len(self.since), rng.randint(0, len(self.since))))
                if number < until:
                    _put(made, start, part)
        sizes = sorted((len(self.synced), len(whole)))
        size = rng.choice((*sizes, rng.randint(*sizes)))
        return bytes(made[:size]) + bytes(max(0, size - len(made)))


def _blocks(change: Change, unit: int) -> Iterator[tuple[int, int, bytes]]:
    """The parts of a write by the blocks that they lie in. A size has none."""
    at, end = change.place, change.place + len(change.data)
    while at < end:
        stop = min(end, (at // unit + 1) * unit)
        yield at // unit, at, change.data[at - change.place : stop - change.place]
        at = stop


def _apply(made: bytearray, change: Change) -> None:
    if change.kind == "W":
        _put(made, change.place, change.data)
    elif change.place <= len(made):
        del made[change.place :]
    else:
        made.extend(bytes(change.place - len(made)))


def _put(made: bytearray, start: int, part: bytes) -> None:
    if start > len(made):
        made.extend(bytes(start - len(made)))
    made[start : start + len(part)] = part


class Disk:
    """All files below one folder."""

    def __init__(self, files: Mapping[str, tuple[int, bytes]]) -> None:
        """Begins with these files on disk: path to inode and content."""
        self._names = {path: File(inode, content) for path, (inode, content) in files.items()}
        self._pending: list[tuple[set[str], Change, File | None]] = []
        self._files = {file.inode: file for file in self._names.values()}
        self._shown = dict(self._names)

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """The files below a folder as they are now, the newest last."""
        paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-shm", ".lock"))]
        paths.sort(key=lambda path: path.stat().st_mtime_ns)
        return cls({str(path): (path.stat().st_ino, path.read_bytes()) for path in paths})

    def change(self, change: Change) -> None:
        """Do what a record says."""
        match change.kind:
            case "W" | "T":
                self._file(change.inode).since.append(change)
            case "S":
                self._file(change.inode).sync()
            case "D":
                self._confirm(change.paths[0])
            case "C":
                self._files[change.inode] = file = File(change.inode)
                self._rename(change, file)
            case _:
                self._rename(change, None)

    def shown(self) -> dict[str, File]:
        """The files by the names that programs see."""
        return dict(self._shown)

    def left(self, loss: str, rng: random.Random) -> dict[str, tuple[File, bytes]]:
        """What a power cut now leaves: by path the file and its content."""
        count = {"none": 0, "all": len(self._pending)}.get(loss)
        names = dict(self._names)
        for _, change, file in self._pending[: rng.randint(0, len(self._pending)) if count is None else count]:
            _name(names, change, file)
        return {path: (file, file.left(loss, rng)) for path, file in names.items()}

    def _file(self, inode: int) -> File:
        return self._files.setdefault(inode, File(inode))

    def _rename(self, change: Change, file: File | None) -> None:
        _name(self._shown, change, file)
        self._pending.append(({str(Path(path).parent) for path in change.paths}, change, file))

    def _confirm(self, folder: str) -> None:
        """A sync of a folder. Names are kept in one journal: what came before the last change in it is on disk too."""
        last = max((n for n, (folders, _, _) in enumerate(self._pending) if folder in folders), default=-1)
        for _, change, file in self._pending[: last + 1]:
            _name(self._names, change, file)
        del self._pending[: last + 1]


def _name(names: dict[str, File], change: Change, file: File | None) -> None:
    if change.kind == "R":
        source, target = change.paths
        if source in names:
            names[target] = names.pop(source)
    elif change.kind == "U":
        names.pop(change.paths[0], None)
    elif file is not None:
        names[change.paths[0]] = file
