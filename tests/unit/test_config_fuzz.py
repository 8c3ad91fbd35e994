"""Whatever stands in a configuration: it loads, or it is refused as a configuration."""

from __future__ import annotations

import contextlib
import math
import tempfile
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from pollerd.base.duration import parse_duration, render_duration
from pollerd.config import ConfigError, load
from pollerd.config.environment import LoadContext
from pollerd.config.loader import build
from pollerd.config.reader import Diagnostics
from pollerd.config.render import effective_toml
from tests.hypothesis_kit import examples

NAMES = [
    *("accounts", "limits", "backoff", "store", "outputs", "control", "credit", "log", "metrics", "web", "sources"),
    *("default", "file", "socket", "webhook", "routes", "exec", "sqlite", "path", "mode", "url", "command", "query"),
    *("auth", "token", "token_file", "token_env", "username", "password", "key", "secret", "base_url", "proxy"),
    *("max_connections", "timeout", "policy", "factor", "min_interval", "max_interval", "give_up_after", "level"),
    *("listen", "statement", "every", "warn_below", "account", "userref_prefix", "allow_remote", "ca_file"),
]
names = st.sampled_from(NAMES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.sampled_from(["2s", "basic", "oauth1", "http://[::1]:0", "https://a@b", "0660", "x", "~/y", "T", "[::1]:1"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=25,
)

documents = st.dictionaries(names, st.dictionaries(names, values, max_size=5) | values, max_size=6)


@examples(200)
@given(documents)
def test_a_document_is_read_or_refused_in_lines(document: dict[str, object]) -> None:
    diagnostics = Diagnostics("x.toml")
    config = build(document, LoadContext("x.toml", Path("/x"), {"T": "t", "HOME": "/h"}), diagnostics)
    for problem in diagnostics.finish():
        assert problem.key
        assert str(problem).isprintable()
    assert effective_toml(config)


@examples(100)
@given(documents.map(tomli_w.dumps).map(str.encode) | st.binary(max_size=200))
def test_a_file_loads_or_raises_a_config_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.toml"
        path.write_bytes(content)
        # Anything else that is raised fails the test.
        with contextlib.suppress(ConfigError):
            assert load(path, {}, Path(folder), secrets=True).source == str(path)


@given(st.integers(min_value=0, max_value=3650 * 86_400_000))
def test_a_rendered_duration_reads_as_the_same(milliseconds: int) -> None:
    assert math.isclose(parse_duration(render_duration(milliseconds / 1000)), milliseconds / 1000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("0s", 0.0),
        ("2s", 2.0),
        ("10m", 600.0),
        ("72h", 259200.0),
        ("30d", 2592000.0),
        ("1.5h", 5400.0),
    ],
)
def test_durations_and_their_shortest_text(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(render_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "2", "2 s", "-2s", "+2s", "1h30m", "2S", "1e3s", ".5s", "2s\n", "9" * 13 + "s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)
