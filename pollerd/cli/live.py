"""The running daemon's own account of itself, over its control socket."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path
from typing import Final

import msgspec

from pollerd.status.document import StatusDocument

PATIENCE: Final = 5.0
_MOST: Final = 16 << 20


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


def fetch(path: Path | None) -> StatusDocument | None:
    """`GET /status`; None when nobody answers there, or answers what this version does not understand."""
    if path is None:
        return None
    connection = _UnixConnection(path)
    try:
        connection.request("GET", "/status")
        response = connection.getresponse()
        body = response.read(_MOST)
        return msgspec.json.decode(body, type=StatusDocument) if response.status == 200 else None
    except (OSError, http.client.HTTPException, msgspec.MsgspecError):
        return None
    finally:
        connection.close()
