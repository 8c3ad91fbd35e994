"""Plans the installation: only what is missing or different, so that it can be run again at any time."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from pollerd.config.store_url import missing
from pollerd.deployment.service.layout import NOTIFY_RELOAD, Layout, manual_page, packaged, systemd_version
from pollerd.deployment.service.plan import Action, ServicePlan, ServiceStep, folder, found, run, says_yes, write
from pollerd.deployment.service.starter import first_configuration

_TOKENLESS: Final = "it has no token"
_GROUP_WRITES: Final = re.compile(r"^group_writes *= *true", re.MULTILINE)
_STATE: Final = re.compile(r"^(d /var/lib/pollerd +)0750", re.MULTILINE)
_EXEC: Final = re.compile(r"^ExecStart=.*$", re.MULTILINE)
_PROGRAM: Final = re.compile(r"^ExecStart=(\S+) run -c /etc/pollerd/config.toml$", re.MULTILINE)
_SHOWN: Final = 12
"""Lines of a difference that are shown."""


def install_plan(
    layout: Layout, program: Path, lacks: str | None, *, group_writes: bool = False, url: str | None = None
) -> ServicePlan:
    """All that is to be done so that `program` runs as a service. Reads, changes nothing.

    `lacks`: what the configuration that is there needs before the service can start; None: nothing. `group_writes`: as
    in `[store]`; once chosen it stays. `url`: the store in PostgreSQL.
    """
    # What another root's configuration names cannot be read from here.
    if not layout.live or not layout.configuration.exists():
        lacks = None if _filled(layout.token) else _TOKENLESS
    planner = _Installation(layout)
    if layout.packages_unit.exists():
        shown = layout.shown(layout.packages_unit)
        return ServicePlan((), (ServiceStep(f"the Debian package has installed {shown}, and keeps it up to date"),))
    program = _same(layout, program)
    unit = _EXEC.sub(lambda _: f"ExecStart={program} run -c /etc/pollerd/config.toml", packaged("pollerd.service"))
    changed = planner.file(layout.unit, unit, "the unit")
    if layout.live and systemd_version() >= NOTIFY_RELOAD:
        changed |= planner.file(layout.drop_in, packaged("pollerd-systemd-254.conf"), "for systemd 254 and newer")
    shared = group_writes or layout.group_writes.exists()
    folders = packaged("pollerd.tmpfiles.conf")
    if shared:
        changed |= planner.file(layout.group_writes, packaged("pollerd-group-writes.conf"), "the group may write")
        folders = _STATE.sub(r"\g<1>2770", folders)
    planner.file(layout.sysusers, packaged("pollerd.sysusers.conf"), "the user and group pollerd")
    planner.file(layout.tmpfiles, folders, "the folders and their rights")
    if (manual := manual_page()) is not None:
        planner.file(layout.manual, manual, "the manual page")
    planner.file(layout.logrotate, packaged("pollerd.logrotate"), "rotation of the event file", keep=True)
    first = first_configuration(group_writes=shared, store=url)
    planner.new(layout.configuration, first, 0o640, "a first configuration")
    if url is not None:
        planner.new(
            layout.database_password, "", 0o600, "an empty file for the database's password, for root's eyes only"
        )
    if lacks is not None:
        planner.new(layout.token, "", 0o600, "an empty file for the token, for root's eyes only")
    if planner.actions or not layout.has_user() or not layout.state.is_dir():
        planner.tools()
    if layout.booted:
        planner.service(changed=changed, lacks=lacks)
    return ServicePlan(
        tuple(planner.actions), tuple(planner.stays), tuple(_next_steps(layout, program, lacks, shared=shared, url=url))
    )


def _same(layout: Layout, program: Path) -> Path:
    """The path by which the unit that is there names this very program, else `program`."""
    named = _PROGRAM.search(_text(layout.unit) or "")
    if named is not None and layout.live and os.path.realpath(named[1]) == os.path.realpath(program):
        return Path(named[1])
    return program


def _differences(before: str, after: str) -> tuple[str, ...]:
    """The lines that go (-) and come (+), the first of them."""
    lines = [
        line
        for line in difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]
    more = (f"... and {len(lines) - _SHOWN} more",) if len(lines) > _SHOWN else ()
    return (*lines[:_SHOWN], *more)


class _Installation:
    """Collects what has to be done."""

    def __init__(self, layout: Layout) -> None:
        self.actions: list[Action] = []
        self.stays: list[ServiceStep] = []
        self._layout = layout

    def file(self, path: Path, text: str, what: str, *, keep: bool = False) -> bool:
        """A file of ours; whether it changes. `keep`: one that is there and differs is somebody's own work."""
        there = _text(path)
        shown = self._layout.shown(path)
        if there == text:
            self.stays.append(ServiceStep(f"{shown} is up to date"))
            return False
        if there is not None and keep:
            self.stays.append(ServiceStep(f"{shown} is left as it is: it was changed"))
            return False
        verb = "write" if there is None else "replace"
        lines = () if there is None else _differences(there, text)
        self._add(f"{verb} {shown} ({what})", partial(write, path, text, 0o644), lines)
        return True

    def new(self, path: Path, text: str, mode: int, what: str) -> None:
        """A file that belongs to the user once it is there."""
        shown = self._layout.shown(path)
        if path.exists():
            self.stays.append(ServiceStep(f"{shown} is left as it is"))
        else:
            self._add(f"write {shown} ({what}, mode {mode:04o})", partial(_fresh, path, text, mode))

    def tools(self) -> None:
        """The user, then the folders, which belong to the user."""
        root = [] if self._layout.live else [f"--root={self._layout.root}"]
        self._tool(["systemd-sysusers", *root, "pollerd.conf"], "make the user and the group pollerd")
        self._tool(["systemd-tmpfiles", *root, "--create", "pollerd.conf"], "make the folders, set owners and modes")

    def service(self, *, changed: bool, lacks: str | None) -> None:
        if changed:
            self._command(["systemctl", "daemon-reload"])
        if lacks is not None:
            if not says_yes(["systemctl", "is-enabled", "pollerd.service"]):
                self._command(["systemctl", "enable", "pollerd.service"])
            self.stays.append(ServiceStep(f"the service is not started yet: {lacks}"))
            return
        running = says_yes(["systemctl", "is-active", "pollerd.service"])
        if running and says_yes(["systemctl", "is-enabled", "pollerd.service"]):
            self.stays.append(ServiceStep("the service is enabled and runs"))
        else:
            self._command(["systemctl", "enable", "--now", "pollerd.service"])
        if running and changed:
            self._command(["systemctl", "restart", "pollerd.service"])

    def _tool(self, words: list[str], what: str) -> None:
        if found(words[0]) is None:
            self.stays.append(ServiceStep(f"{words[0]} is not installed here; run it on the target: {' '.join(words)}"))
        else:
            self._command(words, f" ({what})")

    def _command(self, words: list[str], what: str = "") -> None:
        program = found(words[0]) or words[0]
        self._add(f"run {' '.join(words)}{what}", partial(run, [program, *words[1:]]))

    def _add(self, what: str, act: Callable[[], None], lines: tuple[str, ...] = ()) -> None:
        self.actions.append(Action(what, act, lines))


def _fresh(path: Path, text: str, mode: int) -> None:
    folder(path.parent, 0o750)
    write(path, text, mode)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _filled(token: Path) -> bool:
    return bool((_text(token) or "").strip())


def _next_steps(layout: Layout, program: Path, lacks: str | None, *, shared: bool, url: str | None) -> Iterator[str]:
    # Files are named as whoever types finds them here; commands run on the system that is installed.
    def there(text: str) -> str:
        return text if layout.live else f"On the target, {text[0].lower()}{text[1:]}"

    if lacks is not None:
        token = lacks == _TOKENLESS or str(layout.token) in lacks
        yield f"Put the token into {layout.token} (one line, and nothing else)." if token else f"Put right: {lacks}"
    if url is not None:
        if not _filled(layout.database_password):
            yield f"Put the password of the database's user into {layout.database_password}, unless it needs none."
        if layout.configuration.exists() and f"url = {json.dumps(url)}\n" not in (_text(layout.configuration) or ""):
            yield f'Name the store: url = "{url}" in place of path under [store] in {layout.configuration}.'
        if wrong := missing():
            yield f"Add the driver: PostgreSQL {wrong}."
    yield f"Check {layout.configuration}: base_url, and behind a proxy proxy and ca_file."
    if shared and layout.configuration.exists() and not _GROUP_WRITES.search(_text(layout.configuration) or ""):
        yield f"Let the group write: group_writes = true under [store] in {layout.configuration}, then restart."
    yield there(f"Let it try everything the deployment needs: sudo {program} doctor")
    if lacks is not None or not layout.booted:
        yield there(f"Start it: sudo systemctl {'start' if layout.booted else 'enable --now'} pollerd")
    if lacks is None:
        yield there("Let others read events: sudo usermod -aG pollerd NAME")
