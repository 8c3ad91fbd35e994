"""The first hour with the installed command: wrong folders and groups, a typo, a restart."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import sysconfig
import termios
from contextlib import suppress
from pathlib import Path

import pytest

import pollerd
from tests.acceptance.cli_kit import DEADLINE, Cli
from tests.acceptance.test_cli_daemon import daemon, gateway
from tests.acceptance.test_cli_other_user import Member, folder, made
from tests.acceptance.waiting import wait_for
from tests.sqlite_kit import transaction

pytestmark = pytest.mark.usefixtures("cold")

__all__ = ["folder"]

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give a folder away and drop its rights"
)


@as_root
def test_a_folder_that_may_not_be_searched_holds_no_configuration(tmp_path: Path) -> None:
    """As `sudo -u pollerd pollerd doctor` from root's home."""
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)
    os.chown(closed, 65534, 65534)
    cli = Cli(tmp_path)
    environment = {**cli.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    for command in (["config", "show"], ["check"], ["list"]):
        done = subprocess.run(
            ["setpriv", "--inh-caps=-all", "--bounding-set=-all", *cli.command(*command)],
            # The folder is entered with rights that the command itself has no more.
            cwd=closed,
            env={**environment, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert "pollerd.toml" not in done.stderr
        assert "may not be read" not in done.stderr


TYPOS = {
    "no TOML": ("[store]", "[store"),
    "a key": ("[store]", "[store]\npth = 1"),
    "a wrong value": ('base_url = "', 'base_url = "ftp://'),
    "a key twice": ("[store]", "[store]\npath = 'x'"),
}


@as_root
def test_a_typo_stops_nobody_while_the_daemon_runs(folder: Path) -> None:
    with gateway(folder, "--mix", "stuck=1") as url:
        cli = made(folder, url)
        sound = cli.config.read_text()
        with daemon(cli):
            for number, (typo, (old, new)) in enumerate(TYPOS.items(), 17):
                cli.config.write_text(sound.replace(old, new, 1))
                for user in (cli, Member(cli)):
                    done = user("track", str(number), "-c", str(cli.config))
                    assert done.code == 0, (typo, done.err)
                    assert "tracked" in done.text
                    assert f"warning: {cli.config}" in done.err
                    assert "pollerd check" in done.err
                assert cli("status", "--json").json["messages"]["pending"] == 1, typo
                assert cli("wait", str(number), "--timeout", "0").code == 4, typo
                for command in (["list"], ["events", "--after", "0"]):
                    assert cli(*command).code == 0, (typo, command)
                for request in ("show", "poll", "untrack"):
                    assert cli(request, str(number)).code == 0, (typo, request)
                assert cli("check").code == 78, typo
        for old, new in TYPOS.values():
            cli.config.write_text(sound.replace(old, new, 1))
            done = cli("track", "99")
            assert (done.code, done.out) == (78, b"")


@as_root
def test_a_member_of_the_group_notices_no_restart(folder: Path) -> None:
    with gateway(folder, "--mix", "stuck=1") as url:
        cli = made(folder, url)
        control, elsewhere = folder / "control.sock", folder / "next.sock"
        config = cli.config.read_text()
        cli.config.write_text(config.replace(control.name, elsewhere.name))
        # The next daemon is up already and takes the place of the one before: how long a start takes is no matter here.
        with daemon(cli):
            cli.config.write_text(config)
            command = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", *cli.command("track", "17")]
            # A daemon that goes away with the request in its hands: then it is certain that the command had to wait.
            going = socket.socket(socket.AF_UNIX)
            going.bind(str(control))
            going.listen()
            with subprocess.Popen(command, cwd=folder, env=cli.environment, stdout=subprocess.PIPE) as tracking:
                going.settimeout(DEADLINE)
                going.accept()[0].close()
                going.close()
                elsewhere.replace(control)
                out, _ = tracking.communicate(timeout=DEADLINE)
            assert (tracking.returncode, out) == (0, b"tracked 1.\n")


def test_hints_name_the_service_where_one_is_installed(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    assert "polling starts with: pollerd run" in cli("track", "17").text
    units = tmp_path / "units"
    units.mkdir()
    (units / "pollerd.service").write_text("[Service]\nExecStart=/opt/pollerd/bin/pollerd run\n")
    cli.environment["SYSTEMD_UNIT_PATH"] = str(units)
    assert "polling starts with: systemctl start pollerd" in cli("track", "18").text
    assert "systemctl start pollerd" in cli("status").text
    assert "systemctl start pollerd" in cli("wait", "18", "--timeout", "0").err


def test_status_ends_with_69_where_no_daemon_runs_and_says_all_the_same_what_it_knows(tmp_path: Path) -> None:
    with gateway(tmp_path, "--mix", "stuck=1") as url:
        cli = Cli(tmp_path, url)
        assert cli("track", "17").code == 0
        done = cli("status", "--json")
        assert (done.code, done.json["messages"]["pending"], done.json["daemon"]["running"]) == (69, 1, False)
        assert cli("status").code == 69
        with daemon(cli):
            assert cli("status").code == 0


def test_the_simulator_says_its_token(tmp_path: Path) -> None:
    with Cli(tmp_path).running("simulate", "--port", "0") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"http://")
        assert process.stdout.readline() == b"token: simulator-demo\n"


@as_root
def test_sql_before_the_first_start_is_explained_and_got_over(open_folder: Path) -> None:
    """As `sudo sqlite3 /var/lib/pollerd/pollerd.db "INSERT ..."`: refused, and an empty file of root is left."""
    cli = Cli(open_folder)
    cli.config.chmod(0o644)
    cli.database.parent.mkdir(mode=0o750)
    with suppress(sqlite3.OperationalError), transaction(cli.database) as database:
        database.execute("INSERT INTO messages (id) VALUES (17)")
    assert cli.database.stat().st_size == 0
    cli.database.chmod(0o644)
    os.chown(cli.database.parent, 65534, 65534)
    rights = [check for check in cli("doctor", "--json").json["checks"] if check["name"] == "rights"]
    assert [check["level"] for check in rights] == ["warning"]
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*user, *cli.command("run", "-c", str(cli.config))]
    with subprocess.Popen(command, cwd="/", env=cli.environment, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = b""
        while b"[started]" not in said:
            line = process.stderr.readline()
            assert line, said.decode()
            said += line
        process.terminate()
        assert process.wait(30) == 0
    assert b"belongs to another user" in said
    assert b"insert it again" in said
    assert cli.database.stat().st_uid == 65534
    # Where it cannot be got over, the step is said.
    for path in cli.database.parent.iterdir():
        path.unlink()
    cli.database.touch(0o644)
    os.chown(cli.database.parent, 0, 0)
    cli.database.parent.chmod(0o755)
    done = subprocess.run(command, cwd="/", env=cli.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"rm {cli.database}" in done.stderr


def test_a_credential_that_is_not_there_is_one_line_of_doctor(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    units = tmp_path / "units"
    units.mkdir()
    (units / "pollerd.service").write_text(
        f"[Service]\nExecStart={sys.executable} run -c {cli.config}\nLoadCredential=token-eu:{tmp_path}/token-eu\n"
        f"LoadCredential=token:{tmp_path}/token\nSetCredential=token:\\n\n"
    )
    cli.environment["SYSTEMD_UNIT_PATH"] = str(units)
    found = [
        check["evidence"] for check in cli("doctor", "--json").json["checks"] if "loads the cred" in check["evidence"]
    ]
    assert len(found) == 1
    assert f"loads the credential token-eu from {tmp_path}/token-eu, which does not exist" in found[0]


def test_the_systems_python_finds_the_client_as_the_page_says(tmp_path: Path) -> None:
    """By PYTHONPATH, without the environment that pollerd is installed in."""
    places = [sysconfig.get_path("purelib"), str(Path(pollerd.__file__).parents[1])]
    program = "import pollerd; pollerd.track(17); print(pollerd.__name__)"
    cli = Cli(tmp_path)
    environment = {**cli.environment, "PYTHONPATH": os.pathsep.join(places)}
    python = str(Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}"))
    done = subprocess.run(
        [python, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "pollerd\n"), done.stderr
    assert cli("show", "17").code == 0


def test_the_live_status_says_how_to_leave_and_fits_a_small_terminal(tmp_path: Path) -> None:
    with gateway(tmp_path, "--mix", "delivered=1") as url:
        cli = Cli(tmp_path, url)
        with daemon(cli):
            assert cli("track", *map(str, range(421332671, 421332701))).code == 0
            wait_for(lambda: cli("status", "--json").json["events"]["last_seq"] > 5)
            here, there = os.openpty()
            fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            environment = {key: value for key, value in cli.environment.items() if key not in ("COLUMNS", "LINES")}
            command = cli.command("status", "--watch")
            with subprocess.Popen(
                command, cwd=tmp_path, env={**environment, "TERM": "xterm"}, stdin=there, stdout=there, stderr=there
            ) as watching:
                os.close(there)
                shown = ""
                while "outputs" not in shown:
                    shown += os.read(here, 65536).decode()
                os.write(here, b"q")
                assert watching.wait(30) == 0
            os.close(here)
    lines = [line for line in re.sub(r"\x1b[\[(][0-9;?]*[A-Za-z]|\x1b.", "", shown).split("\n") if line.strip()]
    assert "q or Ctrl-C leaves" in lines[0]
    assert max(len(line.rstrip()) for line in lines) <= 80
