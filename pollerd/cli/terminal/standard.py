"""Standard input, output and error that were closed before the start."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def reopen() -> None:
    """Put the null device where a standard stream is closed, so that what is written to it goes nowhere.

    Without it the next file or socket that is opened would get the stream's number, and be written into.
    `sys.stdin` stays None, so that a command that needs input can say that there is none.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _put_null(number)
    if sys.stdout is None:
        sys.stdout = _silent(1)
    if sys.stderr is None:
        sys.stderr = _silent(2)


def _put_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    # Child processes are to find it in its place too.
    os.set_inheritable(number, True)


def _silent(number: int) -> TextIO:
    return os.fdopen(number, "w", encoding="utf-8", errors="replace", closefd=False)
