"""The control socket under generated requests: whatever is sent, `/openapi.json` says what comes back.

For every operation of the document, inputs are made from its own schemas, and inputs that no schema allows.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pollerd.server.api.openapi import document
from pollerd.simulator import Step
from tests.hypothesis_kit import examples
from tests.integration.control_kit import Daemon, Reply, daemon
from tests.integration.test_control import check

API = document("1")
OPERATIONS = [(method, path) for path, methods in sorted(API["paths"].items()) for method in sorted(methods)]
FINISHED, PENDING = 50, 51
Request = tuple[str, str, bytes | None, bool]
"""Method, path, body, and whether the document allows all of it."""

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def bounds(schema: dict[str, Any]) -> tuple[Any, Any]:
    """The least and the most that a number may be."""
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    least = schema["minimum"] if above is None else math.nextafter(above, math.inf)
    return least, schema["maximum"] if below is None else math.nextafter(below, -math.inf)


def allowed(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema of the document allows."""
    if "oneOf" in schema:
        return st.one_of([allowed(each) for each in schema["oneOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return st.one_of([allowed({**schema, "type": each}) for each in kind])
    made: dict[str, st.SearchStrategy[Any]] = {
        "integer": st.deferred(lambda: st.integers(*bounds(schema))),
        "number": st.deferred(lambda: st.floats(*bounds(schema), allow_nan=False)),
        "string": st.from_regex(schema["pattern"], fullmatch=True) if "pattern" in schema else plain,
        "array": st.deferred(lambda: st.lists(allowed(schema.get("items", {"type": "integer"})), max_size=5)),
        "object": st.fixed_dictionaries(
            {}, optional={name: allowed(each) for name, each in schema.get("properties", {}).items()}
        ),
    }
    return made[str(kind)]


@st.composite
def parameters(draw: st.DrawFn, method: str, path: str) -> tuple[dict[str, str], bool]:
    """A query, and whether the document allows it."""
    given, good = {}, True
    for each in API["paths"][path][method].get("parameters", []):
        name = each["name"]
        if each["in"] != "query" or draw(st.booleans()):
            continue
        if name == "follow":
            given[name] = draw(st.sampled_from(["0", "false"]))
        elif name == "wait" and draw(st.booleans()):
            # As long as the document allows is too long for a test.
            given[name] = draw(st.sampled_from(["0", "1"]))
        elif name == "wait":
            given[name], good = draw(plain.filter(lambda text: not text.isdigit())), False
        elif name == "after" and path == "/messages":
            # What a page gave, which no schema describes: any other is refused.
            given[name], good = draw(plain), False
        elif draw(st.integers(0, 3)):
            given[name] = str(draw(allowed(each["schema"])))
        else:
            given[name], good = draw(plain), False
    if not draw(st.integers(0, 4)):
        given[draw(st.text("abcxyz", min_size=1, max_size=5))], good = "1", False
    if path == "/personal-data" and len({"id", "msisdn"} & set(given)) != 1:
        # One of the two, which no schema of parameters can say.
        good = False
    return given, good


@st.composite
def requests(draw: st.DrawFn) -> Request:
    method, path = draw(st.sampled_from(OPERATIONS))
    query, good = draw(parameters(method, path))
    place = path
    if "{id}" in path:
        known = st.sampled_from([FINISHED, PENDING]).map(str)
        other = st.integers(1, 2**63 - 1).map(str)
        wrong = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=12)
        kind = draw(st.sampled_from([known, known, other, wrong.filter(lambda text: text not in (".", ".."))]))
        place = path.replace("{id}", quote(draw(kind), safe=""))
    body = None
    if "requestBody" in API["paths"][path][method]:
        schema = API["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
        as_documented = draw(st.booleans())
        good = good and as_documented
        json_body = (allowed(schema) if as_documented else anything).map(lambda value: json.dumps(value).encode())
        body = draw(json_body if as_documented else json_body | st.binary(max_size=30))
    return method.upper(), f"{place}?{urlencode(query)}" if query else place, body, good


async def test_whatever_is_asked_is_answered_as_the_document_says(tmp_path: Path) -> None:
    seen: set[tuple[str, int]] = set()
    async with daemon(tmp_path) as running:
        running.simulator.truth.add(FINISHED, steps=[Step(0.0, "DELIVERED")])
        running.simulator.truth.add(PENDING, steps=[Step(1e9, "DELIVERED")])
        await running.ask("POST", "/messages", {"ids": [FINISHED, PENDING]})
        await running.ended(FINISHED)
        loop = asyncio.get_running_loop()

        @settings(examples(300), database=None, suppress_health_check=list(HealthCheck))
        @given(requests())
        @example(("GET", f"/messages/{FINISHED + PENDING}", None, True))
        @example(("GET", "/messages", None, True))
        @example(("POST", "/messages", b'{"ids": [7]}', True))
        @example(("POST", "/messages", b'{"ids": ["x"]}', False))
        @example(("POST", "/messages", b"[", False))
        @example(("GET", f"/events?after={2**63 - 1}", None, True))
        @example(("GET", f"/events?after={2**63}", None, False))
        def property_holds(request: Request) -> None:
            method, path, body, good = request
            reply = asyncio.run_coroutine_threadsafe(running.ask(method, path, body), loop).result(60)
            judge(method, path, reply, good=good)
            seen.add((method, reply.status))

        await asyncio.to_thread(property_holds)
        assert await alive(running)
    assert {("POST", 200), ("POST", 400), ("POST", 422), ("GET", 200), ("GET", 400), ("GET", 404)} <= seen


def numbers(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a schema says of numbers, wherever they stand."""
    kinds = schema.get("type", [])
    if {"integer", "number"} & {*([kinds] if isinstance(kinds, str) else kinds)}:
        yield schema
    for each in schema.get("oneOf", []):
        yield from numbers(each)


def with_field(name: str, value: float) -> object:
    """A message handed over, with a value for one of its fields."""
    return {"id": 7, name: value}


async def test_the_bounds_of_every_number_are_those_of_the_check(tmp_path: Path) -> None:
    """The least and the most that the document names are taken, what is just beyond is refused."""
    body = API["paths"]["/messages"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fields: list[tuple[Callable[[float], object], dict[str, Any]]] = [
        (partial(with_field, name), schema) for name, each in body["properties"].items() for schema in numbers(each)
    ]
    fields += [
        (lambda value: {"ids": [value]}, body["properties"]["ids"]["items"]),
        (lambda value: [value], body["items"]),
    ]
    queries = [
        (method.upper(), f"{path.replace('{id}', str(FINISHED))}?{each['name']}=", schema)
        for method, path in OPERATIONS
        for each in API["paths"][path][method].get("parameters", [])
        if each["in"] == "query"
        for schema in numbers(each["schema"])
    ]
    assert (len(fields), len(queries)) == (6, 9)
    async with daemon(tmp_path) as running:
        running.simulator.truth.add(FINISHED, steps=[Step(0.0, "DELIVERED")])
        await running.ask("POST", "/messages", {"ids": [FINISHED]})
        await running.ended(FINISHED)

        async def taken(method: str, place: str, made: Any, value: float) -> bool:
            reply = await running.ask(method, place if made else f"{place}{value}", made(value) if made else None)
            assert check(method, place, reply).status in (200, 400, 422), reply
            return reply.status == 200

        for method, place, made, schema in [
            *(("POST", "/messages", made, schema) for made, schema in fields),
            *((method, place, None, schema) for method, place, schema in queries),
        ]:
            least, most = bounds(schema)
            whole = isinstance(least, int) and isinstance(most, int)
            under, over = (least - 1, most + 1) if whole else (least - 1.0, most + math.ulp(most))
            found = [await taken(method, place, made, value) for value in (least, most, under, over)]
            assert found == [True, True, False, False], (method, place, schema)


def judge(method: str, path: str, reply: Reply, *, good: bool) -> None:
    check(method, path, reply)
    assert reply.status < 500, (method, path, reply)
    if good and "/messages/" not in path:
        assert reply.status != 400, ("the document allows it", method, path, reply)


async def alive(running: Daemon) -> bool:
    return (await running.get("/healthz")).status == 200
