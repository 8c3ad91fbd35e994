"""HTTP over a Unix socket: hand over, ask, look, follow. For `curl --unix-socket` and for programs."""

from pollerd.control.documents import About
from pollerd.control.doors import HttpServer, PortDoor, SocketDoor
from pollerd.control.messages import MessageRoom
from pollerd.control.server import MODE, ControlRoom, ControlServer
from pollerd.control.warnlog import WarnLog

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
