"""Whether an effect has the same sign in every year and on every symbol: reported, no gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.spec.models import POOLED

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WHERE: Final = ("event_type", "policy", "horizon", "state_id")


def signs_by_year(years: Sequence[int], by_year: Floats) -> pl.Series:
    """For each hypothesis the sign of its trade's summed return in each calendar year, such as ``2023+ 2024-``.

    Parameters
    ----------
    years : the calendar years.
    by_year : (m, years) Σy in the trade's direction; NaN where it has no events.

    Returns
    -------
    (m,) text; null where a hypothesis has no events.
    """
    parts = pl.DataFrame({str(year): by_year[:, column] for column, year in enumerate(years)}, nan_to_null=True)
    texts = (
        pl.when(pl.col(name).is_not_null()).then(pl.concat_str(pl.lit(name), _mark(pl.col(name))))
        for name in parts.columns
    )
    joined = parts.select(pl.concat_str(*texts, separator=" ", ignore_nulls=True).alias("signs"))["signs"]
    return joined.set(joined == "", None)


def signs_by_symbol(register: pl.DataFrame, total_y: Floats, n_events: Integers, sign: Floats) -> pl.Series:
    """For each hypothesis the sign of its trade's summed return on each symbol, such as ``BTCUSDT+ ETHUSDT-``.

    All scopes of an event, policy, horizon and state tell of the same symbols, in the direction of their own trade.

    Parameters
    ----------
    register : (m,) `hypotheses.REGISTER_SCHEMA`.
    total_y, n_events, sign : (m,) Σy in the event's direction, events, and the side of the trade.
    """
    rows = register.select(*WHERE, "symbol").with_columns(
        pl.Series("owner", np.arange(len(sign))),
        pl.Series("total", total_y),
        pl.Series("n", n_events),
        pl.Series("sign", sign),
    )
    of_symbols = rows.filter((pl.col("symbol") != POOLED) & (pl.col("n") > 0))
    parts = rows.select(*WHERE, "owner", "sign").join(of_symbols.select(*WHERE, "symbol", "total"), on=WHERE)
    return _joined(parts.select("owner", pl.col("symbol").alias("part"), pl.col("total") * pl.col("sign")), len(sign))


def _joined(parts: pl.DataFrame, size: int) -> pl.Series:
    """Text of the signs of Σ total of each owner's parts, in the parts' order."""
    summed = parts.group_by("owner", "part").agg(pl.col("total").sort().sum()).sort("owner", "part")
    texts = (
        summed.with_columns(pl.concat_str("part", _mark(pl.col("total"))).alias("text"))
        .group_by("owner", maintain_order=True)
        .agg(pl.col("text").str.join(" "))
    )
    every = pl.DataFrame({"owner": np.arange(size)})
    return every.join(texts, on="owner", how="left", maintain_order="left")["text"]


def _mark(total: pl.Expr) -> pl.Expr:
    return pl.when(total > 0).then(pl.lit("+")).when(total < 0).then(pl.lit("-")).otherwise(pl.lit("0"))
