"""Where output goes: JSON for programs, rich tables for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pollerd.base.text import harmless, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

_WIDE = 1000
"""Columns when no terminal sets a limit: a program or a file wants whole lines."""
_GAP = 3
"""Columns between two columns of a table."""
_LEAST_WIDTH = 8
"""Columns below which a shortened text says nothing any more."""

STATE_STYLES = {
    "DELIVERED": "green",
    "ACCEPTED": "green",
    "READ": "green",
    "EXPIRED": "yellow",
    "SKIPPED": "yellow",
    "DELETED": "yellow",
    "UNDELIVERABLE": "red",
    "REJECTED": "red",
    "pending": "cyan",
    "overdue": "yellow",
    "finished": "green",
    "gave_up": "red",
}


def write_json(document: object) -> None:
    """One JSON document on one line."""
    write_lines([msgspec.json.encode(document) + b"\n"])


def write_lines(lines: Iterable[bytes]) -> None:
    """Ready NDJSON lines, through at once."""
    out = sys.stdout.buffer
    for line in lines:
        out.write(harmless(line))
    out.flush()


def console() -> Console:
    """Standard output for people: no colours and no wrapping unless it is a terminal; NO_COLOR is respected."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDE
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def table(*columns: str, right: Sequence[str] = (), whole: Sequence[str] = (), short: Sequence[str] = ()) -> Table:
    """An empty table; the columns in `right` hold numbers, and neither they nor those in `whole` are ever wrapped.

    Where room is scarce, those in `short` are cut with an ellipsis and all others are wrapped.
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        unbroken = column in (*right, *whole, *short)
        made.add_column(
            column,
            justify=justify,
            # What is cropped must show that it is.
            overflow="ellipsis" if unbroken else "fold",
            no_wrap=unbroken,
            min_width=_LEAST_WIDTH if column in short else None,
        )
    return made


def fit(made: Table, width: int) -> list[str]:
    """Give the columns of a filled table widths for a terminal of `width` columns; the headers of those left out.

    Numbers and whole columns keep their width, and no word is broken. Columns are left out from the right; the first
    one stays, whatever the width.
    """
    needs = [_needs(column) for column in made.columns]
    left_out: list[str] = []
    while len(needs) > 1 and sum(least for least, _ in needs) + _GAP * (len(needs) - 1) > width:
        needs.pop()
        left_out.insert(0, str(made.columns.pop().header))
    gaps = _GAP * (len(needs) - 1)
    spare = max(0, width - sum(least for least, _ in needs) - gaps)
    for column, (least, most) in zip(made.columns, needs, strict=True):
        column.width = least + min(spare, most - least)
        spare -= column.width - least
    # Without it a terminal narrower than the first column would cut that.
    made.width = gaps + sum(column.width or 0 for column in made.columns)
    return left_out


def _needs(column: Column) -> tuple[int, int]:
    """The least width of a column, and the width that shows everything."""
    from rich.cells import cell_len

    texts = [str(column.header), *(str(cell) for cell in column.cells)]
    most = max(cell_len(text) for text in texts)
    if not column.no_wrap:
        return max((cell_len(word) for text in texts for word in text.split()), default=0), most
    return min(most, column.min_width or most), most


def plain(value: object, style: str = "") -> Text:
    """A cell or a line: never read as markup, never able to steer the terminal."""
    from rich.text import Text

    # As a span, not as the text's own style: what is appended must not inherit it.
    return Text().append(printable(str(value)), style or None)


def state(name: str) -> Text:
    """A state in its colour."""
    return plain(name, STATE_STYLES.get(name, ""))


def row(made: Table, *cells: Any) -> None:
    """Add a row; what is not a Text yet becomes a safe one, None an empty cell."""
    from rich.text import Text

    made.add_row(*(cell if isinstance(cell, Text) else plain("" if cell is None else cell) for cell in cells))


def note(text: str) -> None:
    """A remark on standard error, where it disturbs no output."""
    sys.stderr.write("pollerd: " + "\n".join(printable(line) for line in text.splitlines()) + "\n")
