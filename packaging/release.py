"""A release: version, changelog, tag, packages, bill of materials, checksums.

    python packaging/release.py 0.2.0              everything, in dist/; nothing leaves this machine
    python packaging/release.py --sbom FILE        the bill of materials alone (CycloneDX 1.5)

Before it: `.ci/run` passes, and `python packaging/wheels.py lock` has taken up the newest libraries. The image needs
root: run it as root, or as a user who may use sudo. Commit and tag come last, when everything is built; when something
fails, the checkout is as before. Afterwards look at dist/, then push the commit and the tag.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))

import wheels

DIST: Final = wheels.TOP / "dist"
CHANGELOG: Final = wheels.TOP / "CHANGELOG.md"
PROJECT: Final = wheels.TOP / "pyproject.toml"
HERE: Final = Path(__file__).resolve().parent
UNRELEASED: Final = re.compile(r"^## (\S+) - unreleased$", re.MULTILINE)


def git(*words: str) -> str:
    """Run git in this checkout; what it says. Ends with its complaint when it fails."""
    done = subprocess.run(["git", *words], cwd=wheels.TOP, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"git {words[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def ready(number: str) -> None:
    """End where something stands in the way of a release, before anything is changed."""
    if re.fullmatch(r"\d+\.\d+\.\d+", number) is None:
        sys.exit(f"{number} is no version: give three numbers, such as 0.2.0.")
    if git("status", "--porcelain"):
        sys.exit("there are changes that are not committed: commit or stash them first.")
    if git("tag", "--list", f"v{number}"):
        sys.exit(f"v{number} is tagged already.")
    if UNRELEASED.search(CHANGELOG.read_text()) is None:
        sys.exit('CHANGELOG.md has no heading "## VERSION - unreleased": write down what changed first.')
    if DIST.is_dir() and any(DIST.iterdir()):
        sys.exit(f"{DIST} is not empty, and all in it would be part of the release: empty it first.")
    if shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        sys.exit("the image needs debootstrap: install it first.")
    if os.geteuid() != 0 and (shutil.which("sudo") is None or subprocess.run(["sudo", "-v"], check=False).returncode):
        sys.exit("the image needs root: run this as root, or as a user who may use sudo.")


@contextmanager
def released(number: str, today: str) -> Iterator[None]:
    """Write the version and the changelog's date; after the block commit and tag. A failure leaves all as it was."""
    before = git("rev-parse", "HEAD")
    try:
        CHANGELOG.write_text(UNRELEASED.sub(f"## {number} - {today}", CHANGELOG.read_text(), count=1))
        PROJECT.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{number}"', PROJECT.read_text(), count=1))
        yield
        git("commit", "--message", f"Release {number}", "--", CHANGELOG.name, PROJECT.name)
        git("tag", "--annotate", f"v{number}", "--message", f"pollerd {number}")
    except BaseException:
        git("reset", "--soft", before)
        git("checkout", before, "--", CHANGELOG.name, PROJECT.name)
        shutil.rmtree(DIST, ignore_errors=True)
        raise


def bill_of_materials(number: str) -> dict[str, Any]:
    """What a release is made of, as CycloneDX 1.5."""
    own = f"pkg:pypi/pollerd@{number}"
    parts = [(name, found, f"pkg:pypi/{name}@{found}") for name, found in wheels.locked()]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "application", "name": "pollerd", "version": number, "bom-ref": own, "purl": own},
        },
        "components": [
            {"type": "library", "name": name, "version": found, "bom-ref": purl, "purl": purl}
            for name, found, purl in parts
        ],
        "dependencies": [{"ref": own, "dependsOn": [purl for _, _, purl in parts]}],
    }


def checksums(folder: Path) -> str:
    """As `sha256sum --check` reads it."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def packages() -> None:
    """Build everything for both processors; the image for this machine's own alone."""
    wheels.own_wheel(DIST)
    for architecture in ("amd64", "arm64"):
        for release in ("12", "13"):
            _build("deb.py", release, "--architecture", architecture)
    for machine in wheels.MACHINES:
        _build("bundle.py", machine)
    _build("image.py", root=True)


def _build(script: str, *words: str, root: bool = False) -> None:
    # In a process of its own: it reads the version that has just been installed.
    sudo = ["sudo"] if root and os.geteuid() != 0 else []
    subprocess.run([*sudo, sys.executable, HERE / script, *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", nargs="?", help="the version to release")
    parser.add_argument("--sbom", type=Path, metavar="FILE", help="write the bill of materials of this version")
    options = parser.parse_args()
    if options.sbom is not None:
        options.sbom.write_text(json.dumps(bill_of_materials(version("pollerd")), indent=1) + "\n")
        return
    if options.number is None:
        parser.error("name the version to release")
    ready(options.number)
    try:
        with released(options.number, datetime.now(UTC).date().isoformat()):
            _install()
            DIST.mkdir(exist_ok=True)
            packages()
            sbom = DIST / f"pollerd-{options.number}.cdx.json"
            sbom.write_text(json.dumps(bill_of_materials(options.number), indent=1) + "\n")
            (DIST / "SHA256SUMS").write_text(checksums(DIST))
    except BaseException:
        _install()
        raise


def _install() -> None:
    """The scripts and the program ask the installed metadata for the version."""
    wheels.pip("install", "--no-deps", "--editable", wheels.TOP)


if __name__ == "__main__":
    main()
