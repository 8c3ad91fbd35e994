"""The status page: the look at the daemon for people with a browser. Read-only, and nothing comes from elsewhere."""

from pollerd.server.pages.server import WebRoom, application, paint

__all__ = ["WebRoom", "application", "paint"]
