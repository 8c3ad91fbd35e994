"""The places of outputs: that of a file or a socket is its member's own, all others are shared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from pollerd.core.ports.view import OutputView, Overview
from pollerd.store.search import SearchView
from pollerd.store.session import ReadConnection

OWN: Final = frozenset({"file", "socket"})
"""Outputs that every member has, each at its own place."""


def owned(output: str, member: str) -> str:
    """The name of an output's place in the table `outputs`."""
    return f"{output}@{member}" if output in OWN else output


class MemberView(SearchView):
    """Fulfils `ports.View` for people on the machine of `member`.

    Its own places have the output's name alone there, and so have those of the only member that has any; the others say
    whose they are.
    """

    def __init__(self, connection: ReadConnection, member: str) -> None:
        super().__init__(connection)
        self._member = member

    def overview(self, now: float, *, oldest: bool = True) -> Overview:
        found = super().overview(now, oldest=oldest)
        return msgspec.structs.replace(found, outputs=tuple(self._named(found.outputs)))

    def _named(self, outputs: Iterable[OutputView]) -> list[OutputView]:
        parts = [(each, *each.name.partition("@")[::2]) for each in outputs]
        members = {member for _, output, member in parts if output in OWN}
        plain = self._member if self._member in members or len(members) != 1 else members.pop()
        named = [
            msgspec.structs.replace(each, name=output) if output in OWN and member == plain else each
            for each, output, member in parts
        ]
        return sorted(named, key=lambda each: each.name)
