"""All hypotheses of a run as columns of numbers for the page's script: small enough for twenty thousand of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from backtest.reports.html.pages.selection import file_name

if TYPE_CHECKING:
    import polars as pl

CODED: Final = (
    "event_type",
    "template_verb",
    "mirror_verb",
    "horizon",
    "state_id",
    "symbol",
    "policy",
    "signs_by_year",
    "signs_by_symbol",
)
BPS: Final = (
    "expectancy",
    "expectancy_standard_error",
    "cost",
    "posterior_mean",
    "posterior_low",
    "posterior_high",
    "confirmation_expectancy",
    "break_even_cost",
)
NUMBERS: Final = (
    "n_events",
    "n_days",
    "confirmation_n_events",
    "confirmation_n_days",
    "t_stat",
    "p_value",
    "q_value",
    "family_wise_p",
    "confirmation_p",
    "confirmation_q",
    "probability_above_cost",
    "local_false_sign_rate",
    "capacity_usd",
    "largest_day_share",
    "tainted_share",
    "spans_same_sign",
)
DIGITS: Final = 3
FEWER_DIGITS: Final = frozenset(
    {
        "p_value",
        "q_value",
        "family_wise_p",
        "confirmation_p",
        "confirmation_q",
        "local_false_sign_rate",
        "probability_above_cost",
        "capacity_usd",
        "largest_day_share",
        "tainted_share",
    }
)
"""Shown with two digits."""
BITS: Final = ("gate_tree_bh", "gate_tier_a", "is_confirmation_candidate")
"""After the gates; the last bit is set for a trade in the event's direction."""


def table_data(candidates: pl.DataFrame, pages: Collection[str]) -> dict[str, Any]:
    """Columns by name: texts as codes of a list, returns in bps, numbers to three digits, gates as bits.

    `pages` are the ids of candidates that have a page of their own.
    """
    import polars as pl

    from backtest.discovery.gates import GATES

    margins = [gate.replace("gate_", "margin_", 1) for gate in GATES]
    texts: dict[str, list[str]] = {}
    columns: dict[str, list[Any]] = {}
    for name in CODED:
        values = candidates[name].fill_null("").to_list()
        texts[name] = sorted(set(values))
        code = {text: number for number, text in enumerate(texts[name])}
        columns[name] = [code[value] for value in values]
    figures = candidates.select(
        *((pl.col(name) * 1e4).round(1 if name in ("posterior_low", "posterior_high") else 2) for name in BPS),
        *(_short(candidates.schema[name], name) for name in (*NUMBERS, *margins)),
    )
    columns.update(figures.to_dict(as_series=False))
    bits = (*(pl.col(name).fill_null(value=False) for name in (*GATES, *BITS)), pl.col("direction") > 0)
    passed = (bit.cast(pl.Int64) * (1 << place) for place, bit in enumerate(bits))
    columns["gates"] = candidates.select(pl.sum_horizontal(passed)).to_series().to_list()
    ids = candidates["candidate_id"].to_list()
    return {
        "n": len(candidates),
        "gates": [gate.removeprefix("gate_") for gate in GATES],
        "texts": texts,
        "columns": columns,
        "pages": {str(index): file_name(one) for index, one in enumerate(ids) if one in pages},
    }


def _short(dtype: pl.DataType, name: str) -> pl.Expr:
    """The column to a few significant digits; counts as they are."""
    import polars as pl

    digits = 2 if name in FEWER_DIGITS or name.startswith("margin_") else DIGITS
    return pl.col(name).round_sig_figs(digits) if dtype.is_float() else pl.col(name)


def as_script(name: str, value: Any) -> str:
    """A script that hands `value` to the page; texts cannot end it early.

    ``<``, ``>``, ``&`` and line separators are written as escapes, so that the file is the same text inside a page.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'(window.BACKTEST=window.BACKTEST||{{}})["{name}"]={text};\n'
