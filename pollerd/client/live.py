"""The status of the running daemon. Apart from `remote`, so that a command without a daemon does not import HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from pollerd.status.document import StatusDocument

STATUS_TIMEOUT: Final = 5.0
"""Seconds for the status: without an answer it is read from the database."""
_LONGEST_STATUS: Final = 16 << 20
"""Bytes of the status that are read."""


def fetch_status(path: Path | None) -> StatusDocument | None:
    """`GET /status` at the control socket `path`; None without an answer within STATUS_TIMEOUT, or with one that
    this version does not understand.
    """
    try:
        if path is None or not path.exists():
            return None
    except OSError:
        return None
    from pollerd.client.unixhttp import BROKEN, UnixConnection

    connection = UnixConnection(path, STATUS_TIMEOUT)
    try:
        connection.request("GET", "/status")
        response = connection.getresponse()
        body = response.read(_LONGEST_STATUS)
        return msgspec.json.decode(body, type=StatusDocument) if response.status == 200 else None
    except (*BROKEN, msgspec.MsgspecError):
        return None
    finally:
        connection.close()
