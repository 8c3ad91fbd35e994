"""The order of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

_LONGEST_FIRST = ("acceptance", "integration", "unit")
_ROOT = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first: what is left at the end is short, and no worker waits long for another."""
    items.sort(key=lambda item: _LONGEST_FIRST.index(item.path.relative_to(_ROOT).parts[0]))
