"""How many events make a batch, and what a program's environment does not have."""

from __future__ import annotations

import pytest

from pollerd.core.event import Event
from pollerd.outputs.exec import MOST_BYTES, clean_environment, portion


def events(*sizes: int) -> list[Event]:
    """Events whose lines have these sizes."""
    return [Event(n, "x", None, b"{" + b"x" * (size - len(b'{"seq":1,\n'))) for n, size in enumerate(sizes, 1)]


@pytest.mark.parametrize(
    ("sentence", "sizes", "taken"),
    [
        ("small events go together", (100, 100, 100), 3),
        ("what would pass the limit is left for the next batch", (MOST_BYTES - 100, 100, 100), 2),
        ("an event larger than the limit goes alone", (MOST_BYTES + 1, 100), 1),
        ("nothing is no batch", (), 0),
    ],
)
def test_batch(sentence: str, sizes: tuple[int, ...], taken: int) -> None:
    found = portion(events(*sizes))
    assert [event.seq for event in found] == list(range(1, taken + 1)), sentence


def test_the_environment_has_no_secrets() -> None:
    given = {"PATH": "/bin", "GATEWAYAPI_TOKEN": "t", "CREDENTIALS_DIRECTORY": "/c", "MY_TOKEN": "t", "HOME": "/h"}
    assert clean_environment(given, ["MY_TOKEN"]) == {"PATH": "/bin", "HOME": "/h"}


@pytest.mark.parametrize(
    ("sentence", "name", "value", "kept"),
    [
        ("a proxy without credentials is needed", "HTTPS_PROXY", "http://proxy:3128", True),
        ("one with credentials is not for others", "HTTPS_PROXY", "http://bob:pass@proxy:3128", False),
        ("in small letters neither", "https_proxy", "http://bob:pass@proxy:3128", False),
        ("nor without a scheme", "ALL_PROXY", "bob:pass@proxy:3128", False),
        ("what is no proxy may hold an @", "MAILTO", "bob@example.org", True),
        ("a variable of any name that holds a secret goes", "COPY", "Token the-secret", False),
        ("a secret too short to be told from a word hides nothing", "WORD", "abc", True),
    ],
)
def test_the_environment_by_what_is_in_it(sentence: str, name: str, value: str, kept: bool) -> None:
    found = clean_environment({name: value}, [], ["the-secret", "abc"])
    assert found == ({name: value} if kept else {}), sentence
