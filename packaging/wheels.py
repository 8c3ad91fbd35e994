"""The wheels that packages carry: which versions, for which Pythons and processors, and their hashes.

    python packaging/wheels.py lock               newest versions that pyproject.toml allows, into requirements.lock
    python packaging/wheels.py fetch FOLDER --python 3.13 --machine x86_64
                                                  pollerd's own wheel and the locked ones, hashes checked

Nothing is compiled: every library comes as a wheel, so that one machine makes the packages of all.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
LOCK = Path(__file__).with_name("requirements.lock")
PYTHONS = ("3.11", "3.12", "3.13")
"""What pyproject.toml supports. Debian 12 has 3.11, Ubuntu 24.04 has 3.12, Debian 13 has 3.13."""
MACHINES = ("x86_64", "aarch64")
GLIBC = ("2_17", "2_28")
"""The C libraries that wheels are made for; Debian 12 and newer have later ones, and all of these run there."""


def pip(*words: str | Path) -> None:
    """Run pip of this very Python. Ends with what it said when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *map(str, words)], check=False, text=True, stderr=subprocess.PIPE
    )
    if done.returncode:
        sys.exit(f"pip {words[0]} failed:\n{done.stderr}")


def target(python: str, machine: str) -> list[str]:
    """pip's options for another machine than this one."""
    platforms = [f"manylinux_{version}_{machine}" for version in GLIBC] + [f"manylinux2014_{machine}"]
    options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    return [*options, *(f"--platform={platform}" for platform in platforms)]


def own_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    pip("wheel", "--no-deps", "--wheel-dir", folder, TOP)
    return next(folder.glob("pollerd-*.whl"))


def lock() -> None:
    """Write the newest versions that fit every target, with the hash of each wheel."""
    hashes: dict[str, set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as place:
        own = own_wheel(Path(place))
        for python, machine in ((python, machine) for python in PYTHONS for machine in MACHINES):
            folder = Path(place) / f"{python}-{machine}"
            pip("download", "--dest", folder, *target(python, machine), own)
            for wheel in folder.glob("*.whl"):
                if not wheel.name.startswith("pollerd-"):
                    hashes[_pin(wheel)].add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    names = [pin.partition("==")[0] for pin in hashes]
    if twice := {name for name in names if names.count(name) > 1}:
        sys.exit(f"no version fits all targets: {', '.join(sorted(twice))}. Pin one in pyproject.toml.")
    LOCK.write_text(
        "# Made by: python packaging/wheels.py lock\n"
        + "".join(
            f"{pin}" + "".join(f" \\\n    --hash=sha256:{each}" for each in sorted(hashes[pin])) + "\n"
            for pin in sorted(hashes)
        )
    )


def _pin(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


def locked() -> Iterator[tuple[str, str]]:
    """Name and version of each locked library."""
    for match in re.finditer(r"^([a-z0-9-]+)==([^ \\\n]+)", LOCK.read_text(), re.MULTILINE):
        yield match[1], match[2]


def fetch(folder: Path, python: str, machine: str) -> None:
    """Put pollerd's wheel and the locked wheels for one target into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    own_wheel(folder)
    pip("download", "--no-deps", "--require-hashes", "--dest", folder, *target(python, machine), "-r", LOCK)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("lock")
    fetching = commands.add_parser("fetch")
    fetching.add_argument("folder", type=Path)
    fetching.add_argument("--python", choices=PYTHONS, required=True)
    fetching.add_argument("--machine", choices=MACHINES, required=True)
    options = parser.parse_args()
    if options.command == "lock":
        lock()
    else:
        fetch(options.folder, options.python, options.machine)


if __name__ == "__main__":
    main()
