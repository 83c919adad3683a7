"""The figure of a calibration, SVG: false alarms by procedure, and power by the size of the edge.

Colours are those of Okabe & Ito (2008), told apart in all common kinds of colour blindness; marks differ in shape too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

from backtest.evaluation.calibration import PROCEDURES

WIDTH: Final = 1040
HEIGHT: Final = 500
TOP: Final = 64
BOTTOM: Final = 400
BLACK, ORANGE, BLUE, GREEN, RED, PURPLE = "#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7"
NULL_GROUPS: Final = (("null", "simulated", BLUE, "circle"), ("random signs", "real bars, random signs", RED, "square"))
POWER_OF: Final = (
    ("bonferroni", GREEN, "diamond"),
    ("tree_bh", BLUE, "circle"),
    ("tier_a", ORANGE, "square"),
    ("confirmed", PURPLE, "triangle"),
    ("final", BLACK, "diamond"),
)
NOMINAL: Final = 0.05
CORNERS: Final[Mapping[str, Sequence[tuple[float, float]]]] = {
    "square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
    "diamond": ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
    "triangle": ((0, -5.5), (5, 4), (-5, 4)),
}
"""Offsets of a mark's corners, pixels."""


@dataclass(frozen=True)
class _Axis:
    """Positions of values between two ends in pixels."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.first + min(max(share, 0.0), 1.0) * (self.last - self.first)


def calibration_figure(published: Mapping[str, Any]) -> str:
    """Two panels, each with its axes and units, as one SVG document."""
    groups = published["groups"]
    body = [*_false_alarms(groups), *_power(groups)]
    title = "Error rates and power of the search"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'role="img" aria-label="{title}" font-family="system-ui, sans-serif" font-size="13">',
            f"<title>{title}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def _false_alarms(groups: Mapping[str, Any]) -> Iterator[str]:
    """Share of null worlds with any discovery, a row a procedure."""
    axis = _Axis(0.0, 1.0, 330.0, 600.0)
    yield _text(20, 30, "Worlds without any edge: something is found", weight="bold")
    shown = [entry for entry in NULL_GROUPS if entry[0] in groups]
    for place, (name, label, colour, mark) in enumerate(shown):
        yield _mark(mark, 30 + 250 * place, 47, colour)
        yield _text(40 + 250 * place, 51, f"{label}, {groups[name]['worlds']} worlds")
    yield from _grid(axis, [0.0, 0.25, 0.5, 0.75, 1.0], "share of worlds with any discovery, %", vertical=True)
    line = f"{axis(NOMINAL):.1f}"
    yield f'<line x1="{line}" x2="{line}" y1="{TOP}" y2="{BOTTOM}" stroke="#555555" stroke-dasharray="4 3"/>'
    yield _text(axis(NOMINAL) + 4, BOTTOM - 5, "5 %", colour="#555")
    step = (BOTTOM - TOP) / len(PROCEDURES)
    for row, (procedure, text) in enumerate(PROCEDURES.items()):
        middle = TOP + step * (row + 0.5)
        yield _text(320, middle + 4, text, anchor="end")
        for place, (name, _, colour, mark) in enumerate(shown):
            value, low, high = groups[name]["procedures"][procedure]["share_with_any"]
            at = middle + (place - (len(shown) - 1) / 2) * 10
            yield _bar(axis(low), at, axis(high), at, colour)
            yield _mark(mark, axis(value), at, colour)


def _power(groups: Mapping[str, Any]) -> Iterator[str]:
    """Share of worlds in which the planted event is found, by the planted mean return."""
    planted = sorted(
        (group["bps"], group)
        for name, group in groups.items()
        if name.startswith("planted") and group["kind"] == "planted"
    )
    axis, share = _Axis(0.0, 25.0, 690.0, 1010.0), _Axis(0.0, 1.0, BOTTOM, TOP)
    yield _text(640, 30, "Worlds with one edge: its hypotheses are found", weight="bold")
    yield from _grid(axis, [0.0, 5.0, 10.0, 15.0, 20.0, 25.0], "planted mean return before cost, bps per trade")
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield f'<line x1="690" x2="1010" y1="{share(value):.1f}" y2="{share(value):.1f}" stroke="#dddddd"/>'
        yield _text(682, share(value) + 4, f"{100 * value:g}", anchor="end")
    middle = (TOP + BOTTOM) / 2
    yield f'<text transform="translate(650 {middle}) rotate(-90)" text-anchor="middle">power, %</text>'
    for place, (procedure, colour, mark) in enumerate(POWER_OF):
        points = []
        for bps, group in planted:
            value, low, high = group["procedures"][procedure]["power"]
            if value is None:
                continue
            x = axis(bps + (place - 2) * 0.35)
            points.append((x, share(value)))
            if low is not None and high is not None:
                yield _bar(x, share(low), x, share(high), colour)
            yield _mark(mark, x, share(value), colour)
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>'
        left, below = 560 + 235 * (place // 3), HEIGHT - 38 + 15 * (place % 3)
        yield _mark(mark, left, below - 4, colour)
        yield _text(left + 12, below, PROCEDURES[procedure])


def _grid(axis: _Axis, ticks: Sequence[float], label: str, *, vertical: bool = False) -> Iterator[str]:
    """Ticks along the bottom with the axis's label; vertical lines where asked for."""
    yield f'<line x1="{axis.first}" x2="{axis.last}" y1="{BOTTOM}" y2="{BOTTOM}" stroke="#333"/>'
    for tick in ticks:
        x = axis(tick)
        if vertical:
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}" stroke="#dddddd"/>'
        shown = f"{100 * tick:g}" if axis.high == 1.0 else f"{tick:g}"
        yield _text(x, BOTTOM + 16, shown, anchor="middle")
    yield _text((axis.first + axis.last) / 2, BOTTOM + 32 if not vertical else BOTTOM + 36, label, anchor="middle")


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", colour: str = "#111111"
) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">{escape(text)}</text>'


def _bar(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="2"/>'


def _mark(shape: str, x: float, y: float, colour: str) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in CORNERS[shape])
    return f'<polygon points="{points}" fill="{colour}"/>'
