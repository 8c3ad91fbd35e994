"""What is around every page."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from pollerd.server.pages.html import Html, Part, tag

_EVERY: Final = "5"
"""Seconds after which a browser without JavaScript loads the status anew."""
_LINKS: Final = (("/", "Status"), ("/messages", "Messages"))


def frame(title: str, content: Part, *, live: bool = False) -> Html:
    """A whole document. `live`: its main part is brought up to date in place."""
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} - pollerd"),
        tag("link", rel="stylesheet", href="/static/style.css"),
        tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
    ]
    if live:
        head.append(tag("noscript", tag("meta", http_equiv="refresh", content=_EVERY)))
        head.append(tag("script", src="/static/page.js", defer=""))
    links = [
        tag("a", name, href=href, aria_current="page" if name == title else None, class_="place")
        for href, name in _LINKS
    ]
    search = tag(
        "form",
        tag("label", "Find", for_="find", class_="unseen"),
        tag("input", type="search", name="q", id="find", placeholder="id, userref or number"),
        tag("button", "Find"),
        action="/messages",
        role="search",
    )
    top = tag("header", tag("a", "pollerd", href="/", class_="name"), tag("nav", links, aria_label="Pages"), search)
    main = tag("main", content, id="main", data_live="/status" if live else None)
    foot = tag("p", "", id="age", class_="dim", aria_live="off") if live else None
    page = tag("html", tag("head", head), tag("body", top, main, tag("footer", foot)), lang="en")
    return Html(f"<!DOCTYPE html>\n{page}\n")


def problem(status: int, text: str) -> Html:
    """The page of an error."""
    try:
        name = HTTPStatus(status).phrase
    except ValueError:
        name = "Error"
    return frame(name, [tag("h1", f"{status} {name}"), tag("p", text)])
