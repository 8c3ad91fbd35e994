"""HTML put together so that text can never become markup: a plain str is escaped, only `Html` is not."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

from pollerd.base.text import printable

_VOID: Final = frozenset({"meta", "link", "input", "br"})

Part = object
"""Text, a number, None for nothing, `Html`, or any nesting of lists of these."""


class Html(str):
    """Markup. Made by `tag` alone; everything else is text."""

    __slots__ = ()


def text(value: Part) -> Html:
    """The value as markup that shows it."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("")
    if isinstance(value, list | tuple):
        return Html("".join(map(text, value)))
    return Html(html.escape(printable(str(value)), quote=True))


def tag(name: str, /, *children: Part, **attributes: str | float | None) -> Html:
    """An element. Attributes: `class_` for class, `_` for `-`; None leaves one away, "" writes its name alone."""
    found = [name]
    for key, value in attributes.items():
        if value is not None:
            shown = key.rstrip("_").replace("_", "-")
            found.append(f'{shown}="{html.escape(str(value), quote=True)}"' if value != "" else shown)
    opened = f"<{' '.join(found)}>"
    return Html(opened if name in _VOID else f"{opened}{text(children)}</{name}>")


def table(caption: str, heads: Iterable[str], rows: Iterable[Iterable[Part]], *, numbers: Iterable[int] = ()) -> Html:
    """A table whose first column heads its rows; the columns in `numbers` hold figures."""
    right = set(numbers)

    def kind(place: int) -> str | None:
        return "number" if place in right else None

    head = [tag("th", name, scope="col", class_=kind(place)) for place, name in enumerate(heads)]
    body = []
    for cells in rows:
        made = [
            tag("th", cell, scope="row") if place == 0 else tag("td", cell, class_=kind(place))
            for place, cell in enumerate(cells)
        ]
        body.append(tag("tr", made))
    whole = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body))
    return tag("div", whole, class_="scroll")
