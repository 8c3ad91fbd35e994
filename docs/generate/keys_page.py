"""docs/configuration.md, made from the declared keys of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pollerd.config.outline import KeyBlock, KeyEntry, TableSection, sections

_HEAD: Final = """\
# Configuration

<!-- Made from the declarations in pollerd/config; do not edit. Run: python docs/generate -->

One TOML file. Looked for in this order: `-c FILE`, `$POLLERD_CONFIG`, `./pollerd.toml`, `/etc/pollerd/config.toml`;
without any, built-in defaults hold. [config.example.toml](../config.example.toml) has the same keys to edit, and
`pollerd config init` writes it. `pollerd check` names all mistakes at once, `pollerd config show` prints what is in
force.

Durations are `"250ms"`, `"2s"`, `"10m"`, `"72h"`, `"30d"`, or a number of seconds. Relative paths start at the folder
of the file; `~` is the home folder. A change is taken up when the daemon is restarted; a secret's
own file is watched.
"""


def page() -> str:
    """The whole page."""
    lines = [_HEAD]
    for section in sections():
        if section.group:
            lines += [f"## {section.group}", ""]
        lines += _table(section)
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(section: TableSection) -> Iterator[str]:
    if section.blocks:
        yield from (f"### `{section.header}`", "")
    if section.text:
        yield from (_plain(section.text), "")
    if section.blocks:
        yield from ("| key | type | default | bounds | meaning |", "|---|---|---|---|---|")
        for block in section.blocks:
            yield from (_row(block, entry) for entry in block.entries)
        yield ""
    for block in section.blocks:
        if block.condition:
            yield from (f"`{block.condition}`: {_plain(block.text)}", "")


def _row(block: KeyBlock, entry: KeyEntry) -> str:
    default = f"`{entry.value}`" if entry.is_default else "required" if entry.required else entry.key.unset or "not set"
    condition = f"With `{block.condition}`. " if block.condition else ""
    example = "" if entry.is_default else f" Example: `{entry.value}`"
    meaning = f"{condition}{_plain(entry.key.sentence)}{example}"
    cells = (f"`{entry.name}`", entry.key.kind.name, default, entry.key.kind.bounds, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """Text as Markdown, in which a bracket would begin a link and a star emphasis."""
    return text.replace("[", "\\[").replace("*", "\\*")
