"""The archive for machines without internet, in a network namespace that has no route."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root can make a network namespace"
)


def without_network(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command where nothing can be reached."""
    return subprocess.run(
        ["unshare", "--net", *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, **environment},
    )


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    subprocess.run(
        [sys.executable, TOP / "packaging" / "bundle.py", "x86_64", "--into", folder], check=True, capture_output=True
    )
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def test_it_installs_and_runs_without_a_network(unpacked: Path, tmp_path: Path) -> None:
    done = without_network(unpacked / "install.sh", tmp_path / "opt")
    assert done.returncode == 0, done.stderr
    assert "service install" in done.stdout
    program = tmp_path / "opt" / "bin" / "pollerd"
    assert without_network(program, "--version").stdout.startswith("pollerd ")
    # Again, as an upgrade does.
    assert without_network(unpacked / "install.sh", tmp_path / "opt").returncode == 0
    done = without_network("sh", "-c", f"ip link set lo up; exec {program} demo --messages 20", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "0 differences" in done.stdout


def test_settings_of_the_machine_do_not_spoil_it(unpacked: Path, tmp_path: Path) -> None:
    shutil.copytree(unpacked, tmp_path / "an archive")
    (tmp_path / "pip.conf").write_text("[global]\nuser = true\nindex-url = http://127.0.0.1:9/\n")
    hostile = {"CDPATH": ".", "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_USER": "1", "PIP_TARGET": "/nowhere"}
    script = 'umask 077; cd "$1"; exec "an archive/install.sh" "opt of mine"'
    opt = tmp_path / "opt of mine"

    def install() -> None:
        done = without_network("sh", "-c", script, "sh", tmp_path, HOME=str(tmp_path), **hostile)
        assert done.returncode == 0, done.stderr
        assert without_network(opt / "bin/pollerd", "--version").stdout.startswith("pollerd ")

    install()
    closed = [path for path in (opt, *opt.rglob("*")) if path.stat().st_mode & 0o044 != 0o044]
    assert not closed, "the service's user must be able to read it"
    # As after an upgrade of the system, which took the Python away.
    for path in (opt / "bin").glob("python*"):
        path.unlink()
        path.symlink_to("/nowhere/python")
    (opt / "lib/left-behind").touch()
    install()
    assert not (opt / "lib/left-behind").exists()


def test_a_wheel_that_was_changed_is_refused(unpacked: Path, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(unpacked, spoiled)
    wheel = next((spoiled / "wheels").glob("click-*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"x")
    done = without_network(spoiled / "install.sh", tmp_path / "opt")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "opt" / "bin" / "pollerd").exists()


def test_a_python_that_does_not_fit_is_named(unpacked: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = without_network(unpacked / "install.sh", tmp_path / "opt", PYTHON=str(old))
    assert done.returncode == 1
    assert "3.11, 3.12 or 3.13" in done.stderr
