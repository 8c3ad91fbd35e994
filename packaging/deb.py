"""A Debian package that carries its own libraries, for machines without internet.

    python packaging/deb.py 13 [--architecture arm64]     dist/pollerd_VERSION~deb13_ARCHITECTURE.deb

Needs `dpkg-deb` and a Python that has pollerd installed (pip install -e .). See README.md beside this file.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import time
from email.utils import formatdate
from importlib.metadata import version
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

import wheels

from pollerd.deployment.service.layout import packaged
from pollerd.deployment.service.starter import first_configuration

HERE: Final = Path(__file__).resolve().parent
PYTHONS: Final = {"12": "3.11", "13": "3.13"}
"""Debian's release and the Python that it has; a package fits this one alone."""
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
NOTIFY_RELOAD: Final = {"13"}
"""Releases with a systemd of 254 or newer."""
AUTHORS: Final = "The pollerd authors <pollerd@localhost>"
PROGRAM: Final = """#!/usr/bin/python{python} -I
import sys

sys.path.insert(0, "/usr/lib/pollerd")
from pollerd.cli import main  # noqa: E402

sys.exit(main())
"""


def build(release: str, architecture: str, target: Path) -> Path:
    """Make the package; its path."""
    os.umask(0o022)
    python = PYTHONS[release]
    number = f"{version('pollerd')}~deb{release}"
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "root"
        root.mkdir(mode=0o755)
        _libraries(root, Path(place) / "wheels", python, MACHINES[architecture])
        _files(root, python, release)
        _documents(root, number)
        _control(root, number, architecture, python)
        target.mkdir(exist_ok=True)
        made = target / f"pollerd_{number}_{architecture}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, made], check=True, stdout=subprocess.DEVNULL
        )
        return made


def _libraries(root: Path, folder: Path, python: str, machine: str) -> None:
    wheels.fetch(folder, python, machine)
    library = root / "usr/lib/pollerd"
    options = wheels.target(python, machine)
    wheels.pip(
        "install", "--no-deps", "--no-index", "--no-compile", "--target", library, *options, *folder.glob("*.whl")
    )
    # Commands of the libraries, and our own, which /usr/bin/pollerd is instead.
    for name in ("bin", "share", "etc"):
        shutil.rmtree(library / name, ignore_errors=True)


def _write(path: Path, text: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)


def _files(root: Path, python: str, release: str) -> None:
    _write(root / "usr/bin/pollerd", PROGRAM.format(python=python), 0o755)
    unit = packaged("pollerd.service").replace("/opt/pollerd/bin/pollerd", "/usr/bin/pollerd")
    system = root / "usr/lib/systemd/system"
    _write(system / "pollerd.service", _without_recipe(unit))
    if release in NOTIFY_RELOAD:
        _write(system / "pollerd.service.d/systemd-254.conf", packaged("pollerd-systemd-254.conf"))
    _write(root / "usr/lib/sysusers.d/pollerd.conf", packaged("pollerd.sysusers.conf"))
    _write(root / "usr/lib/tmpfiles.d/pollerd.conf", packaged("pollerd.tmpfiles.conf"))
    _write(root / "etc/logrotate.d/pollerd", packaged("pollerd.logrotate"))
    _write(root / "etc/pollerd/config.toml", first_configuration(), 0o640)
    completions = {"bash": "bash-completion/completions/pollerd", "zsh": "zsh/vendor-completions/_pollerd"}
    completions["fish"] = "fish/vendor_completions.d/pollerd.fish"
    for shell, path in completions.items():
        said = subprocess.run([sys.executable, "-m", "pollerd", "completion", shell], check=True, capture_output=True)
        _write(root / "usr/share" / path, said.stdout)


def _without_recipe(unit: str) -> str:
    """The unit without how it is put in place by hand."""
    lines = unit.splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith("["))
    return "# pollerd: follows SMS sent through GatewayAPI to their final state.\n\n" + "".join(lines[start:])


def _documents(root: Path, number: str) -> None:
    share = root / "usr/share"
    _write(share / "man/man1/pollerd.1.gz", _packed((wheels.TOP / "docs/man/pollerd.1").read_bytes()))
    about = share / "doc/pollerd"
    licence = "\n".join(f" {line}" if line else " ." for line in (wheels.TOP / "LICENSE").read_text().splitlines())
    _write(about / "copyright", (HERE / "debian/copyright").read_text().replace("@LICENSE@", licence))
    when = formatdate(float(os.environ.get("SOURCE_DATE_EPOCH", time.time())), localtime=False)
    entry = f"pollerd ({number}) stable; urgency=medium\n\n  * See changelog.gz.\n\n -- {AUTHORS}  {when}\n"
    _write(about / "changelog.Debian.gz", _packed(entry.encode()))
    _write(about / "changelog.gz", _packed((wheels.TOP / "CHANGELOG.md").read_bytes()))
    _write(about / "examples/config.example.toml", (wheels.TOP / "config.example.toml").read_bytes())
    _write(share / "lintian/overrides/pollerd", (HERE / "debian/lintian-overrides").read_text())


def _packed(text: bytes) -> bytes:
    return gzip.compress(text, 9, mtime=0)


def _control(root: Path, number: str, architecture: str, python: str) -> None:
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    values = {"VERSION": number, "ARCHITECTURE": architecture, "PYTHON": f"python{python}", "SIZE": str(size)}
    for name in ("control", "postinst", "prerm", "postrm"):
        text = (HERE / "debian" / name).read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        _write(root / "DEBIAN" / name, text, 0o644 if name == "control" else 0o755)
    _write(root / "DEBIAN/conffiles", "/etc/logrotate.d/pollerd\n/etc/pollerd/config.toml\n")
    # Whatever the builder's umask or a wheel says: everybody may read, and nobody else may write.
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
        elif path.is_relative_to(root / "usr/lib/pollerd"):
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    (root / "etc/pollerd").chmod(0o750)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", choices=sorted(PYTHONS), help="the release of Debian")
    parser.add_argument("--architecture", choices=sorted(MACHINES), default="amd64")
    parser.add_argument("--into", type=Path, default=wheels.TOP / "dist")
    options = parser.parse_args()
    print(build(options.release, options.architecture, options.into))


if __name__ == "__main__":
    main()
