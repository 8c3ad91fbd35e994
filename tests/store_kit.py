"""The store in a file, opened as commands open it."""

from __future__ import annotations

import os
from pathlib import Path

from pollerd.core.ports import Handover, View
from pollerd.store.engine import engine_at


def view_of(path: str | os.PathLike[str]) -> View:
    """For reading."""
    return engine_at(Path(path)).view()


def handover_of(path: str | os.PathLike[str]) -> Handover:
    """For handing over."""
    return engine_at(Path(path)).handover()
