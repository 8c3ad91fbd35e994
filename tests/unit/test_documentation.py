"""The documentation names what the code has, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_every_log_event_is_documented_and_every_documented_one_exists() -> None:
    code = "\n".join(path.read_text() for path in (TOP / "pollerd").rglob("*.py"))
    used = (
        set(re.findall(r'"event": "([a-z_]+)"', code)) | set(re.findall(r'"(credit_[a-z]+)" if', code)) | {"credit_ok"}
    )
    rows = [line for line in (TOP / "docs/logs.md").read_text().split("\n") if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    assert used == documented


def test_no_link_of_the_documentation_is_dead() -> None:
    for page in (TOP / "README.md", *(TOP / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
