"""The container image, as a container engine runs it: nobody's user, a root that is read-only, one volume.

There is no container engine here, so the test unpacks the layer and makes the same namespaces itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.waiting import wait_for

TOP = Path(__file__).parents[2]
USER = 10001

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("debootstrap") is None, reason="only root with debootstrap can build it"
)


class Image:
    """An archive that was unpacked."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive = archive
        self.blobs = folder / "archive"
        with tarfile.open(archive) as file:
            file.extractall(self.blobs, filter="data")
        self.root = folder / "root"
        self.root.mkdir()
        self.manifest = self._read(json.loads((self.blobs / "index.json").read_text())["manifests"][0])
        self.config = self._read(self.manifest["config"])
        (layer,) = self.manifest["layers"]
        subprocess.run(["tar", "--numeric-owner", "-xpzf", self._blob(layer), "-C", self.root], check=True)

    def _blob(self, described: dict[str, Any]) -> Path:
        algorithm, _, digest = described["digest"].partition(":")
        path: Path = self.blobs / "blobs" / algorithm / digest
        content = path.read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (digest, described["size"])
        return path

    def _read(self, described: dict[str, Any]) -> Any:
        return json.loads(self._blob(described).read_bytes())

    def command(self, state: Path, *arguments: str) -> list[str]:
        """What an engine does for `run --read-only -v STATE:/var/lib/pollerd --network none`."""
        inside = self.root / "var/lib/pollerd"
        script = (
            "set -e; mount --make-rprivate /; mount --bind $1 $1; mount --bind $2 $3; mount -t proc proc $1/proc;"
            "mount -o remount,bind,ro $1; ip link set lo up; root=$1; shift 3;"
            f"exec chroot --userspec={USER}:{USER} $root /usr/bin/env -i {' '.join(self.config['config']['Env'])}"
            ' GATEWAYAPI_TOKEN=simulator-demo "$@"'
        )
        names = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=TERM"]
        entry = self.config["config"]["Entrypoint"]
        return [*names, "sh", "-c", script, "sh", str(self.root), str(state), str(inside), *entry, *arguments]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    # Users who are nobody's here must reach what is inside.
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    subprocess.run(
        [sys.executable, TOP / "packaging" / "image.py", "--into", folder], check=True, capture_output=True, umask=0o077
    )
    (archive,) = folder.glob("*.tar")
    return Image(archive, folder)


def test_it_is_described_as_an_engine_wants_it(image: Image) -> None:
    config = image.config["config"]
    assert config["User"] == f"{USER}:{USER}"
    assert list(config["Volumes"]) == ["/var/lib/pollerd"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"][1:] == ["/usr/bin/pollerd", "health", "--alive"]
    assert (image.root / "var/lib/pollerd").stat().st_uid == USER
    old = json.loads((image.blobs / "manifest.json").read_text())[0]
    assert all((image.blobs / name).exists() for name in (old["Config"], *old["Layers"]))


def test_it_has_security_updates_and_nothing_of_the_machine_that_built_it(image: Image) -> None:
    names, host = (image.root / "etc/resolv.conf", image.root / "etc/hostname")
    assert (names.read_bytes(), host.read_bytes()) == (b"", b"")
    assert "-security main" in (image.root / "etc/apt/sources.list").read_text()
    shutil.copy("/etc/resolv.conf", names)
    asked = "apt-get -qq update && apt-get --simulate dist-upgrade"
    done = subprocess.run(["chroot", image.root, "sh", "-c", asked], capture_output=True, text=True, check=True)
    assert "0 upgraded, 0 newly installed" in done.stdout


def test_it_runs_with_a_root_that_is_read_only_and_stops_when_told(image: Image, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, USER, USER)
    with subprocess.Popen(image.command(state, "run"), stderr=subprocess.PIPE, text=True) as daemon:
        wait_for((state / "pollerd.db").exists)

        def healthy() -> bool:
            done = subprocess.run(image.command(state, "health"), capture_output=True, text=True, check=False)
            return done.stdout.startswith("POLLERD OK")

        wait_for(healthy)
        check = image.config["config"]["Healthcheck"]["Test"][2:]
        assert subprocess.run(image.command(state, *check), capture_output=True, check=False).returncode == 0
        (inner,) = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
        os.kill(int(inner), signal.SIGTERM)
        assert daemon.wait(30) == 0
    done = subprocess.run(image.command(state, *check), capture_output=True, text=True, check=False)
    assert (done.returncode, "no daemon runs" in done.stdout) == (2, True)
