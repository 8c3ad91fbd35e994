"""What the doctor makes of what it reads: certificates, unit files, logrotate's rules, file systems, unit states."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from pollerd.config import Config, ControlConfig, FileOutputConfig, OutputsConfig, StoreConfig
from pollerd.deployment.doctor import certificate, daemon, database, descriptors, disk, rotation, systemd
from pollerd.deployment.doctor.check import Level
from pollerd.deployment.doctor.unit import Unit

EVENTS = Path("/var/lib/pollerd/events.ndjson")


def der(pem: trustme.Blob) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.bytes().decode())


# -- certificates


def test_a_certificate_shows_its_names_and_its_time() -> None:
    until = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    authority = trustme.CA(organization_name="Corp Proxy Ltd", organization_unit_name="Sécurité")
    issued = authority.issue_cert(
        "gatewayapi.com", common_name="gatewayapi.com", organization_name="Their Name", not_after=until
    )
    found = certificate.read(der(issued.cert_chain_pems[0]))
    assert found.subject.startswith("CN=gatewayapi.com, O=Their Name")
    assert found.issuer == "O=Corp Proxy Ltd, OU=Sécurité"
    assert found.not_after == until.timestamp()
    assert found.not_before < found.not_after
    assert not found.self_signed
    assert certificate.read(der(authority.cert_pem)).self_signed


def test_a_date_beyond_2049_is_written_in_another_form() -> None:
    until = datetime(2055, 1, 2, tzinfo=UTC)
    issued = trustme.CA().issue_cert("host.example", not_after=until)
    assert certificate.read(der(issued.cert_chain_pems[0])).not_after == until.timestamp()


@pytest.mark.parametrize("data", [b"", b"x", b"\x30\x03\x02\x01\x01", b"\x30\x82\xff\xff\x00", os.urandom(200)])
def test_what_is_no_certificate_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several texts, one meaning
        certificate.read(data)


# -- the unit


def test_a_unit_with_its_drop_ins(tmp_path: Path) -> None:
    etc, lib = tmp_path / "etc", tmp_path / "lib"
    (etc / "pollerd.service.d").mkdir(parents=True)
    lib.mkdir()
    (lib / "pollerd.service").write_text(
        "[Service]\n# ExecStart=/no\nExecStart=/opt/pollerd/bin/pollerd run \\\n  -c /etc/pollerd/config.toml\n"
        "LoadCredential=token:/etc/pollerd/token\nStateDirectory=pollerd\nRuntimeDirectory=pollerd\n"
        "ProtectSystem=strict\n"
    )
    (etc / "pollerd.service.d" / "override.conf").write_text(
        "[Service]\nLoadCredential=\nLoadCredential=password:/etc/pollerd/password\nReadWritePaths=/srv/sms\n"
    )
    unit = Unit.find([etc, lib])
    assert unit is not None
    assert unit.configuration == Path("/etc/pollerd/config.toml")
    assert unit.program == "/opt/pollerd/bin/pollerd"
    assert dict(unit.credentials) == {"password": Path("/etc/pollerd/password")}
    assert set(unit.writable) == {Path("/var/lib/pollerd"), Path("/run/pollerd"), Path("/srv/sms")}
    assert unit.strict


def test_no_unit_is_no_unit(tmp_path: Path) -> None:
    assert Unit.find([tmp_path]) is None


def test_an_output_that_the_sandbox_closes_is_named(tmp_path: Path) -> None:
    unit = Unit(
        tmp_path / "pollerd.service",
        {"ExecStart": ("/bin/sh run",), "ProtectSystem": ("strict",), "StateDirectory": ("pollerd",)},
    )
    config = Config(
        accounts={},
        store=StoreConfig(Path("/var/lib/pollerd/pollerd.db")),
        outputs=OutputsConfig(file=FileOutputConfig(Path("/srv/sms/events.ndjson"))),
        control=ControlConfig(None),
    )
    failures = [check for check in systemd.checks(config, unit) if check.level is Level.FAILURE]
    assert ["ReadWritePaths=/srv/sms" in check.next_step for check in failures] == [True]


@pytest.mark.parametrize(
    ("settings", "level", "says"),
    [
        ({"LimitNOFILE": ("65536",)}, "ok", "65536 files"),
        ({"LimitNOFILE": ("65536", "256:512")}, "warning", "512 files"),
        ({"LimitNOFILE": ("infinity",)}, "ok", "any number"),
        ({"LimitNOFILE": ("64",)}, "failure", "64 files"),
        ({"LimitNOFILE": ("many",)}, "", "a daemon started from here"),
        ({}, "", "a daemon started from here"),
    ],
)
def test_the_limit_of_open_files_is_the_units_where_no_daemon_runs(
    tmp_path: Path, settings: dict[str, tuple[str, ...]], level: str, says: str
) -> None:
    config = Config(
        accounts={},
        store=StoreConfig(tmp_path / "pollerd.db"),
        outputs=OutputsConfig(),
        control=ControlConfig(tmp_path / "control.sock"),
    )
    (found,) = descriptors.checks(config, Unit(tmp_path / "pollerd.service", settings))
    assert level in ("", found.level.value)
    assert says in found.evidence


@pytest.mark.parametrize(
    ("shown", "level", "says"),
    [
        (
            {"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "NRestarts": "0"},
            "ok",
            "active",
        ),
        ({"ActiveState": "active", "SubState": "running", "UnitFileState": "disabled"}, "warning", "reboot"),
        (
            {"ActiveState": "active", "SubState": "running", "UnitFileState": "enabled", "NRestarts": "3"},
            "warning",
            "3 restarts",
        ),
        ({"ActiveState": "inactive", "SubState": "dead"}, "warning", "inactive"),
        ({"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78"}, "failure", "bad configuration"),
        ({"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "9"}, "failure", "9 restarts"),
        ({"LoadState": "not-found"}, "warning", "does not know"),
    ],
)
def test_the_state_of_the_unit(shown: dict[str, str], level: str, says: str) -> None:
    found = systemd.judge(shown)
    assert (found.level.value, says in found.evidence) == (level, True)


@pytest.mark.parametrize(("state", "command"), [("enabled", "start"), ("disabled", "enable --now")])
def test_a_unit_that_no_boot_starts_is_to_be_enabled(state: str, command: str) -> None:
    found = systemd.judge({"ActiveState": "inactive", "SubState": "dead", "UnitFileState": state})
    assert found.next_step == f"run: systemctl {command} pollerd"


# -- rotation


@pytest.mark.parametrize(
    ("rule", "level"),
    [
        (f"{EVENTS} {{\n weekly\n create 0640 pollerd pollerd\n}}\n", "ok"),
        ('weekly\n"/var/lib/pollerd/*.ndjson" /var/log/other {\n daily\n}\n', "ok"),
        (f"{EVENTS} {{\n compress\n delaycompress\n}}\n", "ok"),
        (f"{EVENTS} {{\n compress\n}}\n", "failure"),
        (f"compress\n{EVENTS} {{\n daily\n}}\n", "failure"),
        (f"compress\n{EVENTS} {{\n nocompress\n}}\n", "ok"),
        (f"compress\ndelaycompress\n/var/log/other {{\n}}\n{EVENTS} {{\n}}\n", "ok"),
        (f"compress\ndelaycompress\n{EVENTS} {{\n nodelaycompress\n}}\n", "failure"),
        (f"/var/log/other {{\n compress\n}}\n{EVENTS} {{\n}}\n", "ok"),
        (f"{EVENTS} {{\n postrotate\n compress ${{HOME}}\n endscript\n}}\n", "ok"),
        (f"{EVENTS} {{\n renamecopy\n}}\n", "failure"),
        (f"{EVENTS} {{\n weekly\n copytruncate\n}}\n", "failure"),
        (f"{EVENTS} {{\n weekly\n # copytruncate\n}}\n", "ok"),
        (f"{EVENTS} {{\n copy\n}}\n", "warning"),
        ("/var/log/other {\n weekly\n}\n", "warning"),
        (f"# {EVENTS} {{ }}\n", "warning"),
        ("", "warning"),
    ],
)
def test_the_rule_for_the_event_file(tmp_path: Path, rule: str, level: str) -> None:
    (tmp_path / "pollerd").write_text(rule)
    config = Config(
        accounts={},
        store=StoreConfig(Path("/var/lib/pollerd/pollerd.db")),
        outputs=OutputsConfig(file=FileOutputConfig(EVENTS)),
        control=ControlConfig(None),
    )
    first, *_ = rotation.checks(config, tmp_path, tmp_path / "none")
    assert first.level.value == level


def test_what_stands_outside_of_braces_holds_for_the_files_read_later(tmp_path: Path) -> None:
    main = tmp_path / "logrotate.conf"
    main.write_text("weekly\ncompress\ninclude /etc/logrotate.d\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "pollerd").write_text(f"{EVENTS} {{\n daily\n}}\n")
    config = Config(
        accounts={},
        store=StoreConfig(Path("/var/lib/pollerd/pollerd.db")),
        outputs=OutputsConfig(file=FileOutputConfig(EVENTS)),
        control=ControlConfig(None),
    )
    first, *_ = rotation.checks(config, tmp_path / "d", main)
    assert first.level is Level.FAILURE
    assert "delaycompress" in first.next_step


def test_our_own_snippet_is_found_and_good(tmp_path: Path) -> None:
    snippet = Path(__file__).parents[2] / "systemd" / "pollerd.logrotate"
    (tmp_path / "pollerd").write_text(snippet.read_text())
    (rule,) = rotation.rules_for(EVENTS, [tmp_path / "pollerd"])
    assert {"create", "su", "compress"} <= rule.words
    assert "copytruncate" not in rule.words


# -- SQLite


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("3.7.17", "warning"),
        ("3.40.1", "warning"),
        ("3.44.5", "warning"),
        ("3.44.6", "ok"),
        ("3.45.0", "warning"),
        ("3.50.6", "warning"),
        ("3.50.7", "ok"),
        ("3.51.2", "warning"),
        ("3.51.3", "ok"),
        ("3.52.0", "ok"),
        ("4.0.0", "ok"),
    ],
)
def test_a_sqlite_that_may_damage_a_database_is_named(version: str, level: str) -> None:
    major, minor, patch = map(int, version.split("."))
    found = database.sqlite((major, minor, patch))
    assert found.level.value == level
    assert version in found.evidence
    assert level == "ok" or "wal_autocheckpoint" in found.next_step


# -- disks


def statvfs(free: int, total: int, *, inodes: int = 1000, flag: int = 0) -> os.statvfs_result:
    return os.statvfs_result((1, 1, total, free, free, 1000, inodes, inodes, flag, 255))


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (statvfs(80 * 1024**3, 200 * 1024**3), "ok"),
        (statvfs(900 * 1024**2, 2 * 1024**3), "warning"),
        (statvfs(5 * 1024**3, 100 * 1024**3), "warning"),
        (statvfs(99 * 1024**2, 100 * 1024**2), "failure"),
        (statvfs(80 * 1024**3, 200 * 1024**3, inodes=0), "failure"),
        (statvfs(80 * 1024**3, 200 * 1024**3, flag=os.ST_RDONLY), "failure"),
    ],
)
def test_room(found: os.statvfs_result, level: str) -> None:
    assert disk.judge(Path("/var/lib/pollerd"), "the database", found).level.value == level


def test_health_is_told_in_words() -> None:
    refused = {"error": {"reason": "stuck", "message": "nothing was written to the database for 200 s."}}
    assert daemon.unhealthy(503, refused) == "nothing was written to the database for 200 s"
    assert daemon.unhealthy(503, {}) == "healthz answers 503"
