"""What went wrong with a database of others, whichever it is: told from the driver's error, in words for its user.

Only what a driver calls its main message is shown: a detail ("Failing row contains ...") quotes whole rows, and with
them the texts of SMS.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import exc

from pollerd.databases.trouble import DatabaseError, Trouble

_LONGEST: Final = 300  # Characters of a driver's message that are shown.

_STATES: Final = {
    "08": Trouble.AWAY, "57P": Trouble.AWAY, "53300": Trouble.AWAY, "HYT01": Trouble.AWAY,
    "28": Trouble.PASSWORD,
    "40": Trouble.CONFLICT, "55P03": Trouble.LOCKED, "55006": Trouble.LOCKED,
    "57014": Trouble.SLOW, "HYT00": Trouble.SLOW,
    "53": Trouble.FULL, "25006": Trouble.READ_ONLY, "42501": Trouble.FORBIDDEN,
    "3D000": Trouble.NO_DATABASE, "3F000": Trouble.MISSING, "42P01": Trouble.MISSING, "42703": Trouble.MISSING,
    "42883": Trouble.STATEMENT, "42S02": Trouble.MISSING, "42S22": Trouble.MISSING, "42": Trouble.STATEMENT,
    "21": Trouble.REFUSED, "22": Trouble.REFUSED, "23": Trouble.REFUSED, "44": Trouble.REFUSED, "45": Trouble.REFUSED,
    "09": Trouble.REFUSED, "20": Trouble.REFUSED, "27": Trouble.REFUSED, "38": Trouble.REFUSED, "39": Trouble.REFUSED,
    "54": Trouble.REFUSED, "55": Trouble.OTHER, "57": Trouble.OTHER, "58": Trouble.OTHER, "70": Trouble.OTHER,
    "72": Trouble.OTHER, "P0": Trouble.REFUSED, "XX": Trouble.OTHER,
}  # fmt: skip
"""By the beginning of the SQLSTATE (PostgreSQL's appendix A; MySQL's, where its number is not known here; ODBC's for
SQL Server); the longest that fits counts."""
_OF_USERS: Final = re.compile(r"[I-Z5-9]")
"""How a SQLSTATE begins that no standard has: a trigger has chosen its own. ODBC has some such, too."""
_MYSQL: Final = {
    Trouble.AWAY: (1040, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1203, 1226, 1927, 2002, 2003, 2005, 2006, 2012, 2013,
                   2014, 2045, 2055, 4031),
    Trouble.TLS: (2026,),
    Trouble.PASSWORD: (1045, 1251, 1524, 1698, 1862, 2059, 3118, 4151),
    Trouble.LOCKED: (1205, 1206, 1412, 1637, 3058, 3572),
    Trouble.CONFLICT: (1020, 1213),
    Trouble.SLOW: (1028, 1317, 1969, 3024),
    Trouble.FULL: (3, 1021, 1026, 1030, 1037, 1038, 1041, 1114, 1534),
    Trouble.READ_ONLY: (1036, 1290, 1792, 1836),
    Trouble.FORBIDDEN: (1130, 1142, 1143, 1227, 1370, 1410),
    Trouble.NO_DATABASE: (1044, 1049),
    Trouble.MISSING: (1054, 1109, 1146, 1305, 1356),
    Trouble.REFUSED: (1022, 1048, 1062, 1136, 1138, 1169, 1216, 1217, 1242, 1264, 1265, 1292, 1364, 1365, 1366, 1367,
                      1369, 1406, 1411, 1441, 1451, 1452, 1526, 1557, 1586, 1644, 1690, 1761, 1762, 3140, 3819, 4025,
                      4078),
}  # fmt: skip
"""By the number of the error, of MySQL and of MariaDB."""
_MSSQL: Final = {
    Trouble.AWAY: (20002, 20003, 20004, 20006, 20009, 10054, 10060, 10928, 10929, 40197, 40501, 40613, 6005),
    Trouble.PASSWORD: (18452, 18456, 18470, 18486, 18487, 18488),
    Trouble.LOCKED: (1204, 1222),
    Trouble.CONFLICT: (1205, 3960),
    Trouble.FULL: (1101, 1105, 9002, 701),
    Trouble.READ_ONLY: (3906, 3908, 15105),
    Trouble.FORBIDDEN: (229, 230, 262, 300, 916, 297),
    Trouble.NO_DATABASE: (911, 4060),
    Trouble.MISSING: (207, 208, 2812),
    Trouble.REFUSED: (220, 241, 242, 245, 515, 547, 2601, 2627, 2628, 8114, 8115, 8152, 50000),
}  # fmt: skip
"""By the number of SQL Server's error."""
_ORACLE: Final = {
    Trouble.AWAY: (1033, 1034, 1089, 1090, 1092, 2396, 3113, 3114, 3135, 12154, 12170, 12514, 12528, 12541, 12545,
                   12547, 12560, 12570),
    Trouble.PASSWORD: (1005, 1017, 28000, 28001, 28002),
    Trouble.LOCKED: (54, 30006),
    Trouble.CONFLICT: (60, 8177),
    Trouble.SLOW: (1013, 3156),
    Trouble.FULL: (257, 1536, 1652, 1653, 1654, 1691, 19809, 4031),
    Trouble.READ_ONLY: (372, 1456, 16000, 12081),
    Trouble.FORBIDDEN: (1031, 1045, 1720, 41900),
    Trouble.MISSING: (904, 942, 4043),
    Trouble.REFUSED: (1, 1400, 1401, 1407, 1438, 1722, 1830, 1839, 1843, 2290, 2291, 2292, 12899, 20000),
}  # fmt: skip
"""By the number of Oracle's error."""
_TABLES: Final = {"mysql": _MYSQL, "mariadb": _MYSQL, "mssql": _MSSQL, "oracle": _ORACLE}
_NUMBERS_OF_USERS: Final = {
    "mysql": range(20_000, 50_000), "mariadb": range(20_000, 50_000), "mssql": range(50_000, 2**31),
    "oracle": range(20_000, 21_000),
}  # fmt: skip
"""What a trigger numbers its own errors with: MYSQL_ERRNO of a SIGNAL, where neither MySQL nor MariaDB tells any to
clients; THROW; RAISE_APPLICATION_ERROR.
"""
_NUMBERS: Final = {
    kind: {number: trouble for trouble, numbers in table.items() for number in numbers}
    for kind, table in _TABLES.items()
}
_WORDS: Final = (
    ("too many connections", Trouble.AWAY), ("password", Trouble.PASSWORD), ("pg_hba.conf", Trouble.PASSWORD),
    ("role ", Trouble.PASSWORD), ("permission denied", Trouble.FORBIDDEN), ('database "', Trouble.NO_DATABASE),
)  # fmt: skip
"""What PostgreSQL says of a connection that it refuses: libpq has no SQLSTATE for it."""

_ATTEMPT: Final = re.compile(
    r'(?:connection (?:failed|is bad): )?connection to server (?:at|on socket) "[^"]*"(?: \([^)]*\))?'
    r"(?:, port \d+)? failed:(?: FATAL:)?"
)
"""What libpq says before its word on an address: where that is, the output's or source's own name says."""
_TLS: Final = re.compile(r"certificate|does not support SSL|SSL (was|is) required|SSL error|\[SSL|SSLError")
"""What a handshake that fails says; `SSL SYSCALL error` is a connection that broke."""


def explained(error: exc.SQLAlchemyError, kind: str, sql: str = "statement") -> DatabaseError:
    """The same error in words; `kind` is that of the database (`config.databases.DRIVERS`)."""
    said = _said(error)
    trouble = _trouble(error, kind, said)
    return DatabaseError(trouble, said, sql)


def _trouble(error: exc.SQLAlchemyError, kind: str, said: str) -> Trouble:
    original = error.orig if isinstance(error, exc.DBAPIError) else None
    if original is None:
        return Trouble.AWAY if isinstance(error, exc.TimeoutError) else Trouble.STATEMENT
    found = _by_code(original, kind)
    if found is None and kind == "postgresql":
        found = next((trouble for words, trouble in _WORDS if words in said), None)
    if found in (None, Trouble.AWAY) and _TLS.search(said):
        return Trouble.TLS
    if found is not None:
        return found
    match error:
        case exc.IntegrityError() | exc.DataError():
            return Trouble.REFUSED
        case exc.ProgrammingError() | exc.NotSupportedError():
            return Trouble.STATEMENT
        case exc.OperationalError() | exc.InterfaceError():
            # A number of its own is an answer of the server; MySQL's from 2000 to 2999 are the client's.
            answered = isinstance(number := _number(original), int) and not 2000 <= number < 3000
            return Trouble.OTHER if answered and kind in ("mysql", "mariadb") else Trouble.AWAY
        case exc.DBAPIError() if error.connection_invalidated:
            return Trouble.AWAY
        case _:
            return Trouble.OTHER


def _by_code(original: Any, kind: str) -> Trouble | None:
    first, number = original.args[0] if original.args else None, _number(original)
    # psycopg, psycopg2, PyMySQL, pyodbc.
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if state is None and isinstance(first, str) and len(first) == 5 and first.isalnum():
        state = first
    found = _NUMBERS.get(kind, {}).get(number) if isinstance(number, int) else None
    if isinstance(number, int) and number in _NUMBERS_OF_USERS.get(kind, ()):
        return Trouble.REFUSED
    if found is not None or not isinstance(state, str):
        return found
    known = next((_STATES[state[:length]] for length in (5, 3, 2) if state[:length] in _STATES), None)
    return Trouble.REFUSED if known is None and kind != "mssql" and _OF_USERS.match(state) else known


def _number(original: Any) -> object:
    """The error's number, as PyMySQL, mysqlclient and pymssql have it; as mariadb; as oracledb."""
    first = original.args[0] if original.args else None
    return first if isinstance(first, int) else getattr(original, "errno", getattr(first, "code", None))


def _said(error: exc.SQLAlchemyError) -> str:
    """The driver's main message, on one line."""
    original: Any = error.orig if isinstance(error, exc.DBAPIError) else error
    primary = getattr(getattr(original, "diag", None), "message_primary", None)
    parts = [part for part in getattr(original, "args", ()) if isinstance(part, str | bytes)]
    last = parts[-1] if parts else str(original)
    text = str(primary or (last.decode("utf-8", "replace") if isinstance(last, bytes) else last))
    if hasattr(original, "diag") and primary is None:
        # No answer of the server, but libpq's word on each of its addresses; a question to people follows a tab.
        words = " ".join(re.sub(r"\n\t.*", "", text.partition("\nDETAIL")[0]).split())
        each = dict.fromkeys(part.strip() for part in _ATTEMPT.split(words) if part.strip())
        return (next(iter(each)) if len(each) == 1 else words)[:_LONGEST]
    # After the first line: PostgreSQL's DETAIL, and hints for people at a terminal.
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(original).__name__)
    return line.rstrip(".")[:_LONGEST]
