"""The Debian package by its content. What it does on a system: packaging/trial.py."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from pollerd.deployment.service.layout import packaged
from pollerd.deployment.service.starter import first_configuration

TOP = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


@pytest.fixture(scope="module", params=["12 amd64", "13 arm64"])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deb")
    release, architecture = request.param.split()
    words = [release, "--architecture", architecture, "--into", folder]
    # As on a machine that is strict with what its users make.
    subprocess.run([sys.executable, TOP / "packaging" / "deb.py", *words], check=True, capture_output=True, umask=0o077)
    (made,) = folder.glob("*.deb")
    return made


def test_it_holds_what_service_install_puts_in_place(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    unit = (tmp_path / "usr/lib/systemd/system/pollerd.service").read_text()
    own = packaged("pollerd.service").replace("/opt/pollerd/bin/pollerd", "/usr/bin/pollerd")
    assert unit.partition("[Unit]")[2] == own.partition("[Unit]")[2]
    for name in ("sysusers", "tmpfiles"):
        assert (tmp_path / f"usr/lib/{name}.d/pollerd.conf").read_text() == packaged(f"pollerd.{name}.conf")
    assert (tmp_path / "etc/logrotate.d/pollerd").read_text() == packaged("pollerd.logrotate")
    assert (tmp_path / "etc/pollerd/config.toml").read_text() == first_configuration()
    assert (tmp_path / "usr/share/man/man1/pollerd.1.gz").exists()
    machine = "aarch64" if "arm64" in package.name else "x86_64"
    assert list((tmp_path / "usr/lib/pollerd/msgspec").glob(f"_core.*{machine}*.so"))


def test_the_service_can_read_all_of_the_library(package: Path) -> None:
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        modes = {entry.name: entry.mode for entry in archive if "/usr" in entry.name or entry.name == "."}
    assert {"./usr/lib/pollerd", "./usr/bin/pollerd", "."} <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode not in {0o644, 0o755}} == {}


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root can mount")
def test_purge_empties_what_it_cannot_remove(tmp_path: Path) -> None:
    mounted, linked, target = tmp_path / "mounted", tmp_path / "linked", tmp_path / "target"
    for folder in (mounted, target, tmp_path / "plain"):
        folder.mkdir()
    (tmp_path / "plain/file").touch()
    (target / "file").touch()
    linked.symlink_to(target)
    script = (TOP / "packaging/debian/postrm").read_text()
    places = {"/var/lib": mounted, "/etc": linked, "/usr/lib": tmp_path / "plain", "/run": tmp_path / "missing"}
    for place, instead in places.items():
        script = script.replace(f" {place}/pollerd", f" {instead}")
    (tmp_path / "postrm").write_text(script)
    words = 'mount -t tmpfs none "$1"; mkdir "$1/d"; touch "$1/d/f"; sh "$2" purge; ls "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", words, "sh", mounted, tmp_path / "postrm"],
        check=False,
        capture_output=True,
        text=True,
        # deb-systemd-helper keeps away from this machine's own.
        env={"PATH": os.environ["PATH"], "DPKG_ROOT": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert f"what is in {target} stays" in done.stderr
    assert not (tmp_path / "plain").exists()
    assert not linked.is_symlink()
    assert (target / "file").exists()


@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is not installed")
def test_lintian_has_nothing_to_complain_about(package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", package], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
