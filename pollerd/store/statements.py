"""SQL lives in `.sql` files, one named statement after another: beside the code where one text serves every engine, in
the engine's own folder where not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pollerd.store import rows

_NAME: Final = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)
_HERE: Final = Path(__file__).parent


class Statements:
    """The statements of one engine: called with the name of a file, it gives them by the name in the line
    `-- name: NAME` above each.

    In place of `{columns}` stand the columns of a message; `{alike}` sets those that a first plan writes but the last
    one. `{handed_over}` are the columns that others fill. `{whole}`, `{scheduled}`, `{repeated}`,
    `{answered}` and `{planned}` are the columns of a view, `{new_whole}` and so on set these to what its trigger is
    given.
    """

    def __init__(self, engine: str, form: Callable[[str], str] = str) -> None:
        """`engine` is the folder with the engine's own files, `form` makes of a statement what its driver takes."""
        self._folder = _HERE / engine
        self._form = form
        self._read: dict[str, Mapping[str, str]] = {}

    def __call__(self, name: str) -> Mapping[str, str]:
        if name not in self._read:
            found = {**_in_file(_HERE / f"{name}.sql"), **_in_file(self._folder / f"{name}.sql")}
            self._read[name] = MappingProxyType({key: self._form(_filled(sql)) for key, sql in found.items()})
        return self._read[name]


def _in_file(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    parts = _NAME.split(path.read_text(encoding="utf-8"))[1:]
    return {key: sql.strip() for key, sql in zip(parts[::2], parts[1::2], strict=True)}


def _filled(sql: str) -> str:
    if "{" not in sql:
        return sql
    views = {
        "whole": rows.COLUMNS[1:],
        "scheduled": rows.SCHEDULED,
        "repeated": rows.REPEATED,
        "answered": rows.ANSWERED,
        "planned": rows.PLANNED,
    }
    return sql.format(
        columns=", ".join(rows.COLUMNS),
        alike=", ".join(f"{each} = ?" for each in rows.PLANNED[:-1]),
        handed_over=", ".join(rows.HANDED_OVER),
        **{name: ", ".join(columns) for name, columns in views.items()},
        **{f"new_{name}": ", ".join(f"{each} = NEW.{each}" for each in columns) for name, columns in views.items()},
    )


SQLITE: Final = Statements("sqlite")
