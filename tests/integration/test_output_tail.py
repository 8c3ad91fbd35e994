"""The end of an event file, read in every state a crash can leave it in."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollerd.outputs.tail import MAX_SEQ, WINDOW, Line, Tail, find, last_in_packed, same_event, survey


def line(seq: int, filler: str = "") -> bytes:
    return b'{"seq":%d,"type":"message.status","id":%d,"userref":"%b"}\n' % (seq, seq, filler.encode())


@contextmanager
def descriptor(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def look(path: Path, content: bytes, synced: int = 0) -> Tail:
    path.write_bytes(content)
    with descriptor(path) as fd:
        return survey(fd, synced)


WHOLE = line(1) + line(2)

CASES = [
    ("an empty file is ours and has no last event", b"", 0, None, 0, True),
    ("whole lines end where the file ends", WHOLE, len(WHOLE), 2, 0, True),
    ("a torn line is not counted", WHOLE + b'{"seq":3,"ty', len(WHOLE), 2, 0, True),
    ("a whole line without its newline is torn", WHOLE + line(3)[:-1], len(WHOLE), 2, 0, True),
    ("NUL bytes behind a whole line are cut", WHOLE + bytes(5000), len(WHOLE), 2, 0, True),
    ("NUL bytes behind a torn line are cut with it", WHOLE + b'{"seq":3' + bytes(9), len(WHOLE), 2, 0, True),
    ("nothing but NUL bytes is an empty file", bytes(70000), 0, None, 0, True),
    ("a torn first line is ours", b'{"seq":1,"type', 0, None, 0, True),
    ("the first bytes of a torn first line are ours", b'{"s', 0, None, 0, True),
    ("a foreign first line without end is not ours", b"root:x:0:0", 0, None, 0, False),
    ("a file of foreign lines is not ours", b"hello\nworld\n", 12, None, 2, False),
    ("foreign lines behind an event are skipped", WHOLE + b"edited\n\n", len(WHOLE) + 8, 2, 2, True),
    ("a `seq` that is no integer is no event", WHOLE + b'{"seq":"3"}\n', len(WHOLE) + 12, 2, 1, True),
    ("a `seq` of zero is no event", WHOLE + b'{"seq":0}\n', len(WHOLE) + 10, 2, 1, True),
    ("an array is no event", WHOLE + b"[3]\n", len(WHOLE) + 4, 2, 1, True),
    ("a `seq` beyond what JSON readers keep exact is no event", WHOLE + line(MAX_SEQ + 1), None, 2, 1, True),
]


Expected = tuple[int | None, int | None, int, bool]


@pytest.mark.parametrize(("content", "expected"), [(c[1], c[2:]) for c in CASES], ids=[c[0] for c in CASES])
def test_end_of_a_file(tmp_path: Path, content: bytes, expected: Expected) -> None:
    end, last, skipped, ours = expected
    tail = look(tmp_path / "events", content)
    assert tail.end == (len(content) if end is None else end)
    assert (tail.last.seq if tail.last else None) == last
    assert tail.skipped == skipped
    assert tail.ours is ours


def test_torn_at_every_byte(tmp_path: Path) -> None:
    last = line(3, "æ\\u2028")
    for cut in range(len(last)):
        tail = look(tmp_path / "events", WHOLE + last[:cut])
        assert (tail.end, tail.torn, tail.ours) == (len(WHOLE), cut, True)
        assert tail.last is not None
        assert tail.last.seq == 2


def test_first_line_torn_at_every_byte_is_cut_to_nothing(tmp_path: Path) -> None:
    for cut in range(len(line(1))):
        tail = look(tmp_path / "events", line(1)[:cut])
        assert (tail.end, tail.ours, tail.last) == (0, True, None)


def test_a_page_of_nul_in_what_was_not_synced_is_cut_with_all_behind_it(tmp_path: Path) -> None:
    content = WHOLE + bytes(40) + b'"}\n' + line(5)
    tail = look(tmp_path / "events", content, synced=2)
    assert tail.end == len(WHOLE)
    assert tail.last is not None
    assert tail.last.seq == 2


def test_nul_in_what_was_synced_is_left_alone(tmp_path: Path) -> None:
    content = line(1) + b"\0\0\n" + line(5)
    tail = look(tmp_path / "events", content, synced=5)
    assert tail.end == len(content)
    assert tail.last is not None
    assert tail.last.seq == 5


def test_nul_tail_larger_than_the_window(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(WHOLE)
    os.truncate(path, 3 * WINDOW)
    with descriptor(path) as fd:
        tail = survey(fd, 0)
    assert (tail.end, tail.size) == (len(WHOLE), 3 * WINDOW)


def test_an_event_is_searched_one_window_back_and_no_further(tmp_path: Path) -> None:
    rubbish = b"x" * 99 + b"\n"
    near = look(tmp_path / "near", WHOLE + rubbish * (WINDOW // 100 - 2))
    assert near.last is not None
    assert near.last.seq == 2
    far = look(tmp_path / "far", WHOLE + rubbish * (WINDOW // 100 + 2))
    assert far.last is None
    assert not far.ours


def test_find_agrees_with_a_walk_through_the_file(tmp_path: Path) -> None:
    numbers = [*range(3, 40), *range(60, 200, 7)]
    content = b"".join(line(seq, "x" * (seq * 37 % 300)) for seq in numbers)
    path = tmp_path / "events"
    path.write_bytes(content)
    with descriptor(path) as fd:
        for wanted in range(210):
            found = find(fd, len(content), wanted)
            expected = max((seq for seq in numbers if seq <= wanted), default=None)
            assert (found.seq if found else None) == expected


def test_find_gives_up_on_lines_that_are_no_events(tmp_path: Path) -> None:
    content = WHOLE + b"rubbish\n" * 50 + line(60)
    path = tmp_path / "events"
    path.write_bytes(content)
    with descriptor(path) as fd:
        assert find(fd, len(content), 30) is None


def test_last_event_of_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(b"".join(line(seq) for seq in range(1, 30000)) + b'{"seq":30000,"ty'))
    found = last_in_packed(path)
    assert found == Line(29999, line(29999)[:-1])


@pytest.mark.parametrize("content", [b"", b"no gzip at all", gzip.compress(WHOLE, mtime=0)[:-9]])
def test_a_damaged_compressed_file_proves_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.gz"
    path.write_bytes(content)
    assert last_in_packed(path) is None


def test_the_same_event_is_recognised_by_what_and_when() -> None:
    one = b'{"seq":1,"type":"message.status","id":7,"msisdn":4512345678,"observed_at":"2026-01-01T00:00:00.000Z"}'
    masked = b'{"id": 7, "type": "message.status", "seq": 1, "observed_at": "2026-01-01T00:00:00.000Z", "msisdn": 0}'
    later = one.replace(b"00.000Z", b"00.001Z")
    assert same_event(one, masked)
    assert not same_event(one, later)
    assert not same_event(one, b"rubbish")
