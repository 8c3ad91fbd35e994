"""`pollerd service install` and `uninstall` into another root file system, by the installed command."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from pollerd.config import Service, load
from pollerd.deployment.service.install import _same
from pollerd.deployment.service.layout import Layout, packaged
from pollerd.deployment.service.starter import first_configuration
from tests.acceptance.deployment import COMMAND
from tests.acceptance.waiting import PATIENCE

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may install")
PROGRAM = "/opt/pollerd/bin/pollerd"
SINGLE_SOURCE = Path(__file__).parents[2] / "systemd"


def service(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [COMMAND, "service", *arguments], input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def install(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return service("install", "--root", root, "--program", PROGRAM, *more)


def test_the_packaged_files_are_the_ones_in_systemd() -> None:
    for path in SINGLE_SOURCE.iterdir():
        assert packaged(path.name) == path.read_text()


def test_a_dry_run_shows_everything_and_does_nothing(root: Path) -> None:
    done = install(root, "--dry-run")
    assert done.returncode == 0
    for path in ("/etc/systemd/system/pollerd.service", "/etc/pollerd/config.toml", "/etc/logrotate.d/pollerd"):
        assert f"write {path}" in done.stdout
    assert files(root) == {}


@AS_ROOT
def test_a_no_is_a_no(root: Path) -> None:
    done = service("install", "--root", root, "--program", PROGRAM, stdin="n\n")
    assert "Go on?" in done.stdout
    assert "Nothing was changed." in done.stdout
    assert (done.returncode, files(root)) == (1, {})


@AS_ROOT
def test_everything_is_in_place_with_tight_rights(root: Path) -> None:
    done = install(root, "--yes")
    assert done.returncode == 0, done.stderr
    layout = Layout(root)
    assert f"ExecStart={PROGRAM} run -c /etc/pollerd/config.toml" in layout.unit.read_text().splitlines()
    assert layout.tmpfiles.read_text() == packaged("pollerd.tmpfiles.conf")
    assert not layout.drop_in.exists(), "nobody knows the systemd of another root"
    passwd = (root / "etc/passwd").read_text()
    user, group = next(line for line in passwd.splitlines() if line.startswith("pollerd:")).split(":")[2:4]
    found = {
        path: (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid, path.stat().st_gid)
        for path in (layout.state, layout.settings, layout.configuration, layout.token)
    }
    assert found == {
        layout.state: (0o750, int(user), int(group)),
        layout.settings: (0o750, 0, int(group)),
        layout.configuration: (0o640, 0, int(group)),
        layout.token: (0o600, 0, 0),
    }
    steps = done.stdout.partition("Next:")[2].strip().splitlines()
    assert len(steps) == 4
    assert str(layout.token) in steps[0]
    assert str(layout.configuration) in steps[1]
    assert "On the target, let it try" in steps[2]
    assert "systemctl enable --now pollerd" in steps[3]


@AS_ROOT
def test_again_changes_nothing_and_what_is_the_users_stays(root: Path) -> None:
    install(root, "--yes")
    layout = Layout(root)
    layout.token.write_text("a-token\n")
    layout.configuration.write_text("[accounts.default]\n")
    layout.logrotate.write_text("# mine\n")
    before = files(root)
    done = install(root, "--yes")
    assert "The service is in place already." in done.stdout
    assert files(root) == before

    layout.unit.write_text("[Service]\n")
    assert "replace /etc/systemd/system/pollerd.service" in install(root, "--yes").stdout
    assert files(root) == before


@AS_ROOT
def test_the_group_may_write_where_that_is_chosen_and_it_stays_so(root: Path) -> None:
    layout = Layout(root)
    done = install(root, "--yes", "--group-writes")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(layout.state.stat().st_mode) == 0o2770
    assert "StateDirectoryMode=2770" in layout.group_writes.read_text()
    assert "\ngroup_writes = true\n" in layout.configuration.read_text()
    assert "Let the group write" not in done.stdout
    before = files(root)
    assert "The service is in place already." in install(root, "--yes").stdout
    assert files(root) == before
    layout.configuration.write_text("[accounts.default]\n")
    layout.group_writes.unlink()
    assert "Let the group write: group_writes = true under [store]" in install(root, "--yes", "--group-writes").stdout
    assert service("uninstall", "--root", root, "--yes").returncode == 0
    assert not layout.group_writes.parent.exists()


@AS_ROOT
def test_the_store_in_postgresql_with_its_password_in_a_file_of_roots(root: Path, tmp_path: Path) -> None:
    layout, url = Layout(root), "postgresql://pollerd@db1,db2/pollerd?target_session_attrs=read-write"
    done = install(root, "--yes", "--store", url)
    assert done.returncode == 0, done.stderr
    assert f"Put the password of the database's user into {layout.database_password}" in done.stdout
    found = layout.database_password.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o600, 0, 0)
    unit = layout.unit.read_text()
    assert "LoadCredential=database-password:/etc/pollerd/database-password" in unit.splitlines()
    assert "db1" not in unit
    assert re.search(r"^After=.*postgresql\.service", unit, re.MULTILINE)
    # As the service reads it: an empty credential is none, since libpq may know the password from elsewhere.
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for secret in ("\n", "geheim\n"):
        (credentials / "database-password").write_text(secret)
        config = load(layout.configuration, env={"CREDENTIALS_DIRECTORY": str(credentials)}, cwd=root)
        assert config.store.where == url
        password = config.store.password
        assert (password and password.read().reveal()) == (secret.strip() or None)
    # As `sudo pollerd check` does.
    layout.database_password.write_text("geheim\n")
    files_ = {"database-password": layout.database_password}
    config = load(layout.configuration, env={}, cwd=root, service=lambda _: Service(layout.unit, files_))
    assert config.store.password is not None
    assert config.store.password.read().reveal() == "geheim"

    before = files(root)
    again = install(root, "--yes", "--store", url)
    assert "The service is in place already." in again.stdout
    assert files(root) == before
    assert "Name the store" not in again.stdout
    other = install(root, "--yes", "--store", "postgresql://pollerd@db3/pollerd").stdout
    assert "/etc/pollerd/config.toml is left as it is" in other
    assert 'Name the store: url = "postgresql://pollerd@db3/pollerd" in place of path under [store]' in other
    assert files(root) == before


def test_what_a_store_cannot_be_is_wrong_usage(root: Path) -> None:
    for url, more, said in (
        ("postgresql://pollerd:geheim@db/pollerd", (), "it goes into /etc/pollerd/database-password"),
        ("mysql://db/pollerd", (), "must be a URL such as"),
        ("postgresql://db/pollerd", ("--group-writes",), "leave one of them out"),
    ):
        done = install(root, "--dry-run", "--store", url, *more)
        assert (done.returncode, said in done.stderr) == (2, True)
        assert "geheim" not in done.stdout + done.stderr


@AS_ROOT
def test_uninstall_keeps_what_is_the_users_and_purge_does_not(root: Path) -> None:
    install(root, "--yes")
    layout = Layout(root)
    (layout.state / "pollerd.db").write_text("data")
    done = service("uninstall", "--root", root, "--yes")
    assert done.returncode == 0
    assert "--purge removes it" in done.stdout
    assert not any(path.exists() for path in (layout.unit, layout.sysusers, layout.tmpfiles, layout.logrotate))
    assert (layout.state / "pollerd.db").read_text() == "data"
    assert layout.configuration.exists()

    done = service("uninstall", "--root", root, "--yes", "--purge")
    assert done.returncode == 0, done.stderr
    assert not layout.state.exists()
    assert not layout.settings.exists()
    assert "pollerd:" not in (root / "etc/passwd").read_text()
    assert service("uninstall", "--root", root, "--yes").stdout == "There is no service to remove.\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="asks what another user than root is told")
def test_only_root_may(root: Path) -> None:
    done = install(root, "--yes")
    assert (done.returncode, "needs root" in done.stderr) == (1, True)


@AS_ROOT
def test_a_program_that_the_sandbox_hides_is_refused(tmp_path: Path) -> None:
    done = service("install", "--dry-run", "--program", "/home/alice/.local/bin/pollerd")
    assert done.returncode == 1
    assert "write /etc/systemd/system/pollerd.service" in done.stdout or "the service is" in done.stdout
    assert "no access to /home/alice/.local/bin/pollerd" in done.stderr
    for way_out in ("--program", "/opt/pollerd"):
        assert way_out in done.stderr


def test_a_relative_program_is_wrong_usage(root: Path) -> None:
    assert service("install", "--root", root, "--program", "bin/pollerd").returncode == 2


def test_the_first_configuration_is_one(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(first_configuration())
    config = load(path, env={}, cwd=tmp_path)
    assert config.store.path == Path("/var/lib/pollerd/pollerd.db")
    assert config.outputs.file is not None
    assert config.outputs.file.path == Path("/var/lib/pollerd/events.ndjson")
    assert config.outputs.socket is not None
    assert config.outputs.socket.path == Path("/run/pollerd/events.sock")
    assert config.control.socket == Path("/run/pollerd/control.sock")
    assert config.outputs.webhook is None


@AS_ROOT
def test_what_differs_is_shown_before_it_is_replaced(root: Path) -> None:
    install(root, "--yes")
    layout = Layout(root)
    layout.unit.write_text(layout.unit.read_text().replace("WatchdogSec=30", "WatchdogSec=99"))
    said = install(root, "--dry-run").stdout
    assert "-WatchdogSec=99" in said
    assert "+WatchdogSec=30" in said
    assert "-ExecStart" not in said


@AS_ROOT
def test_the_packages_unit_is_left_alone(root: Path) -> None:
    unit = root / "usr/lib/systemd/system/pollerd.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\n")
    before = files(root)
    for command in ("install", "uninstall"):
        done = service(command, "--root", root, "--yes")
        assert done.returncode == 0
        assert "Debian package" in done.stdout
        assert files(root) == before


@AS_ROOT
def test_man_finds_the_page_and_uninstall_says_what_it_leaves(root: Path) -> None:
    install(root, "--yes")
    layout = Layout(root)
    page = root / "usr/local/share/man/man1/pollerd.1"
    assert page.read_text() == (SINGLE_SOURCE.parent / "docs/man/pollerd.1").read_text()
    own = layout.drop_in.parent / "override.conf"
    own.parent.mkdir(exist_ok=True)
    own.write_text("[Service]\n")
    said = service("uninstall", "--root", root, "--yes").stdout.partition("The service is gone. What is left:")[2]
    for left in ("/var/lib/pollerd", "/etc/pollerd", "the user pollerd", PROGRAM, "pollerd.service.d/override.conf"):
        assert left in said
    assert own.exists()
    assert not page.exists()


def test_the_same_program_by_another_path_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`/usr/local/bin/pollerd` of the README is a link to the program that the unit names."""
    link = tmp_path / "pollerd"
    link.symlink_to(COMMAND)
    unit = tmp_path / "pollerd.service"
    unit.write_text(f"[Service]\nExecStart={COMMAND} run -c /etc/pollerd/config.toml\n")
    monkeypatch.setattr(Layout, "unit", unit)
    assert _same(Layout(), link) == Path(COMMAND)
    assert _same(Layout(), Path("/bin/true")) == Path("/bin/true")
