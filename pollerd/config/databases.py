"""A database of others as SQLAlchemy's URL names it: which kinds there are, and the driver that each needs.

What can be known of it without SQLAlchemy, which only those have installed who need it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from pollerd.config.addresses import PERCENT_ENCODED
from pollerd.config.kinds import Kind, Wrong, text
from pollerd.config.secret import Secret

if TYPE_CHECKING:
    from pollerd.config.environment import LoadContext

OLDEST: Final = (2, 0, 40)
"""The oldest SQLAlchemy that will do, as pyproject.toml says; Debian 13 has this one."""


class Driver(NamedTuple):
    """A Python library that talks to a database: the module, its package, and the one that Debian has it in."""

    module: str
    package: str
    debian: str


_SQLALCHEMY: Final = Driver("SQLAlchemy", "pollerd[sql]", "python3-sqlalchemy")
_MYSQL: Final = {
    "pymysql": Driver("pymysql", "PyMySQL", "python3-pymysql"),
    "mysqldb": Driver("MySQLdb", "mysqlclient", "python3-mysqldb"),
    "mariadbconnector": Driver("mariadb", "mariadb", "python3-mariadb-connector"),
}
DRIVERS: Final[Mapping[str, Mapping[str, Driver]]] = {
    "postgresql": {
        "psycopg": Driver("psycopg", "psycopg[binary]", "python3-psycopg"),
        "psycopg2": Driver("psycopg2", "psycopg2-binary", "python3-psycopg2"),
    },
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "mssql": {
        "pymssql": Driver("pymssql", "pymssql", "python3-pymssql"),
        "pyodbc": Driver("pyodbc", "pyodbc", "python3-pyodbc"),
    },
    "oracle": {"oracledb": Driver("oracledb", "oracledb", "python3-oracledb")},
    "sqlite": {"pysqlite": Driver("sqlite3", "", "")},
}
"""By the names that SQLAlchemy has for databases and drivers. The first driver of each is meant when none is named,
whatever SQLAlchemy's own default is in one version or another."""
_EXAMPLE: Final = "postgresql://pollerd@db.example/shop"
_NEAR: Final = {"postgres": "postgresql", "psql": "postgresql", "pgsql": "postgresql", "sqlserver": "mssql"}
_SECRET_OPTION: Final = re.compile(r"passw(or)?d|^pwd$|secret|token|^odbc_connect$", re.IGNORECASE)
"""Options of a URL that are passwords, or hold one."""


class DatabaseUrl(msgspec.Struct, frozen=True):
    """A database without its password. `text` is the URL; `password` is what stood in it, until its reader has put it
    into a secret of its own.
    """

    text: str
    kind: str
    """The kind of database: a key of `DRIVERS`."""
    driver: str
    place: str
    """Which database it is, whoever asks and through whichever driver: a file's path, else kind, host and name."""
    password: Secret | None = None

    @property
    def host(self) -> str:
        """Where the server is; a folder or nothing for a Unix socket of this machine."""
        return "" if self.kind == "sqlite" else urlsplit(self.text).hostname or ""

    @property
    def identity(self) -> str:
        """The same for all who use this database, as MySQL or as MariaDB, and by whichever link to a file."""
        if self.kind == "sqlite":
            return os.path.realpath(self.place)
        return f"mysql{self.place.removeprefix('mariadb')}" if self.kind == "mariadb" else self.place

    @property
    def library(self) -> Driver:
        """What talks to it."""
        return DRIVERS[self.kind][self.driver]


class DatabaseUrlKind(Kind[DatabaseUrl], frozen=True):
    """The URL of a database. The path of a file starts, where it is relative, at the folder of the configuration."""

    def read(self, value: object, context: LoadContext) -> DatabaseUrl:
        found = self.check(value)
        if found.kind != "sqlite":
            return found
        path = str(context.absolute(Path(found.place)))
        _, mark, options = found.text.partition("?")
        return msgspec.structs.replace(found, text=f"{_scheme(found.text)}:///{path}{mark}{options}", place=path)


def _url(value: object) -> DatabaseUrl:
    found = text(value)
    kind, driver = _kind_and_driver(_scheme(found))
    if kind == "sqlite":
        return _file(found, driver)
    right = f'must be a URL such as "{_EXAMPLE}"; a user or password in it {PERCENT_ENCODED}'
    try:
        parts = urlsplit(found)
        port = parts.port
    except ValueError:
        raise Wrong(right) from None
    if parts.fragment or " " in found or parts.netloc.count("@") > 1 or ("@" in found and "@" not in parts.netloc):
        raise Wrong(right)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if secret := next((name for name in options if _SECRET_OPTION.search(name)), None):
        raise Wrong(f"must not hold {secret}; name the host in the URL, and put the password into password_file")
    host = parts.hostname or options.get("host") or options.get("unix_socket") or ""
    place = f"{kind}://{host}{f':{port}' if port else ''}/{unquote(parts.path.removeprefix('/'))}"
    password = None if not parts.password else Secret(unquote(parts.password))
    userinfo, at, address = parts.netloc.rpartition("@")
    bare = parts._replace(netloc=f"{userinfo.partition(':')[0]}{at}{address}")
    # urlunsplit leaves out the slashes of an empty authority.
    shown = f"{parts.scheme}://{bare.netloc}{bare.path}{'?' if bare.query else ''}{bare.query}"
    return DatabaseUrl(shown, kind, driver, place, password)


def _scheme(url: str) -> str:
    return url.partition("://")[0]


def _kind_and_driver(scheme: str) -> tuple[str, str]:
    kind, plus, driver = scheme.partition("+")
    if kind not in DRIVERS:
        near = _NEAR.get(kind.lower(), kind.lower() if kind.lower() in DRIVERS else None)
        raise Wrong(f'must begin with one of {", ".join(DRIVERS)}, as in "{_EXAMPLE}"', near=near and f"{near}://")
    if plus and driver not in DRIVERS[kind]:
        raise Wrong(f"must name a driver that works here: {', '.join(f'{kind}+{name}' for name in DRIVERS[kind])}")
    return kind, driver or next(iter(DRIVERS[kind]))


def _file(url: str, driver: str) -> DatabaseUrl:
    path = url.partition("://")[2].partition("?")[0].removeprefix("/")
    if not path or path.startswith((":memory:", "file:")):
        raise Wrong('must name a file, as in "sqlite:////srv/shop/shop.db"')
    return DatabaseUrl(url, "sqlite", driver, path)


DATABASE_URL: Final = DatabaseUrlKind("URL", _url, render=lambda url: url.text)


def missing(url: DatabaseUrl) -> str:
    """What has to be installed before the database can be used, in words; empty when all of it is there."""
    # Few configurations need it.
    from importlib.util import find_spec

    if url.kind == "sqlite":
        return ""
    wanted = [] if _new_enough() else [_SQLALCHEMY]
    wanted += [] if find_spec(url.library.module) else [url.library]
    if not wanted:
        return ""
    names = " and ".join(
        f"{each.module} {'.'.join(map(str, OLDEST))}" if each is _SQLALCHEMY else each.module for each in wanted
    )
    packages = " ".join(f"'{each.package}'" for each in wanted)
    return (
        f"needs the Python library {names}, which is not installed here: run {sys.executable} -m pip install {packages}"
        f" (Debian's package of pollerd: apt install {' '.join(each.debian for each in wanted)})"
    )


def _new_enough() -> bool:
    # A tenth of a command's start.
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("SQLAlchemy")
    except PackageNotFoundError:
        return False
    return tuple(int(each) for each in re.findall(r"\d+", found)[:3]) >= OLDEST
