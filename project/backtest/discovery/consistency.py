"""Whether an effect has the same sign in every year and on every symbol: reported, no gate."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.spec.models import POOLED

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WHERE: Final = ("event_type", "policy", "horizon", "state_id")


def signs_by_year(owner: Integers, day: Integers, sum_y: Floats, sign: Floats) -> pl.Series:
    """For each hypothesis the sign of its summed return in each calendar year, such as ``2023+ 2024-``.

    Parameters
    ----------
    owner, day, sum_y : (r,) hypothesis, day since 1970-01-01 and Σy in the event's direction, of one fold.
    sign : (m,) ±1, the side of each hypothesis's trade.

    Returns
    -------
    (m,) text; null where a hypothesis has no events.
    """
    years = np.asarray(day, dtype="datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    parts = pl.DataFrame({"owner": owner, "part": years, "total": sum_y * sign[owner]})
    return _joined(parts.with_columns(pl.col("part").cast(pl.String)), len(sign))


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
    mark = (
        pl.when(pl.col("total") > 0)
        .then(pl.lit("+"))
        .when(pl.col("total") < 0)
        .then(pl.lit("-"))
        .otherwise(pl.lit("0"))
    )
    texts = (
        summed.with_columns(pl.concat_str("part", mark).alias("text"))
        .group_by("owner", maintain_order=True)
        .agg(pl.col("text").str.join(" "))
    )
    every = pl.DataFrame({"owner": np.arange(size)})
    return every.join(texts, on="owner", how="left", maintain_order="left")["text"]
