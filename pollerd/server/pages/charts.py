"""Small charts as SVG: figures stand beside them in words, so they carry nothing that only the eye can see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pollerd.server.pages.html import Html, tag

WIDTH: Final = 600.0  # Units.
HEIGHT: Final = 90.0
"""Units of a chart's own; the page scales it to its column."""
_BAR: Final = 120.0  # Units.
_LINE: Final = 10.0
"""Units of the longest bar, and of a bar's height."""


def line(values: Sequence[float], top: float, title: str) -> Html:
    """A line over time, from left to right; `top` is what the upper edge stands for."""
    scale = max(top, *values, 1e-9) if values else 1.0
    step = WIDTH / max(1, len(values) - 1)
    points = [(place * step, HEIGHT - 2.0 - value / scale * (HEIGHT - 6.0)) for place, value in enumerate(values)]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    limit = HEIGHT - 2.0 - top / scale * (HEIGHT - 6.0)
    drawn = [tag("line", x1=0, x2=WIDTH, y1=round(limit, 1), y2=round(limit, 1), class_="limit")] if top > 0 else []
    if points:
        area = f"0,{HEIGHT:.0f} {joined} {points[-1][0]:.1f},{HEIGHT:.0f}"
        drawn += [tag("polygon", points=area, class_="area"), tag("polyline", points=joined, class_="line")]
    return _svg(WIDTH, HEIGHT, title, drawn, "chart")


def bar(share: float, kind: str = "") -> Html:
    """One bar, as long as its share (0 to 1) of the longest. Purely an ornament of the figure beside it."""
    width = max(1.0, min(1.0, share) * _BAR) if share > 0 else 0.0
    drawn = [tag("rect", x=0, y=0, width=round(width, 1), height=_LINE, rx=2, class_=f"bar {kind}".strip())]
    return tag(
        "svg", drawn, viewBox=f"0 0 {_BAR:g} {_LINE:g}", class_="bars", aria_hidden="true", preserveAspectRatio="none"
    )


def histogram(counts: Sequence[int], title: str) -> Html:
    """Bars side by side."""
    top = max(counts, default=0) or 1
    wide, high = 12.0, 26.0
    drawn = [
        tag(
            "rect",
            x=round(place * wide, 1),
            y=round(high - max(count / top * high, 1.5 if count else 0.0), 1),
            width=wide - 2.0,
            height=round(max(count / top * high, 1.5 if count else 0.0), 1),
            class_="bar good",
        )
        for place, count in enumerate(counts)
    ]
    return _svg(wide * len(counts), high, title, drawn, "histogram")


def stacks(columns: Sequence[Mapping[str, int]], kinds: Mapping[str, str], title: str) -> Html:
    """A column of stacked parts for each mapping of a state to its number; `kinds` orders and colours the states."""
    top = max((sum(counts.get(state, 0) for state in kinds) for counts in columns), default=0) or 1
    wide = WIDTH / max(1, len(columns))
    drawn = []
    for place, counts in enumerate(columns):
        y = HEIGHT
        for state, kind in kinds.items():
            if not (count := counts.get(state, 0)):
                continue
            part = count / top * (HEIGHT - 4.0)
            y -= part
            drawn.append(
                tag(
                    "rect",
                    x=round(place * wide, 1),
                    y=round(y, 1),
                    width=round(max(1.0, wide - 2.0), 1),
                    height=round(part, 1),
                    class_=f"bar {kind}",
                )
            )
    return _svg(WIDTH, HEIGHT, title, drawn, "chart")


def _svg(width: float, height: float, title: str, drawn: list[Html], kind: str) -> Html:
    return tag(
        "svg",
        tag("title", title),
        drawn,
        viewBox=f"0 0 {width:g} {height:g}",
        class_=kind,
        role="img",
        preserveAspectRatio="none",
    )
