"""Where events are told: each output reads the committed events at its own pace and keeps its own place."""

from pollerd.outputs.file import FileOutput
from pollerd.outputs.socket import SocketOutput

__all__ = ["FileOutput", "SocketOutput"]
