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

_STORE_REMARK: Final = (
    "The service finds the password of the URL's user in /etc/pollerd/database-password by itself: nothing to set. "
    "After a change of it: systemctl restart pollerd."
)


def first_configuration(*, group_writes: bool = False, store: str | None = None) -> str:
    """As TOML. Token and password are not in it: systemd hands them over as credentials. `store`: a URL, instead of the
    file.
    """
    chosen: dict[str, str | bool] = {**_PLACES}
    if store is not None:
        del chosen["store.path"]
        chosen["store.url"] = store
    if group_writes:
        chosen["store.group_writes"] = True
    return starter_toml(chosen, {"accounts.default": _REMARK, **({} if store is None else {"store": _STORE_REMARK})})
