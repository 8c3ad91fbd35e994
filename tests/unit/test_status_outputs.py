"""How far an output is said to have delivered the events."""

from __future__ import annotations

import pytest

from pollerd.status import sentences
from pollerd.status.document import OutputDocument

PATH = "sqlite /srv/shop.db"
CASES = [
    ("all is told", "file", 0, (0, 0), "all events delivered", "good"),
    ("what waits is not told", "webhook", 0, (20_000, 0), "20,000 wait to be delivered", "warn"),
    ("one waits", "webhook", 0, (1, 0), "1 waits to be delivered", "warn"),
    ("the count ends somewhere", "webhook", 0, (100_000, 0), "100,000 wait to be delivered", "warn"),
    ("both are said", "webhook", 2, (5, 0), "2 events behind, for 1 min; 5 wait to be delivered", "warn"),
    ("what is parked needs somebody", "webhook", 0, (0, 3), "post again with pollerd retry --webhook", "bad"),
    ("a database is written", PATH, 0, (2, 0), "2 wait to be written", "warn"),
    ("a parked row, too", PATH, 0, (2, 1), "events --undelivered, write again with pollerd retry --undelivered", "bad"),
]


@pytest.mark.parametrize(("sentence", "name", "lag", "kept", "text", "tone"), CASES, ids=[case[0] for case in CASES])
def test_what_an_output_has_delivered(
    sentence: str, name: str, lag: int, kept: tuple[int, int], text: str, tone: str
) -> None:
    since = "1970-01-01T00:00:40.000Z" if lag else None
    output = OutputDocument(
        name=name,
        seq=9,
        lag=lag,
        behind_since=since,
        readers=None,
        trouble=None,
        waiting=kept[0],
        parked=kept[1],
    )
    said = sentences.delivered(output, 100.0)
    assert said.text.endswith(text), sentence
    assert said.tone == tone, sentence
