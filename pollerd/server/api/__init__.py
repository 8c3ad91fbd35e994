"""HTTP over a Unix socket: hand over, ask, look, follow. For `curl --unix-socket` and for programs."""

from pollerd.server.api.documents import About
from pollerd.server.api.messages import MessageRoom
from pollerd.server.api.server import MODE, ControlRoom, ControlServer
from pollerd.server.listen import HttpServer, PortDoor, SocketDoor
from pollerd.status.warnlog import WarnLog

__all__ = [
    "MODE",
    "About",
    "ControlRoom",
    "ControlServer",
    "HttpServer",
    "MessageRoom",
    "PortDoor",
    "SocketDoor",
    "WarnLog",
]
