"""How many events make a batch, and what a program's environment does not have."""

from __future__ import annotations

import pytest

from pollerd.event import Event
from pollerd.outputs.exec import MOST_BYTES, batch, clean_environment


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
    found = batch(events(*sizes))
    assert [event.seq for event in found] == list(range(1, taken + 1)), sentence


def test_the_environment_has_no_secrets() -> None:
    given = {"PATH": "/bin", "GATEWAYAPI_TOKEN": "t", "CREDENTIALS_DIRECTORY": "/c", "MY_TOKEN": "t", "HOME": "/h"}
    assert clean_environment(given, ["MY_TOKEN"]) == {"PATH": "/bin", "HOME": "/h"}
