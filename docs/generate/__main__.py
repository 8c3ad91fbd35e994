"""Writes what is made from the code: `python docs/generate`. With `--check` it names what is not current, and fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import keys_page
import man_page

from pollerd.config.example import starter_toml

_TOP: Final = Path(__file__).resolve().parents[2]


def main() -> int:
    """0 when all is current or written."""
    made = {
        "config.example.toml": starter_toml(),
        "docs/configuration.md": keys_page.page(),
        "docs/man/pollerd.1": man_page.page(),
    }
    current = {name: (_TOP / name).read_text(encoding="utf-8") if (_TOP / name).exists() else "" for name in made}
    stale = [name for name, text in made.items() if text != current[name]]
    if "--check" in sys.argv[1:]:
        sys.stdout.writelines(f"{name} is not current; run: python docs/generate\n" for name in stale)
        return 1 if stale else 0
    for name in stale:
        (_TOP / name).write_text(made[name], encoding="utf-8")
        sys.stdout.write(f"wrote {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
