"""The commented configuration to start with: every key with its meaning, its bounds and its default."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

from pollerd.config.outline import KeyEntry, TableSection, sections

_WIDTH: Final = 119
"""Characters of a line, as wide as the code."""
_REMARK: Final = 42
"""The column at which remarks begin where the setting leaves room: behind most settings."""
_HEAD: Final = """\
# pollerd's configuration. Every key is shown. A line that begins with # and no space after it is a setting;
# it stands at its default, unless the remark says "example".
#
# Looked for in this order: -c FILE, $POLLERD_CONFIG, ./pollerd.toml, /etc/pollerd/config.toml.
# Durations: "250ms", "2s", "10m", "72h", "30d", or a number of seconds.
# Relative paths start at the folder of this file; ~ is the home folder.
# After a change run: pollerd check
"""


def starter_toml(settings: Mapping[str, str | bool] | None = None, remarks: Mapping[str, str] | None = None) -> str:
    """A commented configuration that names every key and its default.

    ``settings`` are values to set, by key path (``store.path``), and ``remarks`` are added below tables, by header.
    """
    settings, remarks = settings or {}, remarks or {}
    lines = [_HEAD]
    for section in sections():
        if section.group:
            lines += [f"# ---- {section.group} ".ljust(_WIDTH - 6, "-"), ""]
        lines += [*_section(section, settings, remarks.get(section.name, "")), ""]
    return "\n".join(lines)


def _section(section: TableSection, settings: Mapping[str, str | bool], remark: str) -> Iterator[str]:
    yield from _comment(section.text)
    if not section.blocks:
        return
    live = not section.optional or any(key.rpartition(".")[0] == section.name for key in settings)
    yield f"{'' if live else '#'}{section.header}"
    yield from _comment(remark)
    for block in section.blocks:
        if block.condition:
            yield from ("", *_comment(f"{block.condition}: {block.text}"))
        for entry in block.entries:
            yield from ("", *_setting(entry, settings.get(f"{section.name}.{entry.name}")))


def _setting(entry: KeyEntry, given: str | bool | None) -> Iterator[str]:
    yield from _comment(entry.meaning)
    if given is not None:
        yield f"{entry.name} = {json.dumps(given)}"
        return
    marks = ["" if entry.is_default else "example", "required" if entry.required else "", entry.key.kind.bounds]
    remark = "; ".join(filter(None, marks))
    setting = f"#{entry.name} = {entry.value}"
    yield f"{setting}  ".ljust(_REMARK) + f"# {remark}" if remark else setting


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
    )
