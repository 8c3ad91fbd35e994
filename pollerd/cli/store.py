"""`pollerd store copy`: everything that is stored, from SQLite to PostgreSQL or back, with the daemon stopped."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pollerd.base.errors import StoreError
from pollerd.base.text import counted, duration, printable
from pollerd.cli.options import config_option, json_option, load_config, store_url
from pollerd.cli.terminal import screen

if TYPE_CHECKING:
    from pollerd.config import StoreConfig


@click.group()
def store() -> None:
    """Move the store."""


@store.command()
@click.option("--to", "target", required=True, metavar="URL|PATH", help="An empty PostgreSQL database, or a new file.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the password of the URL's user.",
)
@json_option
@config_option
def copy(*, target: str, password_file: Path | None, as_json: bool, config_path: Path | None) -> int:
    """Copy everything between SQLite and PostgreSQL, the daemon stopped.

    The messages, events, numbers and places are the same afterwards, and the rows are counted on both sides. A file
    that was copied is renamed, so that no daemon goes on with it by mistake; a database in PostgreSQL is left alone.
    Then put the new place into [store], and start the daemon.
    """
    config = load_config(config_path)
    into_postgresql = "://" in target
    if into_postgresql is (config.store.url is not None):
        instead = "a file (pg_dump copies databases)" if into_postgresql else "a URL (pollerd backup copies files)"
        raise click.BadParameter(f"the store is {config.store.where}; name {instead}", param_hint="--to")
    other = _other(config.store, target, password_file)

    from pollerd.store.engine import engine_of
    from pollerd.store.postgresql.copy import copy_in, copy_out
    from pollerd.store.postgresql.engine import target_of

    kept, member = None, config.store.member or socket.gethostname()
    with engine_of(config.store).own():
        if into_postgresql:
            with engine_of(other).own():
                copied = copy_in(config.store.path, target_of(other), member)
            kept = _set_aside(config.store.path)
        else:
            copied = copy_out(target_of(config.store), other.path, member)
    if as_json:
        document = {"from": config.store.where, "to": other.where, "rows": copied.rows, "last_seq": copied.last_seq}
        screen.write_json({**document, "seconds": round(copied.seconds, 3), "renamed_to": kept and str(kept)})
        return 0
    key = f'url = "{other.where}"' if into_postgresql else f'path = "{other.where}"'
    click.echo(
        f"Copied {counted(copied.rows['messages'], 'message')} and {counted(copied.rows['events'], 'event')} (up to "
        f"{copied.last_seq:,}) in {duration(copied.seconds)}. Now put {printable(key)} into [store], and start the "
        "daemon."
    )
    if kept is not None:
        click.echo(f"The old file is {printable(str(kept))} now; delete it when all is well.")
    return 0


def _other(store: StoreConfig, target: str, password_file: Path | None) -> StoreConfig:
    """The configuration of the place to copy to."""
    from msgspec.structs import replace

    from pollerd.config.secret import FileSecret, Origin, SecretKind
    from pollerd.config.store_url import missing

    if "://" not in target:
        return replace(store, url=None, password=None, path=Path(target).absolute())
    url = store_url(target, "--to", "use --password-file")
    if wrong := missing():
        raise StoreError(f"--to {wrong}")
    secret = None
    if password_file is not None:
        origin = Origin("the command line", "--password-file")
        secret = FileSecret(password_file.absolute(), SecretKind.PASSWORD, origin)
    return replace(store, url=url, password=secret)


def _set_aside(path: Path) -> Path:
    """Rename the file, with what SQLite keeps beside it."""
    kept, number = path.with_name(f"{path.name}.copied"), 1
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.copied{number}")
    for suffix in ("-wal", "-shm", ""):
        beside = Path(f"{path}{suffix}")
        if beside.exists():
            beside.rename(f"{kept}{suffix}")
    return kept
