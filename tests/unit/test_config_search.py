"""Where the configuration is searched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollerd.config import BUILT_IN, ConfigError, load


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user whom file rights bind, as they do not bind root."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.geteuid()
        if before == 0:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if before == 0:
                os.seteuid(0)


def write(path: Path, level: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[log]\nlevel = "{level}"\n', encoding="utf-8")
    return path


def test_the_order_is_argument_variable_folder_system_defaults(tmp_path: Path) -> None:
    given = write(tmp_path / "given.toml", "debug")
    named = write(tmp_path / "named.toml", "info")
    local = write(tmp_path / "here" / "pollerd.toml", "warning")
    system = write(tmp_path / "etc" / "config.toml", "error")
    env = {"POLLERD_CONFIG": str(named)}
    here, elsewhere = local.parent, tmp_path / "etc"

    assert load(given, env, here, system=system).source == str(given)
    assert load(None, env, here, system=system).source == str(named)
    assert load(None, {"POLLERD_CONFIG": ""}, here, system=system).source == str(local)
    assert load(None, {}, elsewhere, system=system).source == str(system)
    assert load(None, {}, elsewhere, system=tmp_path / "none").source == BUILT_IN
    assert load(None, {}, elsewhere, system=given / "below-a-file").source == BUILT_IN


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_named_file_must_exist(tmp_path: Path, by_variable: bool) -> None:
    missing = tmp_path / "missing.toml"
    env = {"POLLERD_CONFIG": str(missing)} if by_variable else {}
    with pytest.raises(ConfigError) as caught:
        load(None if by_variable else missing, env, tmp_path, system=tmp_path / "none")
    (problem,) = caught.value.problems
    assert problem.file == str(missing)
    assert "does not exist" in problem.expected
    assert ("$POLLERD_CONFIG" in problem.expected) is by_variable


def test_a_relative_name_starts_at_the_current_folder(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.toml", "debug")
    config = load(Path("a/x.toml"), {}, tmp_path)
    assert config.log.level == "debug"
    assert config.source == str(tmp_path / "a" / "x.toml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[log]\n# \xff\n", ":2: is not UTF-8 text here"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"9" * 5000, "too many digits"),
        (b"# " + b"x" * 1024 * 1024, "larger than 1 MiB"),
    ],
    ids=["not UTF-8", "nested too deeply", "a number without end", "a file without end"],
)
def test_a_file_that_no_reader_can_take_is_one_problem(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {}, tmp_path)
    (problem,) = caught.value.problems
    assert words in str(problem)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[outputs.file]\n[outputs.file]\n", "[outputs.file] is there twice"),
        ("[log]\n[log]\n", "[log] is there twice"),
        ("outputs = {}\noutputs.file = {}\n", "[outputs] is there already"),
        ("[log]\nlevel = 'info'\nlevel = 'info'\n", "a key is there twice"),
    ],
)
def test_a_table_that_is_there_twice_is_named_as_it_is_written(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "pollerd.toml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {}, tmp_path)
    assert words in str(caught.value)
    assert "('" not in str(caught.value)


def test_a_byte_order_mark_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b'\xef\xbb\xbf[log]\nlevel = "debug"\n')
    assert load(path, {}, tmp_path).log.level == "debug"


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {}, tmp_path)


def test_a_file_that_may_not_be_read_is_not_passed_over(unprivileged: Path) -> None:
    system = write(unprivileged / "etc" / "config.toml", "error")
    system.chmod(0)
    with pytest.raises(ConfigError, match="may not be read") as caught:
        load(None, {}, unprivileged, system=system)
    assert caught.value.problems[0].file == str(system)


def test_a_folder_that_may_not_be_entered_is_not_passed_over(unprivileged: Path) -> None:
    system = write(unprivileged / "etc" / "config.toml", "error")
    system.parent.chmod(0)
    try:
        with pytest.raises(ConfigError, match="may not be read"):
            load(None, {}, unprivileged, system=system)
    finally:
        system.parent.chmod(0o700)
