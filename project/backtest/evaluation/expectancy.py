"""Conditional expectancy: what a trade earns after each event in each state at each horizon, raw and shrunk."""

from __future__ import annotations

from typing import Final

import polars as pl

EXPECTANCY_SCHEMA: Final[dict[str, pl.DataType]] = {
    "event_type": pl.String(),
    "family": pl.String(),
    "template_verb": pl.String(),
    "horizon": pl.String(),
    "state_id": pl.String(),
    "symbol": pl.String(),
    "direction": pl.Int8(),
    "n_events": pl.Int64(),
    "n_days": pl.Int64(),
    "raw_mean": pl.Float64(),
    "raw_low": pl.Float64(),
    "raw_high": pl.Float64(),
    "shrunk_mean": pl.Float64(),
    "shrunk_low": pl.Float64(),
    "shrunk_high": pl.Float64(),
    "cost": pl.Float64(),
    "raw_net": pl.Float64(),
    "shrunk_net": pl.Float64(),
    "probability_above_cost": pl.Float64(),
    "raw_less_all_states": pl.Float64(),
    "is_eligible": pl.Boolean(),
    "gate_phase2_final": pl.Boolean(),
    "candidate_id": pl.String(),
}
COLUMN_TEXTS: Final[dict[str, str]] = {
    "event_type": "event",
    "family": "family of the event",
    "template_verb": "trade",
    "horizon": "longest time the trade is held",
    "state_id": "market state at the event; all for any",
    "symbol": "symbol; POOLED for all of the run together",
    "direction": "side of the trade: 1 with the event's direction, -1 against it",
    "n_events": "trades in the discovery fold",
    "n_days": "days, or clusters of days, with trades",
    "raw_mean": "mean return above the symbol's mean bar return, before costs (fraction per trade)",
    "raw_low": "lower end of its 90 % interval, by day-cluster jackknife (fraction)",
    "raw_high": "upper end",
    "shrunk_mean": "posterior mean: what is left of it after the search picked it (fraction)",
    "shrunk_low": "lower end of the 90 % posterior interval (fraction)",
    "shrunk_high": "upper end",
    "cost": "fees, spread, impact and funding while held (fraction per trade)",
    "raw_net": "raw_mean less cost (fraction)",
    "shrunk_net": "shrunk_mean less cost (fraction)",
    "probability_above_cost": "posterior probability that the mean is above the cost",
    "raw_less_all_states": "raw_mean less that of the same trade in all states (fraction)",
    "is_eligible": "has enough events and days to be tested",
    "gate_phase2_final": "passed every gate of the discovery",
    "candidate_id": "the hypothesis in the tables of candidates",
}
"""What each column of `EXPECTANCY_SCHEMA` means; a null was not computed, since there are too few days."""
INTERVAL: Final = 0.90


def expectancy_table(candidates: pl.DataFrame) -> pl.DataFrame:
    """The expectancy of every hypothesis of a search, tested or not (`EXPECTANCY_SCHEMA`).

    Parameters
    ----------
    candidates : `candidates.CANDIDATE_SCHEMA`, all of a search. Everything in it is of the discovery fold.

    Returns
    -------
    One row a hypothesis, by event, trade, horizon, state and symbol, in the direction of the side that the data favour.
    """
    from scipy.special import stdtrit

    freedom, error = (candidates[name].to_numpy() for name in ("degrees_of_freedom", "expectancy_standard_error"))
    reach = pl.Series("reach", stdtrit(freedom, 0.5 + INTERVAL / 2.0) * error).fill_nan(None)
    unconditional = candidates.filter(pl.col("state_id") == "all").select(
        "event_type", "policy", "horizon", "symbol", _all=pl.col("expectancy") * pl.col("direction")
    )
    return (
        candidates.with_columns(reach)
        .join(unconditional, on=["event_type", "policy", "horizon", "symbol"], how="left", maintain_order="left")
        .select(
            "event_type", "family", "template_verb", "horizon", "state_id", "symbol", "direction", "n_events", "n_days",
            pl.col("expectancy").alias("raw_mean"),
            (pl.col("expectancy") - pl.col("reach")).alias("raw_low"),
            (pl.col("expectancy") + pl.col("reach")).alias("raw_high"),
            pl.col("posterior_mean").alias("shrunk_mean"),
            pl.col("posterior_low").alias("shrunk_low"),
            pl.col("posterior_high").alias("shrunk_high"),
            "cost",
            (pl.col("expectancy") - pl.col("cost")).alias("raw_net"),
            pl.col("after_cost_expectancy").alias("shrunk_net"),
            "probability_above_cost",
            (pl.col("expectancy") - pl.col("_all") * pl.col("direction")).alias("raw_less_all_states"),
            pl.col("gate_eligible").alias("is_eligible"),
            "gate_phase2_final", "candidate_id",
        )
        .select(pl.col(name).cast(kind) for name, kind in EXPECTANCY_SCHEMA.items())
        .sort("event_type", "template_verb", "horizon", "state_id", "symbol")
    )  # fmt: skip
