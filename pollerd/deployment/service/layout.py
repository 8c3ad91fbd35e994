"""Where everything of the service lies, below the root of a file system."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from pollerd.config.store_url import PASSWORD_CREDENTIAL
from pollerd.deployment.service.plan import found

NOTIFY_RELOAD: Final = 254
"""The first systemd that understands the drop-in."""
BOOTED: Final = Path("/run/systemd/system")


def packaged(name: str) -> str:
    """The text of a file that comes with the package."""
    return resources.files("pollerd.deployment.service").joinpath("files", name).read_text(encoding="utf-8")


def manual_page() -> str | None:
    """The manual page that came with this pollerd: in its source, or beside the program."""
    beside = Path(sys.prefix, "share/man/man1/pollerd.1")
    source = Path(__file__).parents[3] / "docs/man/pollerd.1"
    found = next((path for path in (source, beside) if path.is_file()), None)
    return None if found is None else found.read_text(encoding="utf-8")


class Layout(msgspec.Struct, frozen=True):
    """Paths below `root`; "/" is the running system."""

    root: Path = Path("/")

    @property
    def live(self) -> bool:
        """Whether this is the running system."""
        return self.root == Path("/")

    @property
    def booted(self) -> bool:
        """Whether systemd runs this very system (sd_booted(3))."""
        return self.live and BOOTED.is_dir()

    def at(self, path: str) -> Path:
        """Where an absolute path of the target lies for us."""
        return self.root / path.lstrip("/")

    @property
    def unit(self) -> Path:
        return self.at("/etc/systemd/system/pollerd.service")

    @property
    def packages_unit(self) -> Path:
        """The unit of the Debian package."""
        return self.at("/usr/lib/systemd/system/pollerd.service")

    @property
    def manual(self) -> Path:
        """The manual page, where `man` searches for what lies in /usr/local/bin."""
        return self.at("/usr/local/share/man/man1/pollerd.1")

    @property
    def drop_in(self) -> Path:
        return self.at("/etc/systemd/system/pollerd.service.d/systemd-254.conf")

    @property
    def group_writes(self) -> Path:
        return self.at("/etc/systemd/system/pollerd.service.d/group-writes.conf")

    @property
    def sysusers(self) -> Path:
        return self.at("/etc/sysusers.d/pollerd.conf")

    @property
    def tmpfiles(self) -> Path:
        return self.at("/etc/tmpfiles.d/pollerd.conf")

    @property
    def logrotate(self) -> Path:
        return self.at("/etc/logrotate.d/pollerd")

    @property
    def settings(self) -> Path:
        """The folder of configuration and token."""
        return self.at("/etc/pollerd")

    @property
    def configuration(self) -> Path:
        return self.settings / "config.toml"

    @property
    def token(self) -> Path:
        return self.settings / "token"

    @property
    def database_password(self) -> Path:
        return self.settings / PASSWORD_CREDENTIAL

    @property
    def state(self) -> Path:
        return self.at("/var/lib/pollerd")

    @property
    def runtime(self) -> Path:
        return self.at("/run/pollerd")

    def shown(self, path: Path) -> str:
        """A path as the target system names it."""
        return str(path) if self.live else "/" + str(path.relative_to(self.root))

    def has_user(self) -> bool:
        """Whether the user exists there."""
        try:
            lines = self.at("/etc/passwd").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return False
        return any(line.startswith("pollerd:") for line in lines)


def systemd_version() -> int:
    """The version of the systemd that is installed here; 0 when there is none."""
    program = found("systemctl")
    if program is None:
        return 0
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program with a fixed argument
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.match(r"systemd (\d+)", done.stdout)
    return int(match[1]) if match else 0
