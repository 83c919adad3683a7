"""All hypotheses of a run as columns of numbers for the page's script: small enough for twenty thousand of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from backtest.reports.html.pages.columns import packed
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
    "after_cost_expectancy",
    "confirmation_expectancy",
    "break_even_cost",
    "placebo_mean",
    "mean_favourable_excursion",
    "mean_adverse_excursion",
)
NUMBERS: Final = (
    "n_events",
    "n_days",
    "confirmation_n_events",
    "confirmation_n_days",
    "t_stat",
    "adjusted_t_stat",
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
    "placebo_p",
)
PLACEBO: Final = ("placebo_mean", "placebo_p")
DIGITS: Final = 2
ONE_DECIMAL: Final = frozenset({"t_stat", "adjusted_t_stat"})
BITS: Final = ("gate_tree_bh", "gate_tier_a", "is_confirmation_candidate")
"""After the gates; the last bit is set for a trade in the event's direction."""


def table_data(candidates: pl.DataFrame, pages: Collection[str], placebo: pl.DataFrame | None = None) -> dict[str, Any]:
    """Columns by name, `columns.packed`: texts, returns in bps as they are shown, numbers to two digits, gates as bits.

    `pages` are the ids of candidates that have a page of their own; `placebo` is `placebo.PLACEBO_SCHEMA`.
    """
    import polars as pl

    from backtest.discovery.gates import GATES

    if placebo is None:
        placebo = pl.DataFrame(schema={"candidate_id": pl.String, **dict.fromkeys(PLACEBO, pl.Float64)})
    rows = candidates.join(
        placebo.select("candidate_id", *PLACEBO), on="candidate_id", how="left", maintain_order="left"
    )
    margins = [gate.replace("gate_", "margin_", 1) for gate in GATES]
    bits = (*(pl.col(name).fill_null(value=False) for name in (*GATES, *BITS)), pl.col("direction") > 0)
    passed = (bit.cast(pl.Int64) * (1 << place) for place, bit in enumerate(bits))
    figures = rows.select(
        *(pl.col(name).fill_null("") for name in CODED),
        *((pl.col(name) * 1e4).round(1) for name in BPS),
        *(_short(rows.schema[name], name) for name in (*NUMBERS, *margins)),
        pl.sum_horizontal(passed).alias("gates"),
    )
    ids = candidates["candidate_id"].to_list()
    return {
        "n": len(candidates),
        "gates": [gate.removeprefix("gate_") for gate in GATES],
        "texts": list(CODED),
        "columns": {column.name: packed(column) for column in figures},
        "pages": {str(index): file_name(one) for index, one in enumerate(ids) if one in pages},
    }


def _short(dtype: pl.DataType, name: str) -> pl.Expr:
    """The column as it is shown: a few significant digits, t with one decimal; counts as they are."""
    import polars as pl

    if name in ONE_DECIMAL:
        return pl.col(name).round(1)
    return pl.col(name).round_sig_figs(DIGITS) if dtype.is_float() else pl.col(name)
