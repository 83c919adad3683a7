"""Effect size of every hypothesis of a search after selection, and what follows from it for trading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.atoms import ATOM_PREFIX, atom_state_ids, states_of
from backtest.discovery.folds import BARS_PER_DAY, Folds
from backtest.discovery.inference import block_days
from backtest.discovery.shrinkage import (
    BlockMeans,
    Posterior,
    block_means,
    log_likelihoods,
    mixture_weights,
    posterior,
    responsibilities,
    variance_grid,
)
from backtest.errors import DataError
from backtest.spec.models import ALL_STATES, POOLED, horizon_bars

if TYPE_CHECKING:
    from backtest.spec.loader import Spec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BPS: Final = 1e-4
TRIAL: Final = ("event_type", "policy", "horizon")
BLOCK: Final = (*TRIAL, "cells")
ATOMS: Final = ""
"""Value of ``cells`` for the blocks whose atoms are symbol × joint states; else the state whose values are the cells."""
INTERVAL: Final = (0.05, 0.95)
MAX_SHARE_OF_BAR: Final = 0.02
"""No capacity above 2 % of what is usually traded in a bar."""


@dataclass(frozen=True)
class EffectSizes:
    """Posterior of those hypotheses (rows of the register) that have an observed atom, in the event's direction."""

    rows: Integers
    posterior: Posterior

    def figures(self, sign: Floats, cost: Floats) -> dict[str, Floats]:
        """Columns of the candidates for trades of side `sign` (±1) that cost `cost` (fraction), NaN without estimate."""
        turned = self.posterior.turned(sign[self.rows])
        low, high = (turned.quantile(share) * BPS for share in INTERVAL)
        values = {
            "posterior_mean": turned.mean * BPS,
            "posterior_sd": turned.standard_deviation * BPS,
            "posterior_low": low,
            "posterior_high": high,
            "local_false_sign_rate": turned.local_false_sign_rate(),
            "p_block_null": turned.null_weight,
            "probability_above_cost": turned.probability_above(cost[self.rows] / BPS),
        }
        return {name: _filled(len(sign), self.rows, value) for name, value in values.items()}


def effect_sizes(register: pl.DataFrame, scores: pl.DataFrame, folds: Folds, spec: Spec) -> EffectSizes:
    """Posterior of every registered hypothesis from the day scores of the discovery fold.

    Hypotheses on all states and on those of `atom_states` are n-weighted means of the joint cells. A state that is not
    one of them has blocks of its own, cells symbol × its values, and takes the mixture that the joint cells of the same
    horizon were fitted to: the same trades are counted once.

    Parameters
    ----------
    register : `hypotheses.REGISTER_SCHEMA`.
    scores : `day_scores.SCORE_SCHEMA` with ``event_type`` and ``symbol``, with the rows of the atoms.

    Raises
    ------
    DataError
        Where an event has day scores and none of its atoms.
    """
    _require_atoms(register, scores)
    owner = _cell_states(register, spec)
    hypotheses = register.with_row_index("row").join(owner, on=["event_type", "state_id"], how="left")
    blocks = hypotheses.select(BLOCK).unique().sort(BLOCK).with_row_index("block")
    days = _cell_days(scores, owner, blocks, folds)
    cells = (
        days.group_by("block", "symbol", "state_id")
        .agg(pl.col("n").sum())
        .sort("block", "symbol", "state_id")
        .with_columns((pl.col("state_id").cum_count().over("block") - 1).cast(pl.Int64).alias("slot"))
    )
    if cells.is_empty():
        return EffectSizes(np.zeros(0, np.int64), Posterior(*(np.zeros((0, 1)) for _ in range(3))))
    shape = (len(blocks), int(cells["slot"].max()) + 1)  # type: ignore[arg-type]
    placed = days.join(cells.drop("n"), on=["block", "symbol", "state_id"])
    means = block_means(
        placed["sum_y"].to_numpy() / BPS,
        placed["n"].to_numpy().astype(np.int64),
        placed["day"].to_numpy().astype(np.int64),
        placed["block"].to_numpy().astype(np.int64),
        placed["slot"].to_numpy(),
        shape,
    )
    rows, block, share = _shares(hypotheses.join(blocks, on=BLOCK), cells, shape[1], means)
    return EffectSizes(rows, _posteriors(blocks, means, block, share))


def capacity_usd(net: Floats, impact: Floats, order_usd: float, usual_turnover_usd: Floats) -> Floats:
    """Largest order at which half of the net return of an infinitely small one is left, ≤ 2 % of a usual bar's turnover.

    Parameters
    ----------
    net : (m,) posterior mean less cost at `order_usd` (fraction).
    impact : (m,) impact of `order_usd` within that cost; it grows with the square root of the order.

    Returns
    -------
    (m,) USD; 0 where even an infinitely small order earns nothing. (g − k√Q ≥ g/2 where Q ≤ (g/2k)².)
    """
    unhindered = net + impact
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.where(impact > 0, order_usd * (unhindered / (2.0 * impact)) ** 2, np.inf)
        largest = np.minimum(largest, MAX_SHARE_OF_BAR * usual_turnover_usd)
    return np.where(np.isnan(net), np.nan, np.where(unhindered > 0, largest, 0.0))


def _require_atoms(register: pl.DataFrame, scores: pl.DataFrame) -> None:
    kinds = scores.select("event_type", "state_id").unique()
    with_atoms = kinds.filter(pl.col("state_id").str.starts_with(ATOM_PREFIX))["event_type"]
    missing = sorted(set(kinds["event_type"]) & set(register["event_type"]) - set(with_atoms))
    if missing:
        raise DataError(
            f"the day scores of {', '.join(missing[:5])} hold no joint states, which effect sizes are estimated on. They "
            "were made by an earlier version; score again: make discover-edges"
        )


def _cell_states(register: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """For each event and state id which cells its hypotheses are made of."""
    state_of = {state_id: name for name, state in spec.states.items() for state_id in state.values}
    rows = []
    for event_type, state_id in register.select("event_type", "state_id").unique().sort(pl.all()).iter_rows():
        is_joint = state_id == ALL_STATES or state_id in atom_state_ids(spec, event_type)
        rows.append((event_type, state_id, ATOMS if is_joint else state_of[state_id]))
    return pl.DataFrame(
        rows, schema={"event_type": pl.String(), "state_id": pl.String(), "cells": pl.String()}, orient="row"
    )


def _cell_days(scores: pl.DataFrame, owner: pl.DataFrame, blocks: pl.DataFrame, folds: Folds) -> pl.DataFrame:
    """Σy and count of every cell and cluster of days of the discovery fold."""
    cut = folds.first_confirmation_day
    columns = (*TRIAL, "symbol", "state_id", "day", "n", "sum_y")
    first = scores.lazy().filter(pl.col("day") < cut).select(columns)
    is_atom = pl.col("state_id").str.starts_with(ATOM_PREFIX)
    joint = first.filter(is_atom).with_columns(pl.lit(ATOMS).alias("cells"))
    others = first.filter(~is_atom).join(owner.lazy().filter(pl.col("cells") != ATOMS), on=["event_type", "state_id"])
    found = (
        pl.concat([joint, others])
        .join(blocks.lazy(), on=BLOCK)
        .select("block", "horizon", "symbol", "state_id", pl.col("day", "n").cast(pl.Int64), "sum_y")
        .collect()
    )
    horizons = found["horizon"].unique().to_list()
    lengths = {name: block_days(horizon_bars(name), BARS_PER_DAY) for name in horizons}
    cell = ("block", "symbol", "state_id", "day")
    if any(length > 1 for length in lengths.values()):
        length = pl.col("horizon").replace_strict(lengths, return_dtype=pl.Int64)
        clustered = found.with_columns(pl.col("day") // length * length)
        found = clustered.group_by(cell).agg(pl.col("n").sum(), pl.col("sum_y").sort().sum())
    return found.select(*cell, "n", "sum_y").sort(cell)


def _shares(
    hypotheses: pl.DataFrame, cells: pl.DataFrame, atoms: int, means: BlockMeans
) -> tuple[Integers, Integers, Floats]:
    """Rows of the register with an observed atom, their blocks, and the share of each atom in their events."""
    covers = cells.with_columns(
        pl.col("state_id").map_elements(_covered, return_dtype=pl.List(pl.String)).alias("state_id"),
        pl.concat_list("symbol", pl.lit(POOLED)).alias("symbol"),
    )
    parts = hypotheses.select("row", "block", "state_id", "symbol").join(
        covers.explode("state_id").explode("symbol"), on=["block", "state_id", "symbol"], how="inner"
    )
    share = np.zeros((len(hypotheses), atoms))
    share[parts["row"].to_numpy(), parts["slot"].to_numpy()] = parts["n"].to_numpy()
    block = hypotheses.sort("row")["block"].to_numpy().astype(np.int64)
    total = share.sum(axis=1)
    rows = np.flatnonzero((total > 0) & means.is_observed[block].any(axis=1))
    return rows, block[rows], share[rows] / total[rows, None]


def _covered(cell: str) -> list[str]:
    """The state ids whose hypotheses contain a cell."""
    return [ALL_STATES, *sorted(states_of(cell))] if cell.startswith(ATOM_PREFIX) else [cell]


def _posteriors(blocks: pl.DataFrame, means: BlockMeans, block: Integers, share: Floats) -> Posterior:
    """Horizon by horizon: fit the mixture to the blocks of joint cells, then the posterior of every hypothesis."""
    names = blocks["horizon"].to_numpy()
    is_joint = (blocks["cells"] == ATOMS).to_numpy() & means.is_observed.any(axis=1)
    components = len(variance_grid(1)[0])
    weight, mean, deviation = (np.zeros((len(block), components)) for _ in range(3))
    for horizon in np.unique(names):
        common, own = variance_grid(horizon_bars(str(horizon)))
        inside = np.flatnonzero(names == horizon)
        local = BlockMeans(means.mean[inside], means.covariance[inside], means.is_observed[inside])
        density = log_likelihoods(local, common, own)
        fitted = mixture_weights(density[is_joint[inside]])
        position = np.full(len(blocks), -1)
        position[inside] = np.arange(len(inside))
        at = np.flatnonzero(position[block] >= 0)
        found = posterior(local, responsibilities(density, fitted), common, own, position[block[at]], share[at])
        weight[at], mean[at], deviation[at] = found.weight, found.component_mean, found.component_sd
    return Posterior(weight, mean, deviation)


def _filled(size: int, at: Integers, values: Floats) -> Floats:
    filled = np.full(size, np.nan)
    filled[at] = values
    return filled
