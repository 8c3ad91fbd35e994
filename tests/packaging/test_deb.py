"""The Debian package by its content. What it does on a system: packaging/trial.py."""

from __future__ import annotations

import shutil
import subprocess
import sys
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
    subprocess.run([sys.executable, TOP / "packaging" / "deb.py", *words], check=True, capture_output=True)
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


@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is not installed")
def test_lintian_has_nothing_to_complain_about(package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", package], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
