"""The first configuration of the service: the commented starter, with the places of the service filled in."""

from __future__ import annotations

from typing import Final

from pollerd.config.example import starter_toml

_PLACES: Final = {
    "store.path": "/var/lib/pollerd/pollerd.db",
    "outputs.file.path": "/var/lib/pollerd/events.ndjson",
    "outputs.socket.path": "/run/pollerd/events.sock",
    "control.socket": "/run/pollerd/control.sock",
}
"""Said outright, so that commands typed at a shell find the same places as the service."""
_REMARK: Final = (
    "The service finds its token in /etc/pollerd/token by itself (LoadCredential= in its unit): nothing to set. "
    "Also /etc/pollerd/password and /etc/pollerd/secret, by auth. After a change of them: systemctl restart pollerd."
)


def first_configuration(*, group_writes: bool = False) -> str:
    """As TOML. The token is not in it: systemd hands it over as a credential."""
    chosen = {"store.group_writes": True} if group_writes else {}
    return starter_toml({**_PLACES, **chosen}, {"accounts.default": _REMARK})
