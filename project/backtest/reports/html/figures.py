"""The figures of the reports, from arrays to SVG."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backtest.reports.html import formats
from backtest.reports.html.svg import (
    Frame,
    Scale,
    band,
    date_ticks,
    element,
    figure,
    group,
    hover_columns,
    legend,
    legend_width,
    line,
    number,
    path_of,
    tick_text,
    widened,
    x_axis,
    y_axis,
)

Floats = NDArray[np.float64]
BAR_MINUTES: Final = 5


def minutes_text(minutes: float) -> str:
    """A span of time as a reader says it: ``45 min``, ``4 h``, ``1.5 d``."""
    size = abs(minutes)
    if size < 120 and size == int(size):
        text = f"{size:.0f} min"
    elif size < 2880:
        text = f"{size / 60:g} h"
    else:
        text = f"{size / 1440:.3g} d"
    return f"\N{MINUS SIGN}{text}" if minutes < 0 else text


@dataclass(frozen=True)
class Path:
    """A mean path in bps with its bounds; empty bounds where there are none."""

    mean: Floats
    low: Floats = field(default_factory=lambda: np.zeros(0))
    high: Floats = field(default_factory=lambda: np.zeros(0))


def event_study_figure(
    offsets_bars: Sequence[int],
    discovery: Path,
    confirmation: Path | None,
    placebo: Path | None,
    *,
    without: Path | None = None,
    horizon_bars: int,
    cost_bps: float,
    title: str,
) -> Markup:
    """Mean path around the entry in bps: discovery with its band, confirmation dashed, placebo as a grey band.

    `without` is the path, dotted, of the trades that a filter does not hold for.
    """
    frame = Frame(width=860, height=360, left=52, top=30, bottom=42)
    minutes = [offset * BAR_MINUTES for offset in offsets_bars]
    every = [*discovery.mean, *discovery.low, *discovery.high]
    # Of the confirmation and of what a filter leaves out only the means are drawn, of the placebo only the band.
    every += [value for other in (confirmation, without) if other is not None for value in other.mean]
    every += [*placebo.low, *placebo.high] if placebo is not None else []
    x, y = frame.x(minutes[0], minutes[-1]), frame.y(*widened(every, include=(0.0, cost_bps)))
    hold = horizon_bars * BAR_MINUTES
    parts = [
        element(
            "rect",
            x=float(x(0)),
            y=frame.top,
            width=float(x(hold) - x(0)),
            height=frame.height - frame.top - frame.bottom,
            class_="held",
        ),
        y_axis(frame, y, "mean return in the trade's direction (bps)"),
    ]
    if placebo is not None and len(placebo.low):
        parts.append(band(x, y, minutes, list(placebo.low), list(placebo.high), class_="placebo"))
    parts += [
        band(x, y, minutes, list(discovery.low), list(discovery.high), class_="band"),
        element("line", x1=float(x(0)), x2=float(x(0)), y1=frame.top, y2=frame.height - frame.bottom, class_="mark"),
        element(
            "line", x1=float(x(hold)), x2=float(x(hold)), y1=frame.top, y2=frame.height - frame.bottom, class_="mark"
        ),
        element("text", "entry", x=float(x(0) + 4), y=frame.top + 11, class_="note"),
        element("text", "exit at the latest", x=float(x(hold) + 4), y=frame.top + 11, class_="note"),
        element(
            "line",
            x1=float(x(0)),
            x2=frame.width - frame.right,
            y1=float(y(cost_bps)),
            y2=float(y(cost_bps)),
            class_="limit",
        ),
        element(
            "text",
            f"cost {formats.decimal(cost_bps)}",
            x=frame.width - frame.right - 2,
            y=float(y(cost_bps) - 4),
            text_anchor="end",
            class_="note",
        ),
    ]
    if without is not None:
        parts.append(line(x, y, minutes, list(without.mean), class_="line third dotted"))
    if confirmation is not None:
        parts.append(line(x, y, minutes, list(confirmation.mean), class_="line second"))
    parts.append(line(x, y, minutes, list(discovery.mean), class_="line"))
    keys = [("key-line", "discovery, 95 % band")]
    if confirmation is not None:
        keys.append(("key-second", "confirmation"))
    if placebo is not None and len(placebo.low):
        keys.append(("key-placebo", "placebo, 95 %"))
    if without is not None:
        keys.append(("key-third", "filter does not hold"))
    parts.append(legend(keys, frame, at=(float(frame.left), 12.0)))
    parts.append(_time_axis(frame, x, "time since entry"))
    texts = []
    for index, minute in enumerate(minutes):
        text = f"{minutes_text(minute)}: {formats.decimal(discovery.mean[index])} bps"
        if len(discovery.low) and not math.isnan(discovery.low[index]):
            text += f" ({formats.decimal(discovery.low[index])} … {formats.decimal(discovery.high[index])})"
        if confirmation is not None and not math.isnan(confirmation.mean[index]):
            text += f"; confirmation {formats.decimal(confirmation.mean[index])} bps"
        texts.append(text)
    parts.append(hover_columns(frame, [x(minute) for minute in minutes], texts))
    return figure(frame, title, parts)


def _time_axis(frame: Frame, x: Scale, label: str) -> Markup:
    span = x.high - x.low
    step = next((step for step in (5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 2880, 7200) if span / step <= 9), 14400)
    first, last = math.ceil(x.low / step), math.floor(x.high / step)
    divisor, unit = (1, "minutes") if step < 60 else (60, "hours") if step < 1440 else (1440, "days")
    ticks = [
        (x(index * step), tick_text(index * step / divisor, step / divisor if step / divisor >= 1 else 0.5))
        for index in range(first, last + 1)
    ]
    return x_axis(frame, ticks, f"{label} ({unit})")


def histogram_figure(values: Floats, *, mean: float, cost: float, title: str, bins: int = 41) -> Markup:
    """Distribution of returns in bps; the outermost bins hold everything beyond them."""
    frame = Frame()
    edge = float(np.quantile(np.abs(values), 0.985)) if len(values) else 1.0
    edge = max(edge, abs(mean) * 1.5, cost * 1.5, 1.0)
    edges = np.linspace(-edge, edge, bins + 1)
    counts, _ = np.histogram(np.clip(values, -edge, edge), edges)
    x, y = frame.x(-edge, edge), frame.y(0.0, float(max(counts.max(initial=1), 1)) * 1.08)
    width = x(edges[1]) - x(edges[0])
    bars = [
        element(
            "rect",
            x=float(x(low) + 0.4),
            y=float(y(n)),
            width=float(width - 0.8),
            height=float(y(0) - y(n)),
            class_="bar loss" if high <= 0 else "bar",
            data_tip=f"{_bin_text(low, high, edge)}: {formats.plural(int(n), 'trade')}",
        )
        for low, high, n in zip(edges, edges[1:], counts, strict=False)
        if n
    ]
    parts = [y_axis(frame, y, "trades"), group(bars)]
    for value, text, kind, anchor, dx in (
        (mean, "mean", "mark strong", "start", 4),
        (cost, "cost", "limit", "end", -4),
    ):
        place = x(value)
        parts.append(
            element("line", x1=float(place), x2=float(place), y1=frame.top, y2=frame.height - frame.bottom, class_=kind)
        )
        flip = mean < cost
        parts.append(
            element(
                "text",
                f"{text} {formats.decimal(value)}",
                x=float(place + (-dx if flip else dx)),
                y=frame.top + (10 if text == "mean" else 24),
                text_anchor={"start": "end", "end": "start"}[anchor] if flip else anchor,
                class_="note",
            )
        )
    ticks = [(x(value), tick_text(value, _step(x))) for value in x.ticks(7)]
    parts.append(x_axis(frame, ticks, "return per trade before costs (bps)"))
    return figure(frame, title, parts)


def _step(scale: Scale) -> float:
    values = scale.ticks(7)
    return values[1] - values[0] if len(values) > 1 else 1.0


def _bin_text(low: float, high: float, edge: float) -> str:
    if low <= -edge:
        return f"below {formats.decimal(high)} bps"
    if high >= edge:
        return f"above {formats.decimal(low)} bps"
    return f"{formats.decimal(low)} to {formats.decimal(high)} bps"


@dataclass(frozen=True)
class Interval:
    """One row of an interval figure: bps; `note` stands at the right."""

    label: str
    value: float
    low: float
    high: float
    note: str
    kind: str = ""


def interval_figure(
    rows: Sequence[Interval], *, title: str, label: str, cost: float | None = None, width: int = 460, left: int = 120
) -> Markup:
    """Estimates with intervals, one below the other, on a common scale in bps."""
    row_height = 19
    frame = Frame(width=width, height=30 + row_height * len(rows) + 34, left=left, right=56, top=12, bottom=36)
    every = [bound for row in rows for bound in (row.value, row.low, row.high)]
    x = frame.x(*widened(every, include=(0.0,) if cost is None else (0.0, cost)))
    bottom = frame.height - frame.bottom
    ticks = [(x(value), tick_text(value, _step(x))) for value in x.ticks(6)]
    parts = [
        *(
            element("line", x1=float(place), x2=float(place), y1=frame.top, y2=bottom, class_="grid")
            for place, _ in ticks
        ),
        element("line", x1=float(x(0)), x2=float(x(0)), y1=frame.top, y2=bottom, class_="zero"),
    ]
    if cost is not None:
        parts.append(element("line", x1=float(x(cost)), x2=float(x(cost)), y1=frame.top, y2=bottom, class_="limit"))
        parts.append(element("text", "cost", x=float(x(cost)), y=frame.top - 2, text_anchor="middle", class_="note"))
    for index, row in enumerate(rows):
        y = frame.top + 14 + index * row_height
        tip = f"{row.label}: {formats.decimal(row.value)} bps"
        marks = [element("rect", x=0, y=y - row_height / 2, width=frame.width, height=row_height, class_="catch")]
        marks.append(element("text", row.label, x=frame.left - 8, y=y + 3.6, text_anchor="end", class_="row"))
        marks.append(element("text", row.note, x=frame.width - 2, y=y + 3.6, text_anchor="end", class_="tick"))
        if formats.is_known(row.low) and formats.is_known(row.high):
            tip += f", {formats.decimal(row.low)} … {formats.decimal(row.high)}"
            low, high = max(x(row.low), frame.left), min(x(row.high), frame.width - frame.right)
            marks.append(
                element(
                    "line",
                    x1=float(low),
                    x2=float(high),
                    y1=float(y),
                    y2=float(y),
                    class_=f"whisker {row.kind}".strip(),
                )
            )
        if formats.is_known(row.value):
            marks.append(
                element("circle", cx=float(x(row.value)), cy=float(y), r=3.4, class_=f"dot {row.kind}".strip())
            )
        parts.append(group(marks, data_tip=tip))
    parts.append(x_axis(frame, ticks, label))
    return figure(frame, title, parts)


@dataclass(frozen=True)
class Step:
    """One step of a waterfall, bps; a total starts from zero."""

    label: str
    value: float
    is_total: bool = False


def waterfall_figure(steps: Sequence[Step], *, title: str, net: tuple[float, float] | None = None) -> Markup:
    """From the raw mean to what is left, step by step, in bps; `net` bounds the last total's 90 % interval."""
    frame = Frame(width=460, height=250, left=46, bottom=52)
    level, spans = 0.0, []
    for step in steps:
        start = 0.0 if step.is_total else level
        level = step.value if step.is_total else level + step.value
        spans.append((start, level))
    y = frame.y(*widened([value for span in spans for value in span], include=(0.0, *(net or ()))))
    pitch = (frame.width - frame.left - frame.right) / len(steps)
    parts = [y_axis(frame, y, "bps per trade")]
    for index, (step, (start, end)) in enumerate(zip(steps, spans, strict=True)):
        left = frame.left + index * pitch
        kind = "total" if step.is_total else "gain" if step.value >= 0 else "loss"
        text = formats.decimal(step.value, plus=not step.is_total)
        parts.append(
            element(
                "rect",
                x=float(left + pitch * 0.14),
                y=float(min(y(start), y(end))),
                width=float(pitch * 0.72),
                height=float(max(abs(y(start) - y(end)), 0.8)),
                class_=f"bar {kind}",
                data_tip=f"{step.label}: {text} bps",
            )
        )
        parts.append(
            element(
                "text",
                text,
                x=float(left + pitch / 2),
                y=float((y(net[1]) if net is not None and index + 1 == len(steps) else min(y(start), y(end))) - 4),
                text_anchor="middle",
                class_="value",
            )
        )
        for number_, word in enumerate(step.label.split(" ", 1)):
            parts.append(
                element(
                    "text",
                    word,
                    x=float(left + pitch / 2),
                    y=frame.height - frame.bottom + 15 + 12 * number_,
                    text_anchor="middle",
                    class_="tick",
                )
            )
        if index + 1 < len(steps) and not steps[index + 1].is_total:
            parts.append(
                element(
                    "line",
                    x1=float(left + pitch * 0.86),
                    x2=float(left + pitch * 1.14),
                    y1=float(y(end)),
                    y2=float(y(end)),
                    class_="grid",
                )
            )
    if net is not None:
        place = frame.left + (len(steps) - 0.5) * pitch
        parts.append(
            element(
                "line",
                x1=float(place),
                x2=float(place),
                y1=float(y(net[0])),
                y2=float(y(net[1])),
                class_="whisker strong",
            )
        )
    parts.append(
        element("line", x1=frame.left, x2=frame.width - frame.right, y1=float(y(0)), y2=float(y(0)), class_="axis")
    )
    return figure(frame, title, parts)


@dataclass(frozen=True)
class Candles:
    """Bars around one trade, oldest first; prices in quote currency, NaN in gaps. Places are positions among the bars."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    event_at: int
    entry_at: int
    exit_at: int
    entry_price: float
    exit_price: float
    is_long: bool
    bar_minutes: int = BAR_MINUTES


def candle_figure(candles: Candles, *, title: str) -> Markup:
    """The bars of one trade with the event's bar, entry and exit marked."""
    frame = Frame(width=230, height=160, left=44, right=6, top=10, bottom=22)
    count = len(candles.open)
    x = frame.x(-0.5, count - 0.5)
    low, high = widened([*candles.low, *candles.high], include=(candles.entry_price, candles.exit_price))
    y = frame.y(low, high)
    half = max(0.6, min(3.5, (x(1) - x(0)) * 0.34))
    up, down = _candle_paths(candles, x, y, half)
    x_event, x_entry, x_exit = x(candles.event_at), x(candles.entry_at), x(candles.exit_at)
    plot = frame.height - frame.top - frame.bottom
    is_gain = (candles.exit_price >= candles.entry_price) == candles.is_long
    ticks = [
        (x(place), minutes_text((place - candles.entry_at) * candles.bar_minutes))
        for place in _candle_ticks(candles, count)
    ]
    parts = [
        element(
            "rect", x=float(x_entry), y=frame.top, width=float(max(x_exit - x_entry, 0.5)), height=plot, class_="held"
        ),
        y_axis(frame, y, "", most=4),
        element(
            "line", x1=float(x_event), x2=float(x_event), y1=frame.top, y2=frame.height - frame.bottom, class_="event"
        ),
        element("path", d=up, class_="candle up"),
        element("path", d=down, class_="candle down"),
        element(
            "line",
            x1=float(x_entry),
            y1=float(y(candles.entry_price)),
            x2=float(x_exit),
            y2=float(y(candles.exit_price)),
            class_=f"trade {'gain' if is_gain else 'loss'}",
        ),
        _triangle(x_entry, y(candles.entry_price), up=candles.is_long),
        element(
            "rect", x=float(x_exit - 3.2), y=float(y(candles.exit_price) - 3.2), width=6.4, height=6.4, class_="exit"
        ),
        element("text", "event", x=float(x_event - 3), y=frame.top + 9, text_anchor="end", class_="note"),
        x_axis(frame, ticks, ""),
    ]
    return figure(frame, title, parts)


def _candle_paths(candles: Candles, x: Scale, y: Scale, half: float) -> tuple[str, str]:
    """One path of all rising bars and one of all falling ones: each a wick and a body, `half` as wide to either side."""
    opens, highs, lows, closes = (
        np.asarray(each, dtype=np.float64) for each in (candles.open, candles.high, candles.low, candles.close)
    )
    known = np.isfinite(opens + highs + lows + closes)
    top = y(np.maximum(opens, closes)[known])
    bottom = np.maximum(y(np.minimum(opens, closes)[known]), top + 0.5)
    place = x(np.flatnonzero(known).astype(np.float64))
    columns = (place, y(highs[known]), y(lows[known]), place - half, top, bottom)
    width = number(2 * half)
    paths: tuple[list[str], list[str]] = ([], [])
    for is_up, *values in zip((closes >= opens)[known].tolist(), *(each.tolist() for each in columns), strict=True):
        at, high, low, left, upper, lower = map(number, values)
        paths[0 if is_up else 1].append(f"M{at} {high}V{low}M{left} {upper}h{width}V{lower}h-{width}z")
    return "".join(paths[0]), "".join(paths[1])


def _candle_ticks(candles: Candles, count: int) -> list[int]:
    held = max(candles.exit_at - candles.entry_at, 1)
    places = [candles.entry_at, candles.exit_at]
    before = candles.entry_at - max(held, 12)
    if before >= 0:
        places.append(before)
    return sorted(place for place in set(places) if 0 <= place < count)


def _triangle(x: float, y: float, *, up: bool) -> Markup:
    tip, base = (-5, 4) if up else (5, -4)
    return element("path", d=path_of([(x, y + tip), (x - 4.6, y + base), (x + 4.6, y + base)]) + "Z", class_="entry")


def p_value_figure(p: Floats, *, title: str, bins: int = 20) -> Markup:
    """How the p-values of all tests spread, beside the flat line that pure luck would give."""
    frame = Frame(height=230, left=58)
    counts, edges = np.histogram(p, np.linspace(0, 1, bins + 1))
    flat = len(p) / bins
    x, y = frame.x(0, 1), frame.y(0, max(float(counts.max(initial=1)), flat) * 1.1)
    width = x(edges[1]) - x(edges[0])
    parts = [
        y_axis(frame, y, "tested hypotheses"),
        group(
            element(
                "rect",
                x=float(x(low) + 0.5),
                y=float(y(n)),
                width=float(width - 1),
                height=float(y(0) - y(n)),
                class_="bar",
                data_tip=f"p from {low:.2f} to {low + 1 / bins:.2f}: {int(n):,}; luck alone {flat:,.0f}",
            )
            for low, n in zip(edges, counts, strict=False)
        ),
        element(
            "line", x1=frame.left, x2=frame.width - frame.right, y1=float(y(flat)), y2=float(y(flat)), class_="limit"
        ),
        element(
            "text",
            f"luck alone: {flat:,.0f}",
            x=frame.width - frame.right - 2,
            y=float(min(y(flat), y(counts[-len(counts) // 3 :].max(initial=0))) - 5),
            text_anchor="end",
            class_="note",
        ),
        x_axis(frame, [(x(value), f"{value:g}") for value in (0, 0.2, 0.4, 0.6, 0.8, 1)], "p-value of a single test"),
    ]
    return figure(frame, title, parts)


@dataclass(frozen=True)
class Point:
    """One point of a scatter figure, bps."""

    x: float
    y: float
    tip: str
    kind: str = ""


def agreement_figure(points: Sequence[Point], *, title: str) -> Markup:
    """Estimates of the discovery fold against those of the untouched one; what was luck falls towards zero."""
    frame = Frame(height=270, left=50)
    xs, ys = [point.x for point in points], [point.y for point in points]
    x, y = frame.x(*widened(xs, include=(0.0,))), frame.y(*widened(ys, include=(0.0, max(ys, default=0.0))))
    low, high = max(x.low, y.low), min(x.high, y.high)
    parts = [
        y_axis(frame, y, "confirmation mean (bps)"),
        element("line", x1=float(x(0)), x2=float(x(0)), y1=frame.top, y2=frame.height - frame.bottom, class_="zero"),
    ]
    if high > low:
        parts.append(
            element("line", x1=float(x(low)), y1=float(y(low)), x2=float(x(high)), y2=float(y(high)), class_="limit")
        )
    parts.append(
        group(
            element(
                "circle",
                cx=float(x(point.x)),
                cy=float(y(point.y)),
                r=3.0,
                class_=f"dot {point.kind}".strip(),
                data_tip=point.tip,
            )
            for point in points
        )
    )
    parts.append(
        x_axis(frame, [(x(value), tick_text(value, _step(x))) for value in x.ticks(6)], "discovery mean, shrunk (bps)")
    )
    return figure(frame, title, parts)


def monthly_figure(
    months: Sequence[dt.date],
    counts: Sequence[float],
    *,
    title: str,
    label: str,
    bounds: tuple[float, float] | None = None,
    kind: str = "",
) -> Markup:
    """One bar a month; `bounds` are drawn as lines where they lie in reach."""
    frame = Frame(width=860, height=230)
    top = max([*counts, 1.0])
    if bounds is not None and bounds[1] < 2 * top:
        top = max(top, bounds[1])
    x, y = frame.x(-0.5, len(months) - 0.5), frame.y(0, top * 1.1)
    width = (x(1) - x(0)) * 0.78
    parts = [
        y_axis(frame, y, label),
        group(
            element(
                "rect",
                x=float(x(index) - width / 2),
                y=float(y(n)),
                width=float(width),
                height=float(y(0) - y(n)),
                class_=f"bar {kind}".strip(),
                data_tip=f"{month:%B %Y}: {formats.decimal(n)}",
            )
            for index, (month, n) in enumerate(zip(months, counts, strict=True))
        ),
    ]
    for bound in bounds or ():
        if bound <= top * 1.1:
            parts.append(
                element(
                    "line",
                    x1=frame.left,
                    x2=frame.width - frame.right,
                    y1=float(y(bound)),
                    y2=float(y(bound)),
                    class_="limit",
                )
            )
    every = max(1, math.ceil(len(months) / 12))
    ticks = [
        (x(index), f"{month:%Y}" if month.month == 1 else f"{month:%b}" if len(months) <= 24 else f"{month:%b %y}")
        for index, month in enumerate(months)
        if index % every == 0
    ]
    parts.append(x_axis(frame, ticks, "month"))
    return figure(frame, title, parts)


def column_figure(names: Sequence[str], values: Floats, *, title: str, label: str, axis: str, kind: str = "") -> Markup:
    """One column a name."""
    frame = Frame(height=220)
    x, y = frame.x(-0.5, len(names) - 0.5), frame.y(0, max(float(values.max(initial=1.0)), 1.0) * 1.1)
    width = (x(1) - x(0)) * 0.8
    every = max(1, math.ceil(len(names) / 12))
    parts = [
        y_axis(frame, y, label),
        group(
            element(
                "rect",
                x=float(x(index) - width / 2),
                y=float(y(value)),
                width=float(width),
                height=float(y(0) - y(value)),
                class_=f"bar {kind}".strip(),
                data_tip=f"{name}: {formats.count(value)} {label}",
            )
            for index, (name, value) in enumerate(zip(names, values, strict=True))
        ),
        x_axis(frame, [(x(index), name) for index, name in enumerate(names) if index % every == 0], axis),
    ]
    return figure(frame, title, parts)


def sparkline(values: Sequence[float], *, title: str, kind: str = "") -> Markup:
    """A tiny line without axes."""
    frame = Frame(width=120, height=26, left=1, right=1, top=3, bottom=3)
    x, y = frame.x(0, max(len(values) - 1, 1)), frame.y(0, max([*values, 1.0]))
    return figure(
        frame,
        title,
        [line(x, y, list(range(len(values))), list(values), class_=f"line thin {kind}".strip())],
        class_="spark",
    )


def calendar_figure(days: Sequence[dt.date], shares: Sequence[float], notes: Sequence[str], *, title: str) -> Markup:
    """One cell a day, weeks in columns: how much of the day's data is there and sound."""
    cell, pitch = 9.0, 11.0
    if not days:
        return Markup("")
    first = days[0] - dt.timedelta(days=days[0].weekday())
    weeks = (days[-1] - first).days // 7 + 1
    frame = Frame(width=int(40 + weeks * pitch), height=int(20 + 7 * pitch + 4), left=36, right=2, top=18, bottom=2)
    cells: list[Markup] = []
    marks: list[tuple[float, str]] = []
    for day, share, note in zip(days, shares, notes, strict=True):
        week, weekday = divmod((day - first).days, 7)
        cells.append(
            element(
                "rect",
                x=float(frame.left + week * pitch),
                y=float(frame.top + weekday * pitch),
                width=cell,
                height=cell,
                rx=1.5,
                class_=_coverage_class(share),
                data_tip=note,
            )
        )
        if day.day == 1 or day == days[0]:
            text = f"{day:%b}" if day.month != 1 else f"{day:%Y}"
            if not marks or frame.left + week * pitch > marks[-1][0] + 26:
                marks.append((frame.left + week * pitch, text))
    labels = [
        element(
            "text", name, x=frame.left - 5, y=float(frame.top + index * pitch + 8), text_anchor="end", class_="tick"
        )
        for index, name in ((0, "Mon"), (2, "Wed"), (4, "Fri"))
    ]
    months = [element("text", text, x=float(place), y=12, class_="tick") for place, text in marks]
    return figure(frame, title, [group(months), group(labels), group(cells)], class_="plot calendar")


def _coverage_class(share: float) -> str:
    if math.isnan(share):
        return "day none"
    if share >= 1:
        return "day full"
    return "day most" if share >= 0.99 else "day some" if share >= 0.5 else "day few"


def matrix_figure(names: Sequence[str], shares: Floats, *, title: str) -> Markup:
    """Shares of rows that meet columns, as a grid of shades."""
    cell = 13.0
    left = 10 + 5.6 * max((len(name) for name in names), default=0)
    frame = Frame(
        width=int(left + cell * len(names) + 10),
        height=int(left * 0.78 + cell * len(names) + 10),
        left=int(left),
        top=int(left * 0.78),
        right=2,
        bottom=2,
    )
    parts = []
    for row, name in enumerate(names):
        y = frame.top + row * cell
        parts.append(element("text", name, x=frame.left - 5, y=float(y + 9.5), text_anchor="end", class_="tick"))
        x = frame.left + row * cell + 9.5
        parts.append(
            element(
                "text",
                name,
                x=float(x),
                y=frame.top - 5,
                class_="tick",
                transform=f"rotate(-55 {x:.1f} {frame.top - 5})",
            )
        )
        for column, other in enumerate(names):
            share = float(shares[row, column])
            if row == column or not math.isfinite(share) or share < 0.02:
                continue
            parts.append(
                element(
                    "rect",
                    x=float(frame.left + column * cell + 0.5),
                    y=float(y + 0.5),
                    width=cell - 1,
                    height=cell - 1,
                    class_=f"cell c{min(int(share * 10), 9)}",
                    data_tip=f"{share:.0%} of {name} have {other} within an hour",
                )
            )
    edge = cell * len(names)
    parts.append(element("rect", x=frame.left, y=frame.top, width=float(edge), height=float(edge), class_="box"))
    return figure(frame, title, parts)


@dataclass(frozen=True)
class Curve:
    """A named line over time."""

    name: str
    values: Floats
    kind: str = ""


def _key_class(kind: str) -> str:
    return f"key-line {kind}".strip() if not kind or kind.startswith("hue") else f"key-{kind.split()[0]}"


def time_figure(
    days: Sequence[dt.date],
    curves: Sequence[Curve],
    *,
    title: str,
    label: str,
    shaded: Sequence[tuple[dt.date, dt.date, str]] = (),
    fill: bool = False,
    height: int = 260,
    decimals: int = 2,
    unit: str = "",
) -> Markup:
    """Lines over days with shaded spans named at their top."""
    if not days:
        return Markup("")
    keys = [(_key_class(curve.kind), curve.name) for curve in curves]
    is_wide = sum(legend_width(name) for _, name in keys) > 780
    more = 13 * (len(keys) - 1) if is_wide else 0
    frame = Frame(width=860, height=height + more, left=62, top=26 + more)
    numbers = [float(day.toordinal()) for day in days]
    x = frame.x(numbers[0], max(numbers[-1], numbers[0] + 1))
    every = [float(value) for curve in curves for value in curve.values]
    y = frame.y(*widened(every, include=(0.0,) if fill else ()))
    parts = []
    for number_, (first, last, name) in enumerate(shaded):
        start, end = max(x(first.toordinal()), frame.left), min(x(last.toordinal()), frame.width - frame.right)
        if end > start:
            parts.append(
                element(
                    "rect",
                    x=float(start),
                    y=frame.top,
                    width=float(end - start),
                    height=frame.height - frame.top - frame.bottom,
                    class_=f"window w{number_ % 3}",
                )
            )
            parts.append(element("text", name, x=float(start + 2), y=frame.top - 4, class_="note"))
    parts.append(y_axis(frame, y, label))
    for curve in curves:
        if fill:
            parts.append(
                band(
                    x,
                    y,
                    numbers,
                    [min(0.0, value) for value in curve.values],
                    [max(0.0, value) for value in curve.values],
                    class_=f"area {curve.kind}".strip(),
                )
            )
        parts.append(line(x, y, numbers, list(curve.values), class_=f"line {curve.kind}".strip()))
    if len(curves) > 1:
        rows = [[key] for key in keys] if is_wide else [keys]
        parts += [legend(row, frame, at=(float(frame.left), 10.0 + 13 * place)) for place, row in enumerate(rows)]
    parts.append(
        x_axis(frame, [(x(day.toordinal()), text) for day, text in date_ticks(days[0], days[-1])], "date (UTC)")
    )
    step = max(1, len(days) // 240)
    shown = range(0, len(days), step)
    texts = [
        "; ".join(
            [
                f"{days[index]}",
                *(f"{curve.name} {formats.decimal(float(curve.values[index]), decimals)}{unit}" for curve in curves),
            ]
        )
        for index in shown
    ]
    parts.append(hover_columns(frame, [x(numbers[index]) for index in shown], texts))
    return figure(frame, title, parts)
