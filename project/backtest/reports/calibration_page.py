"""A calibration as a page of the documentation, and as the figures that are shipped with the program."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from backtest.evaluation.calibration import LEVELS, PLANTED, PROCEDURES
from backtest.evaluation.calibration_limits import Limit
from backtest.evaluation.error_rates import ALL_PLANTED, WITHOUT_ESTIMATES
from backtest.evaluation.measured import SCHEMA
from backtest.reports.calibration import limit_text, share_text

PAGE: Final = "docs/calibration.md"
FIGURE: Final = "docs/images/calibration.svg"
SHIPPED: Final = "project/backtest/evaluation/measured/error_rates.json"
"""Where the page, its figure and the shipped figures lie in a checkout."""

ABOUT: Final = {
    "null": "Simulated years of two symbols in which nothing predicts anything: every discovery is false.",
    "bull market": "As null, with prices expected to rise by a factor of e in the year.",
    "90 days": "As null, with 90 days in place of a year.",
    "180 days": "As null, with 180 days.",
    "bounce": "As null, with closes that end at bid or ask, 1 bps from the efficient price: neighbouring returns truly "
    "reverse, though nobody could earn it. No null world in the strict sense.",
    "random signs": "The real bars of the lake, each bar's return with a random sign, the same on all symbols: real "
    "volatility, volume and funding, and nothing predicts a return.",
    "shifted days": "The real bars as they are; all events moved by the same random number of days. The test reads each moved "
    "trade in units of the volatility expected where it now lies (studentised); the naive t reads plain returns.",
    ALL_PLANTED: "All worlds with edges together.",
}
"""What each group of worlds is; planted ones are told by `_about`."""


def as_published(
    report: Mapping[str, Any],
    limits: Sequence[Limit],
    *,
    full_size: Mapping[str, int],
    real_bars: Mapping[str, Any] | None,
    **described: Any,
) -> dict[str, Any]:
    """The calibration in the form of `evaluation.measured`."""
    own = [group for name, group in report.items() if name != ALL_PLANTED]
    copies = sum(group["worlds"] for group in own if group["kind"] in ("random signs", "shifted days"))
    return {
        "schema": SCHEMA,
        **described,
        "worlds": {"simulated": sum(group["worlds"] for group in own) - copies, "copies_of_real_bars": copies},
        "full_size": dict(full_size),
        "groups": dict(report),
        "limits": [
            {
                "text": limit.text,
                "found": limit.found,
                "least": limit.least if math.isfinite(limit.least) else None,
                "most": limit.most if math.isfinite(limit.most) else None,
                "is_kept": limit.is_kept,
            }
            for limit in limits
        ],
        "real_bars": real_bars,
    }


def limits_of(published: Mapping[str, Any]) -> list[Limit]:
    """The bounds of a published calibration."""
    return [
        Limit(
            limit["text"],
            limit["found"],
            -math.inf if limit["least"] is None else limit["least"],
            math.inf if limit["most"] is None else limit["most"],
        )
        for limit in published["limits"]
    ]


def calibration_page(published: Mapping[str, Any]) -> str:
    """The page `docs/calibration.md`, Markdown."""
    groups = published["groups"]
    nulls = {name: group for name, group in groups.items() if not group["is_planted"]}
    planted = {name: group for name, group in groups.items() if group["is_planted"]}
    parts = [
        _head(published),
        _shortfall(published),
        _verdicts(limits_of(published)),
        "![Share of worlds without any edge in which something is found, and power by the size of the edge]"
        "(images/calibration.svg)",
        _worlds(groups),
        _nulls(nulls) if nulls else "",
        _planted(planted) if planted else "",
        _estimates(planted) if planted else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(published: Mapping[str, Any]) -> str:
    real, worlds = published["real_bars"], published["worlds"]
    of_bars = (
        f", copies of the bars of {', '.join(real['symbols'])} from {real['start'][:10]} to {real['end'][:10]}"
        if real
        else ""
    )
    return f"""# Calibration

How often the search reports what is not there, and how often it finds what is. This page, its figure and the figures that
runs quote are written by the program:

| | |
|---|---|
| command | `{published["command"]}` |
| measured on | {published["measured_on"]}, seed {published["seed"]} |
| commit | {published["commit"] or "unknown"} |
| hash of the spec | {published["ontology_spec_hash"]} |
| hash of the code of the search | {published["code_hash"]} |
| worlds | {worlds["simulated"]} simulated, {worlds["copies_of_real_bars"]} copies of real bars{of_bars} |

Another spec or code has other rates: measure them by `make calibrate`. A share is given in per cent with its 95 % interval
in brackets: exact (Clopper & Pearson) where worlds are counted; elsewhere from the variation between worlds, which are
independent, while the hypotheses of one world are not."""


def _shortfall(published: Mapping[str, Any]) -> str:
    """A sentence where fewer worlds were searched than a full calibration has; empty where not."""
    missing = [
        f"{published['worlds'][kind]} of {full} {words}"
        for kind, words in (("simulated", "simulated worlds"), ("copies_of_real_bars", "copies of real bars"))
        if published["worlds"][kind] < (full := published["full_size"][kind])
    ]
    if not missing:
        return ""
    return (
        f"**This is less than a full calibration**: it was stopped after {' and '.join(missing)}. Its intervals are wider, a "
        "limit on a share of worlds may be broken or kept by luck, and the plan of the full size is not met. The same command "
        "goes on."
    )


def _verdicts(limits: Sequence[Limit]) -> str:
    broken = [limit for limit in limits if not limit.is_kept]
    lines = ["## What was promised, and whether it was kept", ""]
    if broken:
        lines += [f"{len(limits) - len(broken)} of {len(limits)} limits are kept. Broken:", ""]
        lines += [f"- **{limit_text(limit)}**" for limit in broken]
    else:
        lines += [f"All {len(limits)} limits are kept."]
    rows = [
        (
            limit.text,
            _number(limit.found),
            _number(limit.least),
            _number(limit.most),
            "yes" if limit.is_kept else "**no**",
        )
        for limit in limits
    ]
    return "\n".join([*lines, "", _table(("limit", "found", "at least", "at most", "kept"), rows)])


def _number(value: float | None) -> str:
    if value is None:
        return "nothing"
    return "" if math.isinf(value) else f"{value:.4g}"


def _worlds(groups: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (name, group["worlds"], f"{group['eligible']:,.0f}", f"{group['seconds_per_world']:.1f}", _about(name, group))
        for name, group in groups.items()
    ]
    return "## The worlds\n\n" + _table(("group", "worlds", "hypotheses tested", "CPU s each", "what it is"), rows)


def _about(name: str, group: Mapping[str, Any]) -> str:
    if name in ABOUT or group["kind"] not in PLANTED:
        return ABOUT.get(name, "")
    count = f"on {group['planted_events']:,.0f} events a world on average"
    if group["kind"] == "weak":
        return f"Simulated years with twelve edges of {group['bps']:g} bps each, {count} in all."
    if group["kind"] == "net":
        return f"Simulated years with one edge of {group['bps']:g} bps beyond the cost of a round trip, {count}."
    return f"Simulated years with one edge of {group['bps']:g} bps before cost, {count}."


def _nulls(groups: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [
        "## Worlds without an edge",
        "Share of the worlds in which a procedure reports anything at all, in per cent. The first three are what is commonly "
        "done; each was applied to the same worlds.",
        _table(
            ("procedure", *groups),
            [
                (text, *(share_text(group["procedures"][name]["share_with_any"], 1) for group in groups.values()))
                for name, text in PROCEDURES.items()
            ],
        ),
        "Share of the hypotheses whose p-value is at most a level, in per cent: it should be the level. The search uses the "
        "t of day clusters; the naive t takes every trade for independent.",
    ]
    for name, group in groups.items():
        rows = []
        for kind, entries in group["rejection"].items():
            for horizon, entry in entries.items():
                shares = (share_text(entry[f"{level:g}"]) for level in LEVELS)
                rows.append((f"{kind} t", horizon, f"{entry['hypotheses']:,}", *shares))
        head = ("test", "horizon", "hypotheses", *(f"at {100 * level:g} %" for level in LEVELS))
        parts += [f"### {name}", _table(head, [row for row in rows if row[2] != "0"])]
    return "\n\n".join(parts)


def _planted(groups: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [
        "## Worlds with edges",
        "False share: of what a procedure reports in a world, the share whose truth is zero or on the other side (for the last "
        "two: at most the cost), mean over worlds. Power: of the hypotheses on the planted events whose truth is at least "
        "half of what was planted, thin ones in single states among them, the share it finds. Trade found: share of the "
        "worlds in which it reports the planted trade itself, over all states and both symbols at the planted horizon, of "
        "those worlds in which such a trade with at least 80 % of the planted return is tested (their number is given: what "
        "is planted moves prices, and with them events that hang on a few bps, so that in the others no trade of that size "
        "is left to be found). Event found: share of all worlds in which it reports anything of the planted event on the "
        "right side.",
    ]
    for name, group in groups.items():
        rows = []
        for procedure, text in PROCEDURES.items():
            entry = group["procedures"][procedure]
            shares = (share_text(entry[key], 1) for key in ("false_share", "power", "trade_found", "event_found"))
            rows.append((text, f"{entry['mean_discoveries']:.1f}", *shares))
        head = ("procedure", "discoveries a world", "false share", "power", "trade found", "event found")
        worlds = f"{group['worlds']} worlds, the planted trade is there to be found in {group['worlds_with_trade']}."
        parts += [f"### {name}", worlds, _table(head, rows)]
    return "\n\n".join(parts)


def _estimates(groups: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, group in groups.items():
        for procedure, text in PROCEDURES.items():
            entry = group["procedures"][procedure]
            if procedure in WITHOUT_ESTIMATES or not entry["means"]:
                continue
            means = (f"{entry[f'mean_{each}_bps'][0]:.2f}" for each in ("raw", "shrunk", "truth"))
            rows.append(
                (name, text, f"{entry['discoveries']:,}", *means, share_text(entry["coverage"], 1),
                 share_text(entry["pooled_false_share"], 1))
            )  # fmt: skip
    errors = [
        (name, f"{error['raw_rmse_bps']:.2f}", f"{error['shrunk_rmse_bps']:.2f}", f"{error['ratio']:.2f}")
        for name, group in groups.items()
        if (error := group["squared_error_ratio"])
    ]
    head = (
        "group",
        "procedure",
        "discoveries",
        "raw, bps",
        "shrunk, bps",
        "truth, bps",
        "90 % intervals cover",
        "false, pooled",
    )
    return "\n\n".join(
        [
            "## Estimates of what was found",
            "Mean of the raw and of the shrunk estimate of the discoveries beside their true mean, in bps per trade; the share "
            "of their 90 % intervals that hold the truth; and the share of all discoveries of the group that are false.",
            _table(head, rows),
            "Root mean squared error over all tested hypotheses, found or not, in bps per trade:",
            _table(("group", "raw", "shrunk", "shrunk over raw"), errors),
        ]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
