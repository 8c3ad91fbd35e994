"""The status page of a whole daemon over plain HTTP: what it shows, whom it refuses, and that text stays text."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest

from pollerd.config import Listen
from pollerd.server.hosts import host_allowed
from pollerd.simulator import Step
from pollerd.store.postgresql.member import Member
from tests.acceptance.waiting import PATIENCE
from tests.integration.control_kit import Daemon, daemon
from tests.sqlite_kit import autocommit
from tests.store_database import StoreDatabase

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
OUTSIDE = ("http:", "https:", "//", "data:")


@dataclass
class Page(HTMLParser):
    """A page taken apart: its text, tags, links, and what it loads."""

    text: str = ""
    tags: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, body: str) -> Page:
        page = cls()
        HTMLParser.__init__(page)
        page.feed(body)
        page.close()
        assert page.open == [], "every element is closed"
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and tag != "a":
                self.loads.append(value or "")
            if name == "href" and tag == "a":
                self.links.append(value or "")
            if name.startswith("on") or name == "style":
                self.inline.append(name)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@dataclass(frozen=True)
class Web:
    """The page's address, and the daemon behind it."""

    url: str
    running: Daemon
    session: aiohttp.ClientSession

    async def get(self, path: str, *, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, headers=named) as response:
            return response.status, await response.text(), dict(response.headers)

    async def page(self, path: str) -> Page:
        status, body, _ = await self.get(path)
        assert status == 200, body
        return Page.of(body)


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@asynccontextmanager
async def web(folder: Path, more: str = "", store: str = "") -> AsyncIterator[Web]:
    port = free_port()
    async with (
        daemon(folder, more=f'[web]\nlisten = "127.0.0.1:{port}"\n{more}', store=store) as running,
        aiohttp.ClientSession() as session,
    ):
        yield Web(f"http://127.0.0.1:{port}", running, session)


async def hand_over(running: Daemon, *ids: int, userref: str | None = None) -> None:
    reply = await running.ask("POST", "/messages", {"ids": list(ids), "userref": userref})
    assert reply.json["tracked"] == len(ids)


async def test_the_page_shows_what_the_daemon_knows(tmp_path: Path) -> None:
    async with web(tmp_path) as site:
        await site.running.follow(*range(17, 27))
        await site.running.ended(*range(17, 27))
        site.running.simulator.truth.add(27, steps=[Step(0.0, "ENROUTE")])
        await hand_over(site.running, 27)
        page = await site.page("/")
        shown = ("The daemon runs", "keeps up", "Pending by age", "States reached", "Delivery by country")
        for text in (*shown, "Polls a second"):
            assert text in page.text
        assert page.tags.count("h1") == 1
        assert page.inline == []
        assert set(page.loads) == {"/static/style.css", "/static/icon.svg", "/static/page.js"}
        for path in page.loads:
            status, body, _ = await site.get(path)
            assert (status, bool(body)) == (200, True)
            assert "http" not in body.replace("http://www.w3.org/2000/svg", "")
        fragment = await site.page("/status")
        assert "html" not in fragment.tags
        assert "The daemon runs" in fragment.text


async def test_the_page_names_the_members_and_the_takeover(tmp_path: Path, store_database: StoreDatabase) -> None:
    more = '[cluster]\nname = "db2"\n'
    async with web(tmp_path, more, store_database.toml) as site:
        with Member.join(store_database.target(), "db3", daemon=True):
            store_database.query("UPDATE duties SET taken_from = 'db1', why = 'its lease ended 6 s ago', takeovers = 1")
            page = await site.page("/")
    assert "db2 took over from db1: its lease ended 6 s ago" in page.text
    assert "db2 polls" in page.text
    assert "db3 stands by" in page.text


async def test_without_a_script_the_page_loads_itself_again(tmp_path: Path) -> None:
    async with web(tmp_path) as site:
        _, body, _ = await site.get("/")
        noscript = body.partition("<noscript>")[2].partition("</noscript>")[0]
        assert 'http-equiv="refresh"' in noscript
        assert "http-equiv" not in (await site.get("/messages"))[1]


async def test_a_hold_says_since_when_and_what_to_do(tmp_path: Path) -> None:
    async with web(tmp_path) as site:
        site.running.simulator.faults.set("401")
        await hand_over(site.running, 17)
        async with asyncio.timeout(PATIENCE):
            while "To do:" not in (page := await site.page("/status")).text:
                await asyncio.sleep(0.1)
        assert "on hold: unauthorized" in page.text
        assert "pollerd doctor" in page.text


async def test_text_stays_text(tmp_path: Path) -> None:
    async with web(tmp_path) as site:
        await hand_over(site.running, 17, userref=EVIL)
        await site.running.ended(17)
        for path in ("/messages", "/messages/17", f"/messages?q={EVIL.replace('#', '')}", f"/messages?state={EVIL}"):
            _, body, _ = await site.get(path)
            page = Page.of(body)
            assert page.tags.count("script") == 0
            assert page.tags.count("img") == 0
            assert page.inline == []
        assert EVIL in (await site.page("/messages/17")).text


async def test_numbers_are_masked_unless_the_log_may_show_them(tmp_path: Path) -> None:
    for shown in (False, True):
        folder = tmp_path / str(shown)
        folder.mkdir()
        async with web(folder, f"[log]\nshow_msisdn = {str(shown).lower()}\n") as site:
            await hand_over(site.running, 17)
            await site.running.ended(17)
            number = str((await site.running.get("/messages/17")).json["recipients"][0]["msisdn"])
            for path in ("/messages", "/messages/17"):
                assert (number in (await site.page(path)).text) is shown
            assert "/messages/17" in (await site.page(f"/messages?q={number}")).links


async def test_messages_are_found_by_id_userref_and_number(tmp_path: Path) -> None:
    async with web(tmp_path) as site:
        await hand_over(site.running, 17, 18, userref="Order-4711")
        await hand_over(site.running, 19, userref="4711-b")
        await hand_over(site.running, 4711)

        async def found(path: str) -> list[str]:
            page = await site.page(path)
            return [link for link in page.links if link.startswith("/messages/")]

        assert await found("/messages?q=17") == ["/messages/17"]
        assert await found("/messages?q=order-47") == ["/messages/18", "/messages/17"]
        assert await found("/messages?q=4711") == ["/messages/4711", "/messages/19", "/messages/18", "/messages/17"]
        assert await found("/messages?q=%25") == []
        assert len(await found("/messages")) == 4
        await site.running.ended(17, 18, 19, 4711)
        assert len(await found("/messages?state=finished")) == 4
        assert await found("/messages?state=pending&q=4711") == []
        assert (await site.get("/messages?state=lost"))[0] == 400
        assert (await site.get("/messages?after=x"))[0] == 400
        assert (await site.get("/messages/18446744073709551616"))[0] == 404
        status, body, _ = await site.get("/messages/99")
        assert (status, "pollerd track 99" in body) == (404, True)


async def test_the_list_is_turned_page_by_page(tmp_path: Path) -> None:
    async with web(tmp_path) as site:
        await hand_over(site.running, *range(1, 121))
        for state in ("", "state=pending&", "q=x&"):
            seen: list[str] = []
            path: str | None = f"/messages?{state}"
            while path is not None:
                page = await site.page(path)
                seen += [link for link in page.links if link.startswith("/messages/")]
                path = next((link for link in page.links if "after=" in link), None)
                assert len(seen) <= 240
            assert (state == "q=x&") is (seen == [])
            if not state:
                assert len(seen) == len(set(seen)) == 120


async def test_one_messages_life_is_reported(tmp_path: Path) -> None:
    async with web(tmp_path) as site:
        await hand_over(site.running, 17)
        await site.running.ended(17)
        page = await site.page("/messages/17")
        for text in ("sent", "polled: ", "complete after", "Its life"):
            assert text in page.text


REFUSED = [
    ("another site's name", {"Host": "evil.example"}, 421),
    ("a name that begins like ours", {"Host": "localhost.evil.example"}, 421),
    ("an address that is not listened on", {"Host": "192.168.1.5:8787"}, 421),
    ("no name at all", {"Host": ""}, 421),
    ("another site's script", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("another port's script", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
]


@pytest.mark.parametrize(("sentence", "headers", "status"), REFUSED, ids=[case[0] for case in REFUSED])
async def test_who_is_refused(tmp_path: Path, sentence: str, headers: dict[str, str], status: int) -> None:
    async with web(tmp_path) as site:
        for path in ("/", "/status", "/messages", "/static/page.js", "/nothing"):
            found, body, _ = await site.get(path, **headers)
            assert found == status, sentence
            assert "The daemon runs" not in body


async def test_every_answer_carries_its_headers_and_only_reading_is_possible(tmp_path: Path) -> None:
    async with web(tmp_path) as site:
        for method, path, expected in [
            ("GET", "/", 200),
            ("HEAD", "/", 200),
            ("GET", "/nothing", 404),
            ("GET", "/messages/x", 404),
            ("POST", "/", 405),
            ("DELETE", "/messages/17", 405),
            ("OPTIONS", "/", 405),
        ]:
            status, _, headers = await site.get(path, method=method)
            assert status == expected, (method, path)
            assert headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in headers
        for headers in ({"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"}, {"Host": "LocalHost:9000"}):
            assert (await site.get("/", **headers))[0] == 200


@pytest.mark.parametrize(
    ("host", "listen", "allowed"),
    [
        ("localhost:8787", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.8.8.8:1", "127.0.0.1", True),
        ("[::1]:8787", "127.0.0.1", True),
        ("10.0.0.5", "127.0.0.1", False),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.6", "10.0.0.5", False),
        ("10.0.0.6:80", "0.0.0.0", True),
        ("[fe80::1]", "::", True),
        ("status.example", "0.0.0.0", False),
        ("status.example", "status.example", True),
        ("[::1", "127.0.0.1", False),
        ("localhost.", "127.0.0.1", False),
        ("", "0.0.0.0", False),
        ("a:b@localhost:1:2", "127.0.0.1", False),
    ],
)
def test_which_names_are_ours(host: str, listen: str, allowed: bool) -> None:
    assert host_allowed(host, Listen(listen, 8787)) is allowed


async def test_a_database_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    async with web(tmp_path) as site:
        with autocommit(site.running.database) as other:
            other.execute("UPDATE meta SET value = 99 WHERE name = 'readable_from'")
            other.execute("PRAGMA user_version = 99")
            status, body, _ = await site.get("/messages")
        assert status == 500
        assert "schema 99" in Page.of(body).text


async def test_what_waits_for_the_webhook_is_not_said_to_be_reported(tmp_path: Path) -> None:
    async with web(tmp_path, '[outputs.webhook]\nurl = "http://127.0.0.1:1/"\n') as site:
        await hand_over(site.running, 17)
        await site.running.ended(17)
        async with asyncio.timeout(PATIENCE):
            while "to be delivered" not in (page := await site.page("/")).text:
                await asyncio.sleep(0.05)
        # The file and the socket at most.
        assert page.text.count("all events delivered") <= 2
