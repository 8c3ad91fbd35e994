"""The documentation names what the code has, and nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click

from pollerd.base import errors
from pollerd.cli import EX_CONFIG, EX_FAILED, EX_INTERRUPTED

TOP = Path(__file__).parents[2]


def code() -> Iterator[tuple[str, ast.AST]]:
    """Every node of the program, with the name of its file."""
    for path in (TOP / "pollerd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            yield path.name, node


def page(name: str) -> list[list[str]]:
    """The cells of a page's tables that begin with something in backticks or with a number."""
    lines = (TOP / "docs" / name).read_text().split("\n")
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if re.match(r"\| (`|\d)", line)]


def events_of(value: ast.expr) -> set[str]:
    """The names that the value of an `event` may be: a text, or one of two."""
    match value:
        case ast.Constant(value=str(name)):
            return {name}
        case ast.IfExp(body=body, orelse=orelse):
            return events_of(body) | events_of(orelse)
        case _:
            raise AssertionError(f"an event whose name cannot be read off: {ast.unparse(value)}")


def logged() -> set[str]:
    """The events of all log calls: what `extra={"event": ...}` names."""
    found: set[str] = set()
    for _, node in code():
        if not (isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict)):
            continue
        for key, value in zip(node.value.keys, node.value.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "event":
                found |= events_of(value)
    return found


def test_every_documented_line_of_sql_waits_for_the_daemon() -> None:
    """SQLite's own command does not, and ends with "database is locked" while another program commits."""
    lines = [line for path in (TOP / "README.md", *TOP.glob("docs/*.md")) for line in path.read_text().split("\n")]
    writing = [line for line in lines if line.startswith("sqlite3 ") and re.search("INSERT|UPDATE|DELETE", line)]
    assert writing
    assert [line for line in writing if not line.startswith('sqlite3 -cmd ".timeout ')] == []


def test_every_log_event_is_documented_and_every_documented_one_exists() -> None:
    documented = [name for cells in page("logs.md") for name in re.findall(r"`([a-z_]+)`", cells[0])]
    assert set(documented) == logged()
    assert len(documented) == len(set(documented)), "named twice"


def test_no_log_call_of_the_daemon_is_without_an_event() -> None:
    levels = {"info", "warning", "error", "exception", "critical"}
    for file, node in code():
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "logger"), attr=attr)) if attr in levels:
                extra = [keyword.value for keyword in node.keywords if keyword.arg == "extra"]
                named = extra and not (isinstance(extra[0], ast.Dict) and "event" not in ast.unparse(extra[0]))
                assert named, f"{file}:{node.lineno}: {ast.unparse(node)}"


def exit_codes() -> set[int]:
    """What the program may end with: its deliberate errors, click's, and the plain numbers that commands return."""
    found = {0, EX_FAILED, EX_CONFIG, EX_INTERRUPTED, click.UsageError.exit_code, click.ClickException.exit_code}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.PollerdError):
            found.add(kind.exit_code)
    for path in (TOP / "pollerd" / "cli").rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and any(_is_command(mark) for mark in function.decorator_list):
                found |= {number for node in ast.walk(function) for number in _returned(node)}
    return found


def _is_command(mark: ast.expr) -> bool:
    return isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith(".command")


def _returned(node: ast.AST) -> set[int]:
    if not isinstance(node, ast.Return) or node.value is None:
        return set()
    return {part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant) and type(part.value) is int}


def test_every_exit_code_is_documented_and_every_documented_one_exists() -> None:
    systemds_own = {243}
    documented = {int(cells[0]) for cells in page("deployment.md") if cells[0].isdigit()}
    assert documented == exit_codes() | systemds_own


def test_the_unit_restarts_what_the_page_says_it_restarts() -> None:
    unit = (TOP / "systemd" / "pollerd.service").read_text()
    (kept,) = re.findall(r"^RestartPreventExitStatus=(.*)$", unit, re.MULTILINE)
    rows = [cells for cells in page("deployment.md") if cells[0].isdigit()]
    assert {cells[0] for cells in rows if cells[2] == "does not restart"} == set(kept.split())


def test_the_top_level_holds_nothing_that_a_newcomer_need_not_see() -> None:
    ignored = [".git", *(TOP / ".gitignore").read_text().replace("/", "").split()]
    found = {path.name for path in TOP.iterdir() if not any(path.match(pattern) for pattern in ignored)}
    texts = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"}
    settings = {"pyproject.toml", "config.example.toml", ".gitignore"}
    assert found - {"packaging"} == texts | settings | {".ci", "docs", "pollerd", "systemd", "tests"}


def test_no_link_of_the_documentation_is_dead() -> None:
    for name in (*TOP.glob("*.md"), *(TOP / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", name.read_text()):
            assert (name.parent / target).exists(), f"{name.name}: {target}"
