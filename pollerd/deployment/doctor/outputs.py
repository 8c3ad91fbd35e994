"""Every output: could it be written right now? Checked without a byte written."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pollerd.base.access import Person
from pollerd.base.bounded import in_thread
from pollerd.base.errors import PollerdError
from pollerd.config import Config, WebhookOutputConfig
from pollerd.config.addresses import is_private
from pollerd.deployment.doctor import databases
from pollerd.deployment.doctor.check import Check, Level, failure, ok, warning
from pollerd.deployment.doctor.rights import existing, may_write, runs_as
from pollerd.deployment.doctor.unit import Unit
from pollerd.outputs.filepath import PathError, doubts, resolve, user
from pollerd.store.engine import engine_of

CONNECT: Final = 3.0
"""Seconds for a receiver to take a connection."""


def checks(config: Config, unit: Unit | None) -> Iterator[Check]:
    """All outputs and sources but the webhook."""
    running, who = _running(config), runs_as(config.store.path, unit)
    made = unit.made if unit is not None else ()
    outputs = config.outputs
    if outputs.file is not None:
        yield from event_file(outputs.file.path, config.store.path.parent, who)
    if outputs.socket is not None:
        yield socket_file("output socket", outputs.socket.path, made, who, running=running)
    if config.control.socket is not None:
        yield socket_file("control socket", config.control.socket, made, who, running=running)
    if outputs.exec is not None:
        yield _program(outputs.exec.command[0])
    yield from databases.checks(config)


def _running(config: Config) -> bool:
    try:
        return engine_of(config.store).owner() is not None
    except PollerdError:
        return False


def event_file(path: Path, database: Path, who: Person) -> Iterator[Check]:
    """The event file, opened for appending and closed again. The service's user owns the folder of the `database`.
    `who` runs the daemon.
    """
    name, me = "output file", who.name
    other = "give this user the right to it, or name another file in [outputs.file] path"
    trusted = {database.stat().st_uid} if database.exists() else set()
    try:
        path = resolve(path, trusted)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except PathError as error:
        yield failure(name, error.evidence, error.advice)
        return
    except FileNotFoundError:
        yield _absent(name, path, other, who)
        yield from _folder(name, path.parent)
        return
    except IsADirectoryError:
        yield failure(name, f"{path} is a folder", "name a file in [outputs.file] path, or move the folder away")
        return
    except OSError as error:
        if isinstance(error, PermissionError) and may_write(path, who):
            yield ok(name, f"{path}: {me} may write, who runs the daemon")
        else:
            yield failure(name, f"{path} cannot be written by {me}: {error.strerror}", other)
        return
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        yield failure(name, f"{path} is not a regular file", "name another file in [outputs.file] path")
        return
    bad = [warning(name, evidence, advice) for evidence, advice in doubts(path, found, trusted)]
    bad += [*_strange(name, path, found), *_folder(name, path.parent)]
    if not may_write(path, who) and not any(each.level is Level.FAILURE for each in bad):
        evidence = f"{path} (owner {user(found.st_uid)}) may not be written by {me}, who runs the daemon"
        bad.append(failure(name, evidence, f"run: chown {me}: {path}"))
    yield from bad or [ok(name, f"{path}: {found.st_size:,} bytes, {me} may write")]


def _strange(name: str, path: Path, found: os.stat_result) -> Iterator[Check]:
    owner = path.parent.stat().st_uid
    if os.geteuid() == 0 and owner not in (0, found.st_uid):
        evidence = f"{path} belongs to {user(found.st_uid)}, its folder to {user(owner)}, who may not write it"
        yield failure(name, evidence, f"run: chown {user(owner)}: {path}")
    elif stat.S_IMODE(found.st_mode) & stat.S_IROTH:
        evidence = f"every user of this machine can read {path}, phone numbers included"
        yield warning(name, evidence, f"run: chmod o= {path}, and see to the mode after create in logrotate's file")


def _folder(name: str, folder: Path) -> Iterator[Check]:
    if folder.is_dir() and folder.stat().st_mode & stat.S_IWOTH:
        evidence = f"every user of this machine may put files into {folder}, one in place of the event file too"
        yield warning(name, evidence, "name a file in a folder of the service alone in [outputs.file] path")


def _absent(name: str, path: Path, other: str, who: Person) -> Check:
    there, me = existing(path.parent), who.name
    if path.is_symlink():
        return failure(name, f"{path} is a link that leads nowhere", other)
    if not may_write(there, who):
        return failure(name, f"{path} does not exist, and {me} may not write to {there}", other)
    return ok(name, f"{path} does not exist yet; {me} may make it")


def socket_file(name: str, path: Path, made: tuple[Path, ...], who: Person, *, running: bool) -> Check:
    """A Unix socket's path; `made` are folders that systemd makes at the start."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        if running:
            return warning(name, f"a daemon runs but {path} is not there", "restart the daemon; its log says why")
        if not path.parent.exists() and any(path.is_relative_to(folder) for folder in made):
            return ok(name, f"{path.parent} is made by systemd when the service starts")
        return _absent(name, path, "name another path for the socket, or make its folder writable", who)
    except OSError as error:
        return failure(name, f"{path}: {error.strerror}", "run the doctor as the user of the service, or as root")
    if not stat.S_ISSOCK(found.st_mode):
        return failure(name, f"{path} is there and is not a socket", "move it away, or name another path")
    return _answering(name, path, stat.S_IMODE(found.st_mode), running=running)


def _answering(name: str, path: Path, mode: int, *, running: bool) -> Check:
    live = _connects(path)
    if live is None:
        return warning(
            name, f"{user(os.geteuid())} may not connect to {path}", "join its group: usermod -aG pollerd NAME"
        )
    if running and not live:
        return failure(name, f"nothing listens at {path} though a daemon runs", "run: systemctl reload pollerd")
    if live and not running:
        return failure(name, f"another process listens at {path}", "stop it (see: ss -xlp), or name another path")
    if not live:
        return ok(name, f"{path} was left behind by the last run; it is replaced at the start")
    return ok(name, f"{path} takes connections (mode {mode:04o})")


def _connects(path: Path) -> bool | None:
    """Whether somebody listens; None when this user may not know."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM):
                return None
            return isinstance(error, TimeoutError) or error.errno == errno.EAGAIN
    return True


def _program(program: str) -> Check:
    found = shutil.which(program)
    if found is None:
        return failure("output exec", f"{program} is not a program that can be run", "correct [outputs.exec] command")
    return ok("output exec", f"{found} can be run")


async def webhook_checks(webhook: WebhookOutputConfig) -> list[Check]:
    """Whether each receiver takes a connection, at an address it may have."""
    urls = dict.fromkeys([webhook.url, *(route.url for route in webhook.routes)])
    return [await _receiver(url, allow_remote=webhook.allow_remote) for url in urls]


async def _receiver(url: str, *, allow_remote: bool) -> Check:
    name, parts = "output webhook", urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
    try:
        found = await in_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), CONNECT)
    except OSError as error:
        return failure(name, f"the host of {shown} cannot be resolved: {error}", "correct [outputs.webhook] url")
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [address for address in addresses if allow_remote or is_private(address)]
    if not allowed:
        evidence = f"{shown} leads to {', '.join(addresses)}, outside of loopback and private networks"
        return failure(name, evidence, "name a local receiver, or set [outputs.webhook] allow_remote = true")
    reasons = []
    for address in allowed:
        try:
            async with asyncio.timeout(CONNECT):
                _, writer = await asyncio.open_connection(address, port)
        except OSError as error:
            reasons.append(f"{address}: {error.strerror or 'no answer'}")
            continue
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return ok(name, f"{shown} takes connections at {address}")
    return failure(
        name, f"{shown} cannot be reached ({'; '.join(reasons)})", "start the receiver; events wait meanwhile"
    )
