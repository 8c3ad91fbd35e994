"""The Debian package on a fresh system with systemd and without a network: installed, used, upgraded, removed, purged.

    sudo python packaging/trial.py 13 [--package FILE] [--keep FOLDER]

As root, with `debootstrap` and `systemd-nspawn`. Prints each step with its seconds and what the user sees; ends with 1
at the first promise that is broken. `--keep`: use the fresh system in this folder; make it there when it is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

import deb

SUITES: Final = {"12": "bookworm", "13": "trixie"}
PORT: Final = 8123
PATIENCE: Final = 60.0
"""Seconds until a thing that is waited for counts as not coming."""
EVENTS: Final = Path("var/lib/pollerd/events.ndjson")


def fresh(release: str, root: Path) -> None:
    """A small Debian with systemd and what the package depends on."""
    needed = (
        f"systemd,systemd-sysv,dbus,ca-certificates,logrotate,init-system-helpers,iproute2,python{deb.PYTHONS[release]}"
    )
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={needed}", SUITES[release], root],
        check=True,
        stdout=subprocess.DEVNULL,
    )


class System:
    """A system that has been booted."""

    def __init__(self, root: Path, init: int) -> None:
        self.root = root
        self._enter = ["nsenter", "-t", str(init), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command in it."""
        return subprocess.Popen([*self._enter, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, to its end."""
        return subprocess.run(
            [*self._enter, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    def step(self, *words: str, expect: int = 0, quiet: bool = False) -> str:
        """Run a command as its user would, and print what is seen and how long it takes."""
        began = time.monotonic()
        done = self.ask(*words)
        print(f"\n[{time.monotonic() - began:6.2f} s] # {' '.join(words)}")
        said = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if "database ..." not in line)
        if not quiet or done.returncode != expect:
            print(said.rstrip())
        hold(done.returncode == expect, f"it ends with {expect}, not with {done.returncode}")
        return said

    def active(self) -> bool:
        return self.ask("systemctl", "is-active", "pollerd").stdout.strip() == "active"

    def process(self) -> str:
        return self.ask("systemctl", "show", "-P", "MainPID", "pollerd").stdout.strip()


def hold(promise: bool, words: str) -> None:
    """End when a promise is broken."""
    if not promise:
        sys.exit(f"BROKEN: {words}")


def wait(thing: Callable[[], bool], words: str) -> float:
    """Seconds until it is there."""
    began = time.monotonic()
    while not thing():
        hold(time.monotonic() - began < PATIENCE, words)
        time.sleep(0.05)
    return time.monotonic() - began


@contextmanager
def booted(root: Path) -> Iterator[System]:
    """Boot it in a container that has no network but its own loopback."""
    words = ["systemd-nspawn", "-q", "-D", str(root), "--boot", "--register=no", "--keep-unit", "--private-network"]
    nothing = subprocess.DEVNULL
    container = subprocess.Popen([*words, "--console=pipe"], stdin=nothing, stdout=nothing, stderr=nothing)
    init = 0
    try:
        children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
        wait(lambda: children.read_text().strip() != "", "the container starts")
        init = int(children.read_text().split()[0])
        system = System(root, init)
        ready = ("running", "degraded")
        wait(lambda: system.ask("systemctl", "is-system-running").stdout.strip() in ready, "systemd comes up")
        yield system
    finally:
        # Its systemd outlives the container's own process.
        if init:
            os.kill(init, signal.SIGKILL)
        container.kill()
        container.wait()


def newer(package: Path, folder: Path) -> Path:
    """The same package with a higher version."""
    tree, made = folder / "newer", folder / "newer.deb"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("~deb", "+1~deb", 1))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, made], check=True, stdout=subprocess.DEVNULL)
    return made


def trial(system: System, package: Path, upgrade: Path) -> None:
    """All of it, as a user does it."""
    for file in (package, upgrade):
        shutil.copy(file, system.root / "root" / file.name)
    root = system.root
    began = time.monotonic()
    said = system.step("apt-get", "install", "-y", "-qq", f"/root/{package.name}")
    hold("is not started yet" in said, "it says that the token is missing")
    hold(not system.active(), "it is not started before it is configured")
    hold((root / "etc/pollerd/token").stat().st_mode & 0o777 == 0o600, "the token's file is for root alone")
    gateway = system.start("pollerd", "simulate", "--port", str(PORT), "--any-id", "--speed", "20")
    try:
        configuration = root / "etc/pollerd/config.toml"
        text = configuration.read_text()
        configuration.write_text(text.replace("#base_url =", f'base_url = "http://127.0.0.1:{PORT}" #', 1))
        (root / "etc/pollerd/token").write_text("simulator-demo\n")
        wait(lambda: system.ask("pollerd", "doctor").returncode == 0, "doctor is content")
        system.step("pollerd", "doctor")
        hold(system.ask("systemctl", "is-enabled", "pollerd").returncode != 0, "it is not enabled without a token")
        system.step("systemctl", "enable", "--now", "pollerd")
        system.step("pollerd", "track", "421332671")
        wait(lambda: (root / EVENTS).exists() and (root / EVENTS).stat().st_size > 0, "the first event")
        print(f"\nfrom apt install to the first event: {time.monotonic() - began:.1f} s")
        print((root / EVENTS).read_text().splitlines()[0])
        system.step("pollerd", "wait", "421332671", "--accepted", "--timeout", "0", quiet=True, expect=_ended(root))
        _upgrade(system, upgrade)
        _abort(system)
        _again(system, upgrade)
        _shadowed(system, upgrade)
        _remove(system)
    finally:
        gateway.kill()
        gateway.wait()


def _ended(root: Path) -> int:
    """What `wait` ends with, by the events."""
    wait(lambda: '"message.completed"' in (root / EVENTS).read_text(), "the message ends")
    last = json.loads((root / EVENTS).read_text().splitlines()[-1])
    return 0 if set(last["counts"]) <= {"DELIVERED", "ACCEPTED", "READ"} else 3


def _upgrade(system: System, upgrade: Path) -> None:
    before, events = system.process(), (system.root / EVENTS).read_bytes()
    system.step("apt-get", "install", "-y", "-qq", f"/root/{upgrade.name}")
    hold(system.active() and system.process() != before, "an upgrade restarts the service")
    hold((system.root / EVENTS).read_bytes() == events, "an upgrade keeps the events, and tells none twice")
    hold('"http://127.0.0.1' in (system.root / "etc/pollerd/config.toml").read_text(), "it keeps the configuration")


def _abort(system: System) -> None:
    """What dpkg runs when it gives up a removal half-way."""
    scripts = "/var/lib/dpkg/info/pollerd."
    system.step(f"{scripts}prerm", "remove")
    hold(not system.active(), "prerm stops the service")
    system.step(f"{scripts}postinst", "abort-remove")
    hold(system.active(), "a removal that is given up starts the service again")


def _again(system: System, package: Path) -> None:
    system.step("apt-get", "remove", "-y", "-qq", "pollerd")
    system.step("apt-get", "install", "-y", "-qq", f"/root/{package.name}")
    hold(system.active(), "installed again after a removal, an enabled service starts")
    system.step("systemctl", "disable", "--now", "pollerd", quiet=True)
    system.step("apt-get", "remove", "-y", "-qq", "pollerd", quiet=True)
    said = system.step("apt-get", "install", "-y", "-qq", f"/root/{package.name}")
    hold(not system.active() and "enable --now pollerd" in said, "one that is disabled stays so, and it is said")
    system.step("systemctl", "enable", "--now", "pollerd", quiet=True)


def _shadowed(system: System, package: Path) -> None:
    own = system.root / "etc/systemd/system/pollerd.service"
    text = (system.root / "usr/lib/systemd/system/pollerd.service").read_text()
    own.write_text(text.replace("/usr/bin/pollerd", "/opt/pollerd/bin/pollerd"))
    said = system.step("apt-get", "install", "--reinstall", "-y", "-qq", f"/root/{package.name}")
    hold("/opt/pollerd/bin/pollerd service uninstall" in said, "a unit that shadows the package's is named")
    own.unlink()
    system.step("systemctl", "daemon-reload")


def _remove(system: System) -> None:
    # A mount point, as where the data have a disk of their own.
    state = system.root / "var/lib/pollerd"
    system.step("systemctl", "stop", "pollerd")
    system.step("mount", "--bind", "/var/lib/pollerd", "/var/lib/pollerd")
    system.step("apt-get", "remove", "-y", "-qq", "pollerd")
    hold(not system.active(), "remove stops the service")
    hold((system.root / EVENTS).exists() and (system.root / "etc/pollerd/token").exists(), "remove keeps the data")
    hold(not (system.root / "usr/lib/pollerd").exists(), "remove leaves no program behind")
    system.step("apt-get", "purge", "-y", "-qq", "pollerd")
    hold(not list(state.iterdir()), "purge empties a mount point")
    left = [path for path in ("etc/pollerd", "etc/logrotate.d/pollerd") if (system.root / path).exists()]
    hold(not left, f"purge removes everything; left: {', '.join(left)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", choices=sorted(SUITES), help="the release of Debian")
    parser.add_argument("--package", type=Path, help="the package; without it, it is built")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        package = options.package or deb.build(options.release, "amd64", folder)
        kept = options.keep or folder / "kept"
        if not (kept / "usr").exists():
            fresh(options.release, kept)
        root = folder / "root"
        subprocess.run(["cp", "-a", kept, root], check=True)
        with booted(root) as system:
            trial(system, package, newer(package, folder))
    print("\nAll promises held.")


if __name__ == "__main__":
    main()
