"""`pollerd backup`: a copy of the database, while the daemon runs or without it."""

from __future__ import annotations

from pathlib import Path

import click

from pollerd.base.text import counted, duration, printable, size
from pollerd.cli.options import config_option, json_option, load_config
from pollerd.cli.terminal import screen


@click.command()
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@json_option
@config_option
def backup(*, path: Path, as_json: bool, config_path: Path | None) -> int:
    """Copy the database to PATH, as it is at this moment, while the daemon goes on.

    Nothing is replaced: PATH must not be there yet. The copy is checked, is on disk, and has the rights of the
    database; it holds telephone numbers, and texts of incoming messages. To use it, stop the daemon, remove the
    database with its -wal and -shm, and put the copy in its place.
    """
    from pollerd.store.engine import engine_of

    config = load_config(config_path)
    made = engine_of(config.store).back_up(path)
    if as_json:
        screen.write_json(
            {
                "path": str(made.path.absolute()),
                "database": config.store.where,
                "bytes": made.bytes,
                "seconds": round(made.seconds, 3),
                "schema": made.schema,
                "messages": {"pending": made.pending, "finished": made.finished, "gave_up": made.gave_up},
                "last_seq": made.last_seq,
            }
        )
        return 0
    click.echo(
        f"Wrote {printable(str(path))}: {size(made.bytes)} in {duration(made.seconds)}, checked and whole. It has "
        f"{counted(made.pending, 'pending message')}, {made.finished + made.gave_up:,} that ended, "
        f"and events up to {made.last_seq:,}."
    )
    return 0
