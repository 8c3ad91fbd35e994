"""Time: the daemon's own clock, and what gateways say beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Clock(Protocol):
    """Time as the daemon sees it. Whatever is stored, planned or compared is an instant of `now`; what people and
    programs see is the wall clock's."""

    def now(self) -> float:
        """The instant: passes as time really passes, whatever is done to the wall clock, and never goes back."""
        ...

    def monotonic(self) -> float:
        """Seconds awake, for how long something takes."""
        ...

    def wall(self) -> float:
        """UNIX seconds by the wall clock, for what is reported and for what others wrote."""
        ...

    def to_wall(self, instant: float) -> float:
        """An instant of `now` by the wall clock."""
        ...


class GatewayTime(Protocol):
    """What the gateway's clock says beside ours."""

    def heard(self, headers: Mapping[str, str]) -> None:
        """An answer came with these headers."""
        ...

    @property
    def ahead(self) -> float:
        """Seconds that the gateway's clock is ahead of `Clock.now`; 0.0 for mere drift."""
        ...
