"""What ends up in the log, in each of its three forms."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.base import logs
from pollerd.base.logs import Msisdn, mask_msisdn
from pollerd.config.secret import Secret

SECRET = "s3cret/tok+en=42"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level, {name: logging.getLogger(name).level for name in (*logs._QUIET, *logs._QUIETER)}
    yield
    for handler in [h for h in root.handlers if isinstance(h, logs.LogHandler)]:
        root.removeHandler(handler)
    root.setLevel(before[0])
    for name, level in before[1].items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


def written(form: logs.Format, *, show_msisdn: bool = False) -> tuple[io.StringIO, logs.Secrets, logging.Logger]:
    stream = io.StringIO()
    secrets = logs.setup("debug", form, show_msisdn, stream)
    secrets.protect(SECRET)
    return stream, secrets, logging.getLogger("pollerd.test")


def emit(message: str, value: str, event: str) -> None:
    """Through our handler alone: the test runner's own cannot carry lone surrogates."""
    record = logging.getLogger("pollerd.test").makeRecord(
        "pollerd.test", logging.INFO, "", 0, message, (value,), None, extra={"event": event}
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logs.LogHandler):
            handler.handle(record)


def fail(text: str) -> None:
    password_in_a_local = text.upper()
    raise RuntimeError(f"refused {text}" + "" * len(password_in_a_local))


def test_text_is_time_level_message_and_event() -> None:
    stream, _, log = written("text")
    log.warning("held for %d s", 5, extra={"event": "account_held"})
    time, level, rest = stream.getvalue().split(maxsplit=2)
    assert time.endswith("Z")
    assert level == "WARNING"
    assert rest == "held for 5 s [account_held]\n"


def test_json_is_one_object_with_every_extra() -> None:
    stream, _, log = written("json")
    log.error(
        "no %s",
        "answer",
        extra={
            "event": "gateway_failure",
            "account": "default",
            "seconds": float("nan"),
            "level": "a lie",
            "ids": {1, 2**70},
            "odd": object(),
            "lone": "\ud800",
        },
    )
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["event"], entry["message"]) == ("error", "gateway_failure", "no answer")
    assert (entry["logger"], entry["account"], entry["seconds"]) == ("pollerd.test", "default", None)
    assert entry["level_"] == "a lie"
    assert sorted(map(int, entry["ids"])) == [1, 2**70]
    assert entry["lone"] == "\ufffd"
    assert entry["time"][10] == "T"
    assert entry["time"].endswith("Z")
    assert len(entry["time"]) == len("2026-11-22T10:30:43.512Z")


@pytest.mark.parametrize("form", ["text", "journal", "json"])
def test_secrets_are_masked_in_message_extra_and_traceback(form: logs.Format) -> None:
    stream, _, log = written(form)
    try:
        fail(SECRET)
    except RuntimeError:
        log.exception("token %s, %r", SECRET, Secret(SECRET), extra={"header": f"Token {SECRET}"})
    log.info("http://alice:pass@proxy:3128 s3cret%%2Ftok%%2Ben%%3D42")
    text = stream.getvalue()
    assert "RuntimeError: refused ***" in text
    for form_of_it in (SECRET, SECRET.upper(), "s3cret%2Ftok%2Ben%3D42", "alice:pass"):
        assert form_of_it not in text
    if form == "json":
        assert json.loads(text.splitlines()[0])["header"] == "Token ***"


def test_a_short_secret_does_not_tear_words_apart() -> None:
    stream, secrets, log = written("text")
    secrets.protect("e")
    log.info("everything")
    assert "everything" in stream.getvalue()


def test_a_second_setup_replaces_the_first_and_keeps_secrets() -> None:
    first, _, log = written("text")
    second = io.StringIO()
    logs.setup("info", "text", show_msisdn=False, stream=second)
    log.info("token %s", SECRET)
    assert first.getvalue() == ""
    assert "token ***" in second.getvalue()


@pytest.mark.parametrize(
    ("message", "args", "seen"),
    [
        ("%d and %d", (1,), "%d and %d (1,)"),
        ("%d", (SECRET,), "%d ('***',)"),
        ("to %d", (Msisdn(4587654321),), "to %d ('45******21',)"),
        ("%(a)s", ({"b": 1},), "%(a)s {'b': 1}"),
    ],
)
def test_wrong_arguments_lose_no_record_and_show_no_secret(message: str, args: tuple[object, ...], seen: str) -> None:
    record = logging.LogRecord("n", logging.INFO, "", 0, message, args, None)
    assert logs.Cleaner(logs.Secrets([SECRET]), show_msisdn=False).message(record) == seen


HOSTILE = "a\nINFO forged\r\x1b[31m\x9b2J\u202e\u2028\x00\ud800z"


@pytest.mark.parametrize("form", ["text", "journal"])
def test_no_value_makes_a_second_line_or_acts_on_the_terminal(form: logs.Format) -> None:
    stream, _, _ = written(form)
    emit("userref %s", HOSTILE, "x\ny")
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.removesuffix("\n").isprintable()
    assert r"a\nINFO forged\r\x1b[31m\x9b2J\u202e\u2028\x00\ud800z" in line


def test_json_keeps_hostile_text_but_inactive() -> None:
    stream, _, _ = written("json")
    emit("%s", HOSTILE, "x")
    line = stream.getvalue().removesuffix("\n")
    assert line.isprintable()
    assert json.loads(line)["message"] == HOSTILE.replace("\ud800", "\ufffd")


@pytest.mark.parametrize(("form", "start"), [("text", "    "), ("journal", "<3>")])
def test_every_line_of_a_traceback_is_marked(form: logs.Format, start: str) -> None:
    stream, _, log = written(form)
    try:
        fail("one\n<0>two\x1b[2J")
    except RuntimeError:
        log.exception("failed")
    first, *lines = stream.getvalue().splitlines()
    assert first.endswith("failed")
    assert all(line.startswith(start) and line.isprintable() for line in lines)
    assert lines[-1].endswith("<0>two\\x1b[2J")


@pytest.mark.parametrize(
    ("level", "number"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2)],
)
def test_journal_lines_begin_with_their_priority(level: int, number: int) -> None:
    stream, _, log = written("journal")
    log.log(level, "x")
    assert stream.getvalue() == f"<{number}>x\n"


def test_auto_is_the_journal_only_where_it_ends_there(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, os.fdopen(read):
        found = os.fstat(stream.fileno())
        assert logs.to_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not logs.to_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not logs.to_journal(stream, {})
    assert not logs.to_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    primary, secondary = os.openpty()
    with os.fdopen(secondary, "w") as terminal, os.fdopen(primary, "rb", buffering=0) as screen:
        logs.setup("info", "text", show_msisdn=False, stream=terminal)
        logging.getLogger("pollerd.test").error("red")
        assert b"\x1b[31mERROR" in screen.read(1000)
        monkeypatch.setenv("NO_COLOR", "1")
        logs.setup("info", "text", show_msisdn=False, stream=terminal)
        logging.getLogger("pollerd.test").error("plain")
        assert b"\x1b" not in screen.read(1000)


def test_noisy_libraries_stay_quiet_at_debug() -> None:
    stream, _, _ = written("text")
    logging.getLogger("aiosqlite").debug("executing INSERT 4587654321")
    logging.getLogger("asyncio").info("poll took 1 ms")
    logging.getLogger("oauthlib.oauth1.rfc5849").debug("Signature: i32mboW7")
    logging.getLogger("apscheduler.scheduler").warning("skipped")
    assert stream.getvalue() == ""
    logging.getLogger("aiohttp.client").warning("unclosed")
    assert "unclosed" in stream.getvalue()


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        (4587654321, "45******21"),
        ("+4587654321", "45******21"),
        ("45876543", "45****43"),
        (12345, "*****"),
        ("not a number", "************"),
        ("", ""),
    ],
)
def test_a_number_keeps_two_digits_on_each_side(number: int | str, masked: str) -> None:
    assert mask_msisdn(number) == masked


@pytest.mark.parametrize(("show", "seen"), [(False, "45******21"), (True, "4587654321")])
@pytest.mark.parametrize("form", ["text", "json"])
def test_msisdn_arguments_and_extras_follow_show_msisdn(form: logs.Format, show: bool, seen: str) -> None:
    stream, _, log = written(form, show_msisdn=show)
    log.info("to %s, %d", Msisdn(4587654321), 7, extra={"msisdn": Msisdn(4587654321)})
    line = stream.getvalue()
    assert f"to {seen}, 7" in line
    if form == "json":
        assert str(json.loads(line)["msisdn"]) == seen
    assert ("4587654321" in line) is show


def test_an_msisdn_masks_itself_wherever_it_is_printed() -> None:
    number = Msisdn(4587654321)
    assert {str(number), repr(number), f"{number}", f"{number!s:>10}"} == {"45******21"}
    assert number.reveal() == 4587654321


LEAF = st.none() | st.floats() | st.text(max_size=20) | st.integers() | st.binary(max_size=20)
EXTRA = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3), max_leaves=8)


@given(st.text(), st.dictionaries(st.text(max_size=8), EXTRA, max_size=4))
def test_json_always_parses_and_is_utf8(message: str, extra: dict[str, object]) -> None:
    cleaner = logs.Cleaner(logs.Secrets(), show_msisdn=False)
    record = logging.LogRecord("n", logging.INFO, "", 0, "%s", (message,), None)
    record.__dict__.update({f"x{key}": value for key, value in extra.items()})
    line = logs.JsonFormatter(cleaner).format(record)
    assert "\n" not in line
    json.loads(line.encode(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@given(st.text())
def test_text_is_always_one_printable_line(message: str) -> None:
    record = logging.LogRecord("n", logging.INFO, "", 0, "%s", (message,), None)
    formatter = logs.TextFormatter(logs.Cleaner(logs.Secrets(), show_msisdn=False), colours=False)
    assert formatter.format(record).isprintable()
