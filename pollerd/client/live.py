"""The running daemon's own account of itself, over its control socket."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Final

import msgspec

from pollerd.client.unixhttp import UnixConnection
from pollerd.status.document import StatusDocument

PATIENCE: Final = 5.0
_MOST: Final = 16 << 20


def fetch(path: Path | None) -> StatusDocument | None:
    """`GET /status`; None when nobody answers there, or answers what this version does not understand."""
    if path is None:
        return None
    connection = UnixConnection(path, PATIENCE)
    try:
        connection.request("GET", "/status")
        response = connection.getresponse()
        body = response.read(_MOST)
        return msgspec.json.decode(body, type=StatusDocument) if response.status == 200 else None
    except (OSError, http.client.HTTPException, msgspec.MsgspecError):
        return None
    finally:
        connection.close()
