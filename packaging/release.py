"""A release: version, changelog, tag, packages, bill of materials, checksums.

    python packaging/release.py 0.2.0              everything, in dist/; nothing leaves this machine
    python packaging/release.py --sbom FILE        the bill of materials alone (CycloneDX 1.5)

Before it: `.ci/run` passes, and `python packaging/wheels.py lock` has taken up the newest libraries. Afterwards look at
dist/, then push the commit and the tag.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))

import wheels

DIST: Final = wheels.TOP / "dist"
HERE: Final = Path(__file__).resolve().parent
UNRELEASED: Final = re.compile(r"^## (\S+) - unreleased$", re.MULTILINE)


def git(*words: str) -> str:
    """Run git in this checkout; what it says."""
    return subprocess.run(["git", *words], cwd=wheels.TOP, check=True, capture_output=True, text=True).stdout.strip()


def prepare(number: str, today: str) -> None:
    """Write the version and the changelog's date, commit, tag. Ends where something stands in the way."""
    if re.fullmatch(r"\d+\.\d+\.\d+", number) is None:
        sys.exit(f"{number} is no version: give three numbers, such as 0.2.0.")
    if git("status", "--porcelain"):
        sys.exit("there are changes that are not committed: commit or stash them first.")
    if git("tag", "--list", f"v{number}"):
        sys.exit(f"v{number} is tagged already.")
    changelog = wheels.TOP / "CHANGELOG.md"
    text, count = UNRELEASED.subn(f"## {number} - {today}", changelog.read_text(), count=1)
    if not count:
        sys.exit('CHANGELOG.md has no heading "## VERSION - unreleased": write down what changed first.')
    changelog.write_text(text)
    project = wheels.TOP / "pyproject.toml"
    project.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{number}"', project.read_text(), count=1))
    git("commit", "--all", "--message", f"Release {number}")
    git("tag", "--annotate", f"v{number}", "--message", f"pollerd {number}")


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
    _build("image.py")


def _build(script: str, *words: str) -> None:
    # In a process of its own: it reads the version that has just been installed.
    subprocess.run([sys.executable, HERE / script, *words], check=True)


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
    prepare(options.number, datetime.now(UTC).date().isoformat())
    wheels.pip("install", "--no-deps", "--editable", wheels.TOP)
    DIST.mkdir(exist_ok=True)
    packages()
    sbom = DIST / f"pollerd-{options.number}.cdx.json"
    sbom.write_text(json.dumps(bill_of_materials(options.number), indent=1) + "\n")
    (DIST / "SHA256SUMS").write_text(checksums(DIST))


if __name__ == "__main__":
    main()
