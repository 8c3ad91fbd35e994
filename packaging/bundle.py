"""An archive for machines without internet and without a Debian package: wheels, their hashes, and install.sh.

    python packaging/bundle.py x86_64 | aarch64       dist/pollerd-VERSION-MACHINE.tar.gz

Fits Python 3.11 to 3.13 of any Linux with glibc 2.28 or newer.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

import wheels

HERE: Final = Path(__file__).resolve().parent
NOTES: Final = ("LICENSE", "CHANGELOG.md", "config.example.toml")


def build(machine: str, target: Path) -> Path:
    """Make the archive; its path."""
    os.umask(0o022)
    name = f"pollerd-{version('pollerd')}-{machine}"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for python in wheels.PYTHONS:
            wheels.fetch(folder, python, machine)
        target.mkdir(exist_ok=True)
        made = target / f"{name}.tar.gz"
        found = sorted(folder.glob("*.whl"))
        with tarfile.open(made, "w:gz") as archive:
            for wheel in found:
                archive.add(wheel, f"{name}/wheels/{wheel.name}", filter=_plain)
            _add(archive, f"{name}/requirements.txt", _requirements(found))
            _add(archive, f"{name}/install.sh", (HERE / "install.sh").read_bytes(), 0o755)
            for note in NOTES:
                _add(archive, f"{name}/{note}", (wheels.TOP / note).read_bytes())
        return made


def _requirements(found: list[Path]) -> bytes:
    """As pip reads it: every version with the hashes of its wheels, pollerd's own included."""
    own = next(wheel for wheel in found if wheel.name.startswith("pollerd-"))
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    return f"pollerd=={version('pollerd')} --hash=sha256:{digest}\n".encode() + wheels.LOCK.read_bytes()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nobody's file: who built it is no part of it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o644
    return entry


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machine", choices=wheels.MACHINES)
    parser.add_argument("--into", type=Path, default=wheels.TOP / "dist")
    options = parser.parse_args()
    print(build(options.machine, options.into))


if __name__ == "__main__":
    main()
