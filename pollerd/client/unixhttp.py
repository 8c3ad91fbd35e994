"""HTTP over a Unix socket, with what the standard library has."""

from __future__ import annotations

import http.client
import os
import socket
import time
from pathlib import Path
from typing import Final

BROKEN: Final = (OSError, http.client.HTTPException)
"""What a connection that cannot be used raises."""
_RETRY: Final = 0.05
"""Seconds between two tries where too many others wait to be taken."""


class UnixConnection(http.client.HTTPConnection):
    """A connection to the server at the socket `path`; each operation takes `timeout` seconds at most."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._timeout = timeout

    def connect(self) -> None:
        """Connect. Raises OSError."""
        until = time.monotonic() + self._timeout
        while True:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self.sock.settimeout(self._timeout)
                self.sock.connect(os.fspath(self._path))
            except BlockingIOError:
                # A Unix socket does not wait until the server has taken others.
                self.sock.close()
                if time.monotonic() > until:
                    raise
                time.sleep(_RETRY)
            else:
                return
