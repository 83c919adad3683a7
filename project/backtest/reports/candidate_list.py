"""Candidates of a run, chosen and ranked as an operator asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from backtest.errors import MisuseError, did_you_mean

if TYPE_CHECKING:
    import polars as pl

SMALLEST_FIRST: Final = frozenset(
    {
        "p_value",
        "q_value",
        "family_wise_p",
        "confirmation_p",
        "confirmation_q",
        "cost",
        "local_false_sign_rate",
        "p_block_null",
        "posterior_sd",
        "largest_day_share",
        "candidate_id",
    }
)
"""Columns of which less is better; of the others, more."""


def chosen_candidates(
    candidates: pl.DataFrame,
    *,
    only: Mapping[str, str | None],
    gates: Iterable[str] = (),
    passed: bool = False,
    sort: str | None = None,
    limit: int | None = None,
) -> pl.DataFrame:
    """The rows asked for, best first; without `sort`, those that failed the fewest gates and then earn the most after cost.

    Parameters
    ----------
    only : the value that a column must have, by column; None asks for nothing.
    gates : gates that a row must have passed, with or without ``gate_``.

    Raises
    ------
    MisuseError
        A value, gate or column that does not occur, with the nearest that does.
    """
    import polars as pl

    from backtest.discovery.candidates import CANDIDATE_SCHEMA
    from backtest.discovery.gates import GATES

    rows = candidates
    for column, value in only.items():
        if value is not None:
            _require(value, candidates[column].unique().sort().to_list(), column.replace("_", " "))
            rows = rows.filter(pl.col(column) == value)
    known = [name.removeprefix("gate_") for name in CANDIDATE_SCHEMA if name.startswith("gate_")]
    for gate in gates:
        name = gate.removeprefix("gate_")
        _require(name, known, "gate")
        rows = rows.filter(f"gate_{name}")
    if passed:
        rows = rows.filter("gate_phase2_final")
    if sort is None:
        failed = pl.sum_horizontal(~pl.col(gate) for gate in GATES)
        order = [pl.col("gate_eligible"), -failed.cast(pl.Int64), pl.col("after_cost_expectancy")]
        rows = rows.sort([*order, "candidate_id"], descending=[True, True, True, False], nulls_last=True)
    else:
        _require(sort, list(CANDIDATE_SCHEMA), "column")
        rows = rows.sort([sort, "candidate_id"], descending=[sort not in SMALLEST_FIRST, False], nulls_last=True)
    return rows if limit is None else rows.head(limit)


def _require(name: str, allowed: list[str], what: str) -> None:
    if name not in allowed:
        shown = ", ".join(allowed[:12]) + (f" … and {len(allowed) - 12} more" if len(allowed) > 12 else "")
        raise MisuseError(f"there is no {what} {name[:60]!r} here.{did_you_mean(name, allowed)} There are: {shown}.")
