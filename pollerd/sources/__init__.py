"""Where ids come from by themselves."""

from pollerd.sources.sqlite import SqliteSource

__all__ = ["SqliteSource"]
