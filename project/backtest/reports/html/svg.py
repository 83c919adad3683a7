"""Scales, axes and shapes of figures as SVG text.

A figure is drawn for a width in its own units and scales with the page. Colours come from the style sheet by class, so
that a figure follows the page into the dark; no element has a ``style``, which the content security policy forbids.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, overload

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

MAX_TICKS: Final = 6
_NEEDS_ESCAPING: Final = re.compile("[&<>\"']").search


def element(tag: str, *children: str, **attributes: object) -> Markup:
    """``<tag a="1">children</tag>``; values and texts that are not markup are escaped.

    A trailing ``_`` of a name is dropped and other ``_`` become ``-``: ``class_``, ``text_anchor``.
    """
    given = "".join(
        [f' {_attribute(name)}="{_shown(value)}"' for name, value in attributes.items() if value is not None]
    )
    return Markup(f"<{tag}{given}>{_joined(children)}</{tag}>" if children else f"<{tag}{given}/>")


def group(children: Iterable[Markup], **attributes: object) -> Markup:
    """``<g>`` around shapes; an empty text where there are none."""
    inner = Markup(_joined(children))
    return element("g", inner, **attributes) if inner else inner


def number(value: float) -> str:
    """A coordinate with at most one decimal."""
    text = f"{value:.1f}"
    return text if text[-1] != "0" else "0" if text == "-0.0" else text[:-2]


@functools.cache
def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _shown(value: object) -> str:
    """A value as it may stand between quotation marks."""
    if isinstance(value, float):
        return number(value)
    text = value if isinstance(value, str) else str(value)
    return escape(value) if _NEEDS_ESCAPING(text) else text


def _joined(children: Iterable[str]) -> str:
    """Markup as it is, other texts escaped. Asked first: making a Markup of each costs more than all the rest."""
    return "".join([child if isinstance(child, Markup) else escape(child) for child in children])


def path_of(points: Iterable[tuple[float, float]]) -> str:
    """The ``d`` of a line through points; a point with NaN in it lifts the pen."""
    parts, is_down = [], False
    for x, y in points:
        if math.isnan(x) or math.isnan(y):
            is_down = False
            continue
        parts.append(f"{'L' if is_down else 'M'}{number(x)} {number(y)}")
        is_down = True
    return "".join(parts)


@dataclass(frozen=True)
class Scale:
    """A linear map from values to places of the figure."""

    low: float
    high: float
    start: float
    end: float

    @overload
    def __call__(self, value: float) -> float: ...
    @overload
    def __call__(self, value: NDArray[np.float64]) -> NDArray[np.float64]: ...
    def __call__(self, value: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
        span = self.high - self.low
        share = (value - self.low) / span if span else value * 0.0 + 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = MAX_TICKS) -> list[float]:
        """Round values inside the scale, evenly spaced, at most about `most`."""
        step = round_step((self.high - self.low) / max(most - 1, 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def round_step(rough: float) -> float:
    """The smallest 1, 2 or 5 × 10ⁿ that is not below `rough`; 1 where that is not positive."""
    if not rough > 0 or math.isinf(rough):
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))


def widened(
    values: Iterable[float | None], *, include: Iterable[float] = (), margin: float = 0.06
) -> tuple[float, float]:
    """Lowest and highest finite value with some room beyond; (0, 1) where there is none."""
    finite = [value for value in (*values, *include) if value is not None and math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    room = (high - low) * margin or abs(high) * 0.1 or 1.0
    return low - room, high + room


def tick_text(value: float, step: float) -> str:
    """A tick's number with as many decimals as the step between ticks needs, and a real minus sign."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return signed(f"{value:,.{decimals}f}")


def signed(text: str) -> str:
    """A number's text with a minus sign instead of a hyphen; no sign on a zero."""
    if text.startswith("-") and not any(character in "123456789" for character in text):
        text = text[1:]
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def date_ticks(first: dt.date, last: dt.date, most: int = 7) -> list[tuple[dt.date, str]]:
    """First days of months, quarters or years in a span, with their texts; days where the span is short."""
    days = (last - first).days
    if days <= 70:
        step = max(1, math.ceil(days / most))
        return [
            (first + dt.timedelta(days=offset), f"{first + dt.timedelta(days=offset):%-d %b}")
            for offset in range(0, days + 1, step)
        ]
    months = next((step for step in (1, 2, 3, 6, 12, 24, 60) if days / 30.4 / step <= most), 120)
    ticks = []
    for year in range(first.year, last.year + 1):
        for month in range(1, 13, min(months, 12)):
            day = dt.date(year, month, 1)
            if first <= day <= last and (months <= 12 or (year % (months // 12) == 0 and month == 1)):
                ticks.append((day, f"{day:%Y}" if month == 1 else f"{day:%b}"))
    return ticks


@dataclass(frozen=True)
class Frame:
    """The area of a figure inside its margins, with the figure's own size."""

    width: int = 460
    height: int = 250
    left: int = 46
    right: int = 12
    top: int = 12
    bottom: int = 38

    @property
    def x_range(self) -> tuple[float, float]:
        return self.left, self.width - self.right

    @property
    def y_range(self) -> tuple[float, float]:
        return self.height - self.bottom, self.top

    def x(self, low: float, high: float) -> Scale:
        return Scale(low, high, *self.x_range)

    def y(self, low: float, high: float) -> Scale:
        return Scale(low, high, *self.y_range)


def x_axis(frame: Frame, ticks: Sequence[tuple[float, str]], label: str) -> Markup:
    """Ticks at places with their texts under the plot, and the axis's label with its unit."""
    bottom = frame.height - frame.bottom
    marks = [
        element("line", x1=float(frame.left), x2=float(frame.width - frame.right), y1=bottom, y2=bottom, class_="axis")
    ]
    for place, text in ticks:
        marks.append(element("line", x1=float(place), x2=float(place), y1=bottom, y2=bottom + 4, class_="axis"))
        marks.append(element("text", text, x=float(place), y=bottom + 15, text_anchor="middle", class_="tick"))
    middle = (frame.left + frame.width - frame.right) / 2
    if label:
        marks.append(element("text", label, x=middle, y=frame.height - 6, text_anchor="middle", class_="label"))
    return group(marks)


def y_axis(frame: Frame, scale: Scale, label: str, most: int = 5, *, ticks: Sequence[tuple[float, str]] = ()) -> Markup:
    """Grid lines with their numbers and the label, turned, at the left."""
    given = list(ticks)
    if not given:
        values = scale.ticks(most)
        step = values[1] - values[0] if len(values) > 1 else abs(values[0]) if values and values[0] else 1.0
        given = [(value, tick_text(value, step)) for value in values]
    marks = []
    for value, text in given:
        place = scale(value)
        kind = "zero" if value == 0 else "grid"
        marks.append(
            element("line", x1=frame.left, x2=frame.width - frame.right, y1=float(place), y2=float(place), class_=kind)
        )
        marks.append(element("text", text, x=frame.left - 6, y=float(place + 3.6), text_anchor="end", class_="tick"))
    middle = (frame.top + frame.height - frame.bottom) / 2
    turned = f"rotate(-90 11 {number(middle)})"
    if label:
        marks.append(
            element("text", label, x=11, y=float(middle), text_anchor="middle", transform=turned, class_="label")
        )
    return group(marks)


def band(
    scale_x: Scale,
    scale_y: Scale,
    xs: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    **attributes: object,
) -> Markup:
    """A filled area between two lines; points with NaN are left out."""
    kept = [
        (scale_x(x), scale_y(low), scale_y(high))
        for x, low, high in zip(xs, lows, highs, strict=True)
        if not (math.isnan(low) or math.isnan(high))
    ]
    if len(kept) < 2:
        return Markup("")
    outline = [(x, high) for x, _, high in kept] + [(x, low) for x, low, _ in reversed(kept)]
    return element("path", d=path_of(outline) + "Z", **attributes)


def line(scale_x: Scale, scale_y: Scale, xs: Sequence[float], ys: Sequence[float], **attributes: object) -> Markup:
    """A line through values."""
    points = ((scale_x(x), scale_y(y)) for x, y in zip(xs, ys, strict=True))
    return element("path", d=path_of(points), **attributes)


def hover_columns(frame: Frame, places: Sequence[float], texts: Sequence[str]) -> Markup:
    """Invisible columns over a plot, one a place, that carry the text shown when they are pointed at."""
    edges = [
        float(frame.left),
        *((a + b) / 2 for a, b in itertools.pairwise(places)),
        float(frame.width - frame.right),
    ]
    height = frame.height - frame.top - frame.bottom
    return group(
        (
            element("rect", x=left, y=frame.top, width=max(right - left, 0.1), height=height, data_tip=text)
            for left, right, text in zip(edges, edges[1:], texts, strict=False)
        ),
        class_="hover",
    )


def figure(frame: Frame, title: str, parts: Iterable[Markup], *, class_: str = "plot") -> Markup:
    """The figure as an image with an accessible name."""
    return element(
        "svg",
        Markup(_joined(parts)),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {frame.width} {frame.height}",
        width=frame.width,
        height=frame.height,
        role="img",
        aria_label=title,
        class_=class_,
    )


def legend(entries: Sequence[tuple[str, str]], frame: Frame, *, at: tuple[float, float] | None = None) -> Markup:
    """Small keys with texts in one row at the top; an entry is (class of the key, text)."""
    x, y = at or (float(frame.left + 6), float(frame.top + 6))
    marks = []
    for kind, text in entries:
        marks.append(element("rect", x=x, y=y - 4, width=12, height=6, class_=kind))
        marks.append(element("text", text, x=x + 16, y=y + 2.5, class_="key"))
        x += legend_width(text)
    return group(marks)


def legend_width(text: str) -> float:
    """Room that a key with its text takes."""
    return 28 + 6.6 * len(text)
