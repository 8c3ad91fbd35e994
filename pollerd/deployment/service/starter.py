"""The first configuration of the service: the commented starter, with the places of the service filled in."""

from __future__ import annotations

import re
from typing import Final

from pollerd.config import starter_toml

_PLACES: Final = {
    "store": ("path", "/var/lib/pollerd/pollerd.db"),
    "outputs.file": ("path", "/var/lib/pollerd/events.ndjson"),
    "outputs.socket": ("path", "/run/pollerd/events.sock"),
    "control": ("socket", "/run/pollerd/control.sock"),
}
"""Said outright, so that commands typed at a shell find the same places as the service."""


def first_configuration() -> str:
    """As TOML. The token is not in it: systemd hands it over as a credential."""
    lines = starter_toml().splitlines()
    table = ""
    for number, line in enumerate(lines):
        header = re.fullmatch(r"#?\[([\w.]+)\]", line)
        if header is not None:
            table = header[1]
            if table in _PLACES:
                lines[number] = f"[{table}]"
        elif table in _PLACES and line.startswith(f"#{_PLACES[table][0]} ="):
            key, value = _PLACES[table]
            lines[number] = f'{key} = "{value}"'
    text = "\n".join(lines) + "\n"
    note = (
        "# The service finds its token in /etc/pollerd/token by itself (LoadCredential= in its unit): nothing to set.\n"
        "# Also /etc/pollerd/password and /etc/pollerd/secret, by auth. After a change: systemctl restart pollerd.\n"
    )
    return text.replace("[accounts.default]\n", "[accounts.default]\n" + note, 1)
