"""Where a log is cut, and what the cut is to do: of what a disk may lose, the rare cases are drawn on purpose."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from tests.powercuts.disk import LOSSES, Change, Disk, File

_DRAWS: Final = 100
"""Tries to make a cut do what is wished."""

Wish = Callable[[str, File, bytes], bool]
"""What a cut is to do to an event file, by its path, what it was and what is left, so that it does not take luck."""


def anything(path: str, file: File, kept: bytes) -> bool:
    return True


def loses_renamed(path: str, file: File, kept: bytes) -> bool:
    return not path.endswith("events.ndjson") and kept != file.content()


def loses_first(path: str, file: File, kept: bytes) -> bool:
    return kept[:1] == b"\0" and kept.strip(b"\0") != b""


def choose(changes: Sequence[Change], files: set[int], cuts: int, rng: random.Random) -> list[tuple[int, Wish]]:
    """Where to cut, ascending. A fifth each: an event file that is renamed and not yet synced loses something; one that
    follows another and was never synced loses its first bytes; right after a write to an event file; near other changes
    of these files and of names; anywhere.
    """
    written = [n for n, change in enumerate(changes, 1) if change.inode in files and change.kind == "W"]
    near = [
        n + more for n, change in enumerate(changes) if change.inode in files or change.kind in "CRD" for more in (0, 1)
    ]
    renamed, begun = _half_rotated(changes, files)
    kinds: tuple[tuple[Sequence[int], Wish], ...] = (
        (renamed or written, loses_renamed),
        (begun or written, loses_first),
        (written, anything),
        (near, anything),
        (range(len(changes) + 1), anything),
    )
    drawn = [kinds[n % len(kinds)] for n in range(cuts)]
    return sorted(((rng.choice(places), wish) for places, wish in drawn), key=lambda cut: cut[0])


def _half_rotated(changes: Sequence[Change], files: set[int]) -> tuple[list[int], list[int]]:
    """After which changes an event file is renamed and not yet synced, or follows another and was never synced."""
    waits: set[int] = set()
    renamed: set[int] = set()
    lasts: set[int] = set()
    found: tuple[list[int], list[int]] = ([], [])
    for number, change in enumerate(changes, 1):
        if change.inode in files:
            match change.kind:
                case "W":
                    waits.add(change.inode)
                case "S":
                    lasts |= waits & {change.inode}
                    waits.discard(change.inode)
                case "R":
                    renamed.add(change.inode)
        if waits & renamed:
            found[0].append(number)
        elif renamed and waits - lasts:
            found[1].append(number)
    return found


def draw(disk: Disk, rng: random.Random, wish: Wish) -> tuple[str, dict[str, tuple[File, bytes]]]:
    """What is kept, and what a cut leaves then."""
    for _ in range(_DRAWS):
        loss = rng.choice(LOSSES)
        left = disk.left(loss, rng)
        if any(wish(*one) for one in event_files(left)):
            break
    return loss, left


def event_files(left: Mapping[str, tuple[File, bytes]]) -> Iterator[tuple[str, File, bytes]]:
    for path, (file, content) in left.items():
        if "events.ndjson" in path:
            yield path, file, content


def most_waiting(changes: Sequence[Change], files: set[int]) -> int:
    """The most bytes that one of the files had without a sync."""
    waits = dict.fromkeys(files, 0)
    most = 0
    for change in changes:
        if change.inode in files:
            waits[change.inode] = 0 if change.kind == "S" else waits[change.inode] + len(change.data)
            most = max(most, *waits.values())
    return most
