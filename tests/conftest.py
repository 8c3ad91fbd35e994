"""The order of the tests, and what they all start from."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.servers.fixtures", "tests.store_database"]

# On a busy machine a quick example takes long as well.
settings.register_profile("unhurried", settings.default, deadline=None)
settings.load_profile("unhurried")

_LONGEST_FIRST = ("packaging", "acceptance", "integration", "unit")
_ROOT = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first: what is left at the end is short, and no worker waits long for another."""
    items.sort(key=lambda item: _LONGEST_FIRST.index(item.path.relative_to(_ROOT).parts[0]))


def pytest_sessionstart() -> None:
    """Ctrl-C as in a terminal: the background job of a shell is born deaf to it, and so are its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
