"""The URL of the store in PostgreSQL, as libpq reads it, without what is secret in it."""

from __future__ import annotations

import re
import sys
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from pollerd.config.addresses import PERCENT_ENCODED
from pollerd.config.kinds import Kind, Wrong, text
from pollerd.config.secret import Secret

PASSWORD_CREDENTIAL: Final = "database-password"  # noqa: S105 - the name of it
"""The systemd credential with the password of the URL's user."""
_EXAMPLE: Final = "postgresql://pollerd@db.example/pollerd"
_URL: Final = re.compile(
    r"(?:postgresql|postgres)://(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?(?P<hosts>[^/?#@]*)"
    r"(?:/(?P<dbname>[^/?#]*))?(?:\?(?P<options>[^#]*))?"
)
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(?P<port>\d{1,5}))?")
_SECRET: Final = frozenset({"password", "sslpassword"})


class StoreUrl(msgspec.Struct, frozen=True):
    """A database without its password. `password` is what stood in the URL, until its reader has put it into a secret
    of its own.
    """

    text: str
    parameters: tuple[tuple[str, str], ...]
    """As libpq names them."""
    password: Secret | None = None


def _url(value: object) -> StoreUrl:
    found = text(value)
    right = f'must be a URL such as "{_EXAMPLE}"; a user or password in it {PERCENT_ENCODED}'
    if (match := _URL.fullmatch(found)) is None or " " in found:
        raise Wrong(right)
    hosts, ports = [], []
    for each in match["hosts"].split(",") if match["hosts"] else ():
        if (host := _HOST.fullmatch(each)) is None or int(host["port"] or 1) not in range(1, 65536):
            raise Wrong(right)
        hosts.append(unquote(host["host"]).strip("[]"))
        ports.append(host["port"] or "")
    parameters: dict[str, str] = {"host": ",".join(hosts), "port": ",".join(ports) if any(ports) else ""}
    parameters |= {"user": unquote(match["user"] or ""), "dbname": unquote(match["dbname"] or "")}
    parameters = {name: each for name, each in parameters.items() if each}
    options = dict(parse_qsl(match["options"] or "", keep_blank_values=True))
    if secret := next((name for name in options if name in _SECRET), None):
        raise Wrong(f"must not hold {secret}; put the password into password_file")
    if "dbname" not in parameters | options:
        raise Wrong(f'must name the database, as in "{_EXAMPLE}"')
    password = Secret(unquote(match["password"])) if match["password"] else None
    begin, end = match.span("password")
    shown = found if begin < 0 else found[: begin - 1] + found[end:]
    return StoreUrl(shown, tuple((parameters | options).items()), password)


STORE_URL: Final = Kind("URL", _url, render=lambda url: url.text)


def missing() -> str:
    """What has to be installed before it can be used, in words; empty when all of it is there."""
    try:
        import psycopg  # noqa: F401  it may be there without the library of PostgreSQL's own that it calls
    except ModuleNotFoundError:
        why = "is not installed here"
    except ImportError as error:
        why = f"cannot be loaded here ({str(error).split(chr(10), 1)[0].rstrip('.')})"
    else:
        return ""
    return (
        f"needs the Python library psycopg, which {why}: run {sys.executable} -m pip install "
        "'pollerd[postgresql]' (Debian's package of pollerd: apt install python3-psycopg)"
    )
