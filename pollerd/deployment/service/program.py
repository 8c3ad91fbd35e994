"""Which program the unit starts, and whether the sandbox of the unit lets it be seen."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from pollerd.base.errors import PollerdError

_HIDDEN: Final = tuple(Path(path) for path in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108
"""What ProtectHome= and PrivateTmp= hide from the service."""


def running() -> Path:
    """The command that runs now, as an absolute path that a unit can name. Raises PollerdError when there is none."""
    beside = Path(sys.executable).parent / "pollerd"
    for candidate in (Path(sys.argv[0]).absolute(), beside):
        if candidate.name == "pollerd" and candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise PollerdError(
        "the command pollerd is not installed as a program. Install it (python3 -m venv /opt/pollerd && "
        "/opt/pollerd/bin/pip install .), or name the program with --program."
    )


def refuse_hidden(program: Path) -> None:
    """Raise PollerdError when the service could not see the program or the Python below it."""
    parts = [program, Path(os.path.realpath(program))]
    if program == running():
        parts += [Path(part) for part in (sys.prefix, sys.base_prefix, os.path.realpath(sys.executable))]
        parts.append(Path(__file__))
    for part in parts:
        if any(part.is_relative_to(folder) for folder in _HIDDEN):
            raise PollerdError(
                f"the service could not start: it has no access to {part}. It runs as the user pollerd, and home and "
                "temporary folders are closed to it. Name a program elsewhere with --program PATH, or install pollerd "
                "under /opt (python3 -m venv /opt/pollerd && /opt/pollerd/bin/pip install .) and run from "
                "there: /opt/pollerd/bin/pollerd service install"
            )
