"""Query parameters: taken as documented, everything else refused by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final, TypeVar

from aiohttp import web

from pollerd.core.ids import IdError, parse_id
from pollerd.server.refusals import RequestError

T = TypeVar("T")
_FLAGS: Final = {"1": True, "true": True, "0": False, "false": False}


def only(request: web.Request, *known: str) -> None:
    """Refuse unknown parameters, and those given twice."""
    for name in request.query:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known) or 'none'} here"
            raise bad(f"the parameter {name!r} is not known; {hint}")
        if len(request.query.getall(name)) > 1:
            raise bad(f"the parameter {name!r} is given more than once")


def number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number."""
    text = request.query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    raise bad(f"{name}={text!r} is not possible; give a whole number from {least} to {most}")


def flag(request: web.Request, name: str) -> bool:
    """1 or 0, true or false; not given: 0."""
    return choice(request, name, _FLAGS) or False


def choice(request: web.Request, name: str, choices: Mapping[str, T]) -> T | None:
    """One of several words; None when not given."""
    text = request.query.get(name)
    if text is None:
        return None
    if text not in choices:
        raise bad(f"{name}={text!r} is not possible; give one of {', '.join(choices)}")
    return choices[text]


def message_id(text: str, name: str = "the id") -> int:
    """A message id. Raises RequestError with the reason why it is none."""
    try:
        return parse_id(text)
    except IdError as error:
        raise bad(f"{name} {text[:40]!r} {error}") from None


def bad(message: str) -> RequestError:
    """400 for a query or an id."""
    return RequestError(400, "bad_query", message)
