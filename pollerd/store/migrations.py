"""The steps by which a schema has grown, one file each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

BREAKING: Final = "-- breaking"
"""How the script of a step begins after which older versions cannot use the database. `-- breaking before 7`: those
that know schema 7 still can, since they do not use what the step takes away.
"""
_BREAKING: Final = re.compile(rf"{BREAKING}(?: before (?P<known>\d+))?")
_NAME: Final = re.compile(r"(\d{4})_\w+\.sql", re.ASCII)


class Migration(NamedTuple):
    """One step of the schema: `version` is that of the schema after it.

    A step is additive: versions of pollerd that do not know it go on reading and writing the database, so that one can
    go back. One that cannot be says so in its first line, see `BREAKING`.
    """

    version: int
    path: Path

    @property
    def script(self) -> str:
        """Its statements."""
        return self.path.read_text(encoding="utf-8")


def steps_in(folder: Path) -> tuple[Migration, ...]:
    """The steps in order."""
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return tuple(sorted(Migration(int(match[1]), path) for match, path in found if match is not None))


def oldest_reader(steps: Sequence[Migration]) -> int:
    """Which version of the schema pollerd must know to use a database that is brought to the last of `steps`."""
    found = ((step.version, _BREAKING.match(step.script)) for step in steps)
    return max((int(match["known"] or version) for version, match in found if match is not None), default=1)
