"""The rooms under pollerd/: each says what it is for, and costs its visitors no import that they do not need."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pollerd

ROOT = Path(pollerd.__file__).parent
HEAVY = ("aiohttp", "aiosqlite", "apscheduler", "asyncio", "jwt", "prometheus_client", "sqlalchemy", "sqlite3")
HTTP = ("aiohttp", "apscheduler")


def test_every_room_says_what_it_is_for() -> None:
    without = [
        str(face.relative_to(ROOT))
        for face in ROOT.rglob("__init__.py")
        if not ast.get_docstring(ast.parse(face.read_text()))
    ]
    assert without == []


def test_every_numeric_constant_says_its_unit_or_reason() -> None:
    """In a comment on its line or above it, or in a docstring below it."""
    silent = []
    for module in ROOT.rglob("*.py"):
        text = module.read_text()
        lines, body = text.splitlines(), ast.parse(text).body
        for statement, following in zip(body, [*body[1:], None], strict=True):
            if not (isinstance(statement, ast.Assign | ast.AnnAssign) and numeric(statement.value)):
                continue
            near = [*lines[statement.lineno - 1 : statement.end_lineno], lines[statement.lineno - 2].strip()[:1]]
            if not any("#" in line for line in near) and not is_docstring(following):
                silent.append(f"{module.relative_to(ROOT)}:{statement.lineno}")
    assert silent == []


def numeric(value: ast.expr | None) -> bool:
    """Whether it is made of numbers alone: by reckoning, in a tuple, or with other constants."""
    if value is None:
        return False
    parts = list(ast.walk(value))
    made_otherwise = (ast.Call, ast.Dict, ast.JoinedStr, ast.Lambda)
    literals = {type(part.value) for part in parts if isinstance(part, ast.Constant)}
    return (
        not any(isinstance(part, made_otherwise) for part in parts)
        and not literals & {str, bytes}
        and bool(literals & {int, float})
    )


def is_docstring(statement: ast.stmt | None) -> bool:
    """Whether it is a text that stands for itself."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


@pytest.mark.parametrize(
    "arguments", [("--version",), ("--help",), ("check", "-c", "{}"), ("config", "show", "-c", "{}")]
)
def test_a_light_command_imports_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """These took three times as long when one package's face pulled aiohttp in."""
    configuration = tmp_path / "pollerd.toml"
    configuration.write_text('[accounts.default]\ntoken = "a-token-of-a-test"\n')
    code = (
        "import sys; from pollerd.cli import main; code = main(sys.argv[1:]);"
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, *(each.format(configuration) for each in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_a_daemon_knows_no_library_that_it_does_not_need() -> None:
    """Neither one for databases of others, nor one for metrics that nobody reads."""
    unwanted = ("sqlalchemy", "psycopg", "pymysql", "prometheus_client")
    code = (
        "import sys, pollerd.daemon.app, pollerd.daemon.targets, pollerd.deployment.doctor.runner;"
        f"print([name for name in sys.modules if name.startswith({unwanted!r})])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_what_a_command_does_without_a_daemon_needs_no_http() -> None:
    code = f"import sys, pollerd.daemon.offline; print([name for name in {HTTP!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
