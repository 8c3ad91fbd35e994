"""What a database says of an incoming message that it refuses never shows the message's text."""

from __future__ import annotations

import pytest

from pollerd.core import event as events
from pollerd.core.incoming import IncomingMessage, reported
from pollerd.outputs.target.quoted import without_quoted_text


def said(words: str, text: str | None) -> str:
    body = events.encode(reported("default", IncomingMessage(1, text=text), events.instant(0.0)))
    return without_quoted_text(words, events.MESSAGE_RECEIVED, body)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ('invalid input syntax for type integer: "SECRET"', "SECRET"),
        ('invalid input syntax for type integer: "SECRET', "SECRET\nmore of it"),
        ('invalid input syntax for type integer: "a "SECRET" b"', 'a "SECRET" b'),
        ("Incorrect integer value: 'SECRET \\xF0\\x9F' for column `shop`.`inbox`.`vote` at row 1", "SECRET \U0001f44d"),
        ("Incorrect integer value: 'it's SECRET' for column `shop`.`inbox`.`vote` at row 1", "it's SECRET"),
        ("Duplicate entry 'secret' for key 'vote'", "SECRET"),
        ("not taken: a long SECRET thing that is cut", "a long SECRET thing that is cut short by somebody"),
    ],
)
def test_a_refusal_does_not_quote_the_text(words: str, text: str) -> None:
    left = said(words, text)
    assert "secret" not in left.lower()
    assert "\\xF0" not in left
    assert left.startswith(words[:8])
    assert "not shown" in left


@pytest.mark.parametrize(
    "words", ['null value in column "vote" of relation "inbox" violates not-null constraint', "disk full"]
)
def test_names_stay(words: str) -> None:
    assert said(words, "yes, please") == words


def test_what_is_no_text_stays() -> None:
    words = 'invalid input syntax for type integer: "4587654321"'
    assert without_quoted_text(words, events.MESSAGE_STATUS, b'{"id": 1}') == words
    assert said(words, None) == words
