"""Plans the way back: what the installation brought goes, what the user owns stays unless --purge is given."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from pollerd.deployment.service.layout import Layout
from pollerd.deployment.service.plan import Action, ServicePlan, ServiceStep, found, remove, run


def uninstall_plan(layout: Layout, *, purge: bool) -> ServicePlan:
    """All that is to be done so that nothing of the service is left. Reads, changes nothing."""
    planner = _Removal(layout)
    if layout.packages_unit.exists() and not layout.unit.exists():
        return ServicePlan(
            (), (ServiceStep("the Debian package has installed it; take it away with: apt remove pollerd"),)
        )
    program = _program(layout)
    if layout.booted and layout.unit.exists():
        planner.command("systemctl", "disable", "--now", "pollerd.service")
    for path in (
        layout.drop_in,
        layout.group_writes,
        layout.unit,
        layout.sysusers,
        layout.tmpfiles,
        layout.logrotate,
        layout.manual,
    ):
        planner.gone(path)
    folder = layout.drop_in.parent
    if folder.is_dir() and {*folder.iterdir()} <= {layout.drop_in, layout.group_writes}:
        planner.gone(folder)
    else:
        planner.yours(folder, {layout.drop_in, layout.group_writes})
    if layout.booted and planner.actions:
        planner.command("systemctl", "daemon-reload")
    if purge:
        planner.owned_goes()
    else:
        planner.owned_stays()
    if program is not None:
        planner.stays.append(ServiceStep(f"the program {program} stays; remove it the way it was installed"))
    return ServicePlan(tuple(planner.actions), tuple(planner.stays))


def _program(layout: Layout) -> str | None:
    """What the unit starts."""
    try:
        text = layout.unit.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
    return None if found is None else found[1]


class _Removal:
    """Collects what has to be done."""

    def __init__(self, layout: Layout) -> None:
        self.actions: list[Action] = []
        self.stays: list[ServiceStep] = []
        self._layout = layout
        self._owned = {layout.state: "database and events", layout.settings: "configuration and token"}

    def gone(self, path: Path, what: str = "") -> None:
        if path.exists() or path.is_symlink():
            self.actions.append(Action(f"remove {self._layout.shown(path)}{what}", partial(remove, path)))

    def yours(self, folder: Path, ours: set[Path]) -> None:
        """What somebody else has put beside our drop-ins."""
        for path in sorted({*folder.iterdir()} - ours) if folder.is_dir() else ():
            self.stays.append(ServiceStep(f"{self._layout.shown(path)} stays (your own change of the unit)"))

    def command(self, *words: str) -> None:
        program = found(words[0])
        if program is None:
            self.stays.append(ServiceStep(f"{words[0]} is not installed here; run it yourself: {' '.join(words)}"))
        else:
            self.actions.append(Action(f"run {' '.join(words)}", partial(run, [program, *words[1:]])))

    def owned_goes(self) -> None:
        for path, what in {**self._owned, self._layout.runtime: "sockets"}.items():
            self.gone(path, f" with all in it ({what})")
        if self._layout.has_user():
            root = [] if self._layout.live else ["--prefix", str(self._layout.root)]
            self.command("userdel", *root, "pollerd")

    def owned_stays(self) -> None:
        for path, what in self._owned.items():
            if path.exists():
                self.stays.append(ServiceStep(f"{self._layout.shown(path)} stays ({what}); --purge removes it"))
        if self._layout.has_user():
            self.stays.append(ServiceStep("the user pollerd stays, it owns those files; --purge removes it"))
