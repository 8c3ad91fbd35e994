"""A configuration from its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pollerd.config import Config, load

Load = Callable[..., Config]
NOWHERE = Path("/nonexistent/pollerd/config.toml")


def loader(folder: Path) -> Load:
    """Loads a text as the configuration in `folder`."""

    def read(text: str, env: dict[str, str] | None = None, **options: Any) -> Config:
        path = folder / "pollerd.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o640)
        return load(path, env or {}, folder, system=NOWHERE, **options)

    return read
