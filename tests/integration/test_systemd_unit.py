"""The files in systemd/, judged by systemd's own tools. These must be installed: apt-get install systemd logrotate."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT = FOLDER / "pollerd.service"


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.fail(f"{program} is not installed; run: apt-get install systemd logrotate")
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=False, timeout=60)


def with_program(tmp_path: Path, text: str) -> Path:
    """The unit with a program that exists here: systemd checks whether it can be run."""
    unit = tmp_path / "pollerd.service"
    unit.write_text(text.replace("/opt/pollerd/bin/pollerd", sys.executable))
    return unit


def test_verify_is_silent(tmp_path: Path) -> None:
    done = run("systemd-analyze", "verify", with_program(tmp_path, UNIT.read_text()))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verify_would_notice_a_mistake(tmp_path: Path) -> None:
    done = run("systemd-analyze", "verify", with_program(tmp_path, UNIT.read_text().replace("UMask", "UMusk")))
    assert "UMusk" in done.stderr


def test_exposure_is_at_most_1_2() -> None:
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=12", "--no-pager", UNIT)
    assert done.returncode == 0, done.stdout
    assert re.search(r"Overall exposure level for pollerd.service: (1\.[012]|0\.\d) OK", done.stdout)


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "NotifyAccess=main",
        'ExecReload=/bin/sh -c "kill -HUP $MAINPID"',
        "WatchdogSec=30",
        "Restart=always",
        "RestartSec=2",
        "RestartPreventExitStatus=75 78 243",
        "User=pollerd",
        "StateDirectory=pollerd",
        "RuntimeDirectory=pollerd",
        "ConfigurationDirectory=pollerd",
        "UMask=0027",
        "LoadCredential=token:/etc/pollerd/token",
        "LimitCORE=0",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    ],
)
def test_the_unit_says(line: str) -> None:
    assert line in UNIT.read_text().splitlines()


def test_the_unit_starts_without_any_file_that_it_loads() -> None:
    """A missing file ends the start with 243, unless SetCredential= has the same name, with something in it: an empty
    value is a syntax error, which `verify` reports."""
    lines = UNIT.read_text().splitlines()
    loaded = [line.removeprefix("LoadCredential=").partition(":")[0] for line in lines if line.startswith("LoadCred")]
    assert loaded == ["token", "password", "secret", "database-password"]
    for name in loaded:
        assert f"SetCredential={name}:\\n" in lines


def test_the_drop_in_is_understood_or_unknown_for_its_age_alone(tmp_path: Path) -> None:
    version = int(run("systemd-analyze", "--version").stdout.split()[1])
    unit = with_program(tmp_path, UNIT.read_text())
    drop_in = tmp_path / "pollerd.service.d" / "254.conf"
    drop_in.parent.mkdir()
    shutil.copy(FOLDER / "pollerd-systemd-254.conf", drop_in)
    complaints = run("systemd-analyze", "verify", unit).stderr
    if version >= 254:
        assert complaints == ""
    else:
        assert all(re.search("notify-reload|RestartSteps|RestartMaxDelaySec", c) for c in complaints.splitlines())


def test_user_and_group_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = run("systemd-sysusers", f"--root={tmp_path}", FOLDER / "pollerd.sysusers.conf")
    assert done.returncode == 0, done.stderr
    entry = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (entry[0], entry[5], entry[6]) == ("pollerd", "/var/lib/pollerd", "/usr/sbin/nologin")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders away")
def test_folders_are_made_with_tight_rights(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    run("systemd-sysusers", f"--root={tmp_path}", FOLDER / "pollerd.sysusers.conf")
    done = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", FOLDER / "pollerd.tmpfiles.conf")
    assert (done.returncode, done.stderr) == (0, "")
    user, group = (int(part) for part in (tmp_path / "etc/passwd").read_text().split(":")[2:4])
    found = {path: (tmp_path / path).stat() for path in ("etc/pollerd", "var/lib/pollerd")}
    assert {path: (s.st_mode & 0o777, s.st_uid, s.st_gid) for path, s in found.items()} == {
        "etc/pollerd": (0o750, 0, group),
        "var/lib/pollerd": (0o750, user, group),
    }


def test_logrotate_renames_and_makes_a_new_file(tmp_path: Path) -> None:
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    text = (FOLDER / "pollerd.logrotate").read_text()
    assert not re.search(r"^\s*copytruncate", text, re.MULTILINE)
    config = tmp_path / "logrotate.conf"
    config.write_text(text.replace("/var/lib/pollerd", str(tmp_path)).replace("pollerd pollerd", f"{user} {group}"))
    config.chmod(0o644)
    file = tmp_path / "events.ndjson"
    file.write_text('{"seq": 1}\n')
    inode = file.stat().st_ino
    done = run("logrotate", "--force", "--state", tmp_path / "state", config)
    assert done.returncode == 0, done.stderr
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("", 0o640)
    (rotated,) = (path for path in tmp_path.iterdir() if path.name.startswith("events.ndjson") and path != file)
    assert (rotated.stat().st_ino, rotated.read_text()) == (inode, '{"seq": 1}\n')
