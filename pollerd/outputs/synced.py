"""What of the event file is on disk for good: kept with the output's place, where a restart reads it."""

from __future__ import annotations

import re
from typing import Final, Self

import msgspec

from pollerd.base.anchor import boot
from pollerd.core.ports import Cursor
from pollerd.outputs.filepath import Identity

_FIRST_FORM: Final = re.compile(r"inode:(\d+)")
"""What versions wrote that knew a file by its inode alone."""


class Synced(msgspec.Struct, frozen=True):
    """The first `offset` bytes of the file `device`, `inode` are on disk; `boot` names the boot in which that was said.

    None and "" where it was not said.
    """

    inode: int
    device: int | None = None
    offset: int | None = None
    boot: str = ""

    @classmethod
    def of(cls, cursor: Cursor | None) -> Self | None:
        """What a place says about the file; None when it says nothing."""
        if cursor is None:
            return None
        if first := _FIRST_FORM.fullmatch(cursor.detail):
            return cls(int(first[1]))
        try:
            return msgspec.json.decode(cursor.detail, type=cls)
        except msgspec.DecodeError:
            return None

    @property
    def note(self) -> str:
        """What the place keeps."""
        return msgspec.json.encode(self).decode()

    def about(self, identity: Identity) -> bool:
        """Whether it is about this file, as far as numbers show: those of deleted files are given again."""
        return self.inode == identity[1] and self.device in {None, identity[0]}

    def since_boot(self, identity: Identity) -> bool:
        """Whether it is about this file and was said in this boot: then nothing that was written since can be lost."""
        return self.about(identity) and self.boot == boot() != ""
