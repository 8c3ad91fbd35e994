"""The first hour with the installed command: wrong folders and groups, a typo, a restart."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.cli_kit import DEADLINE, Cli
from tests.acceptance.test_cli_daemon import daemon, gateway
from tests.acceptance.test_cli_other_user import Member, folder, made
from tests.acceptance.waiting import listening

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
@pytest.mark.parametrize("typo", TYPOS)
def test_a_typo_stops_nobody_while_the_daemon_runs(folder: Path, typo: str) -> None:
    with gateway(folder, "--mix", "stuck=1") as url:
        cli = made(folder, url)
        with daemon(cli):
            old, new = TYPOS[typo]
            cli.config.write_text(cli.config.read_text().replace(old, new, 1))
            for user in (cli, Member(cli)):
                done = user("track", "17", "-c", str(cli.config))
                assert done.code == 0, done.err
                assert "tracked" in done.text
                assert f"warning: {cli.config}" in done.err
                assert "pollerd check" in done.err
            assert cli("status", "--json").json["messages"]["pending"] == 1
            assert cli("wait", "17", "--timeout", "0").code == 4
            for command in (["list"], ["show", "17"], ["events", "--after", "0"], ["poll", "17"], ["untrack", "17"]):
                assert cli(*command).code == 0, command
            assert cli("check").code == 78
        done = cli("track", "18")
        assert (done.code, done.out) == (78, b"")


@as_root
def test_a_member_of_the_group_notices_no_restart(folder: Path) -> None:
    with gateway(folder, "--mix", "stuck=1") as url:
        cli = made(folder, url)
        with daemon(cli) as first:
            first.send_signal(signal.SIGTERM)
            first.wait(30)
            assert not listening(folder / "control.sock")
            command = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", *cli.command("track", "17")]
            with subprocess.Popen(command, cwd=folder, env=cli.environment, stdout=subprocess.PIPE) as tracking:
                with daemon(cli):
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
