"""Other releases of pollerd, made from this one: a copy of the package with more steps of the schema."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pollerd
from pollerd.store.migrations import steps_in

_PACKAGE: Final = Path(pollerd.__file__).parent
_MIGRATIONS: Final = Path("store/postgresql/migrations")
NEWEST: Final = steps_in(_PACKAGE / _MIGRATIONS)[-1].version
"""The schema that this release knows."""
NEXT: Final = """
ALTER TABLE messages ADD COLUMN remark text DEFAULT 'none';
ALTER TABLE members ADD COLUMN remark text;
CREATE TABLE newer_groups (token uuid);
CREATE FUNCTION commit_group_2(
    mine uuid, number bigint, instant double precision, touched json, settled json, happened json, rest json
) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO newer_groups VALUES (mine);
    RETURN commit_group(mine, number, instant, touched, settled, happened, rest);
END $$;
"""
"""The next release adds columns, and has a function of its own for what its calls mean; the old one stays."""
AFTER_NEXT: Final = f"""-- breaking before {NEWEST + 1}
ALTER TABLE messages DROP COLUMN remark;
"""
"""The one after that takes away what the next one does not need any more, and older ones still may."""


def release(folder: Path, number: str, steps: Sequence[str]) -> Path:
    """Make a release with further `steps` in `folder`, which is what goes first on Python's path."""
    shutil.copytree(_PACKAGE, folder / "pollerd")
    metadata = folder / f"pollerd-{number}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: pollerd\nVersion: {number}\n")
    for place, step in enumerate(steps, NEWEST + 1):
        (folder / "pollerd" / _MIGRATIONS / f"{place:04}_later.sql").write_text(step)
    writer = folder / "pollerd/store/postgresql/writer.py"
    text = writer.read_text()
    assert "SELECT commit_group(" in text
    writer.write_text(text.replace("SELECT commit_group(", "SELECT commit_group_2("))
    return folder
