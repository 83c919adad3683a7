"""Effect size of every hypothesis of a search after selection, and what follows from it for trading."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from backtest.discovery.atoms import ATOM_PREFIX, atom_state_ids, states_of
from backtest.discovery.day_scores import SERIES, WITHOUT
from backtest.discovery.event_days import EventDays, Series
from backtest.discovery.folds import BARS_PER_DAY, Folds
from backtest.discovery.inference import block_days, merged_days
from backtest.discovery.shrinkage import (
    BlockMeans,
    Posterior,
    RotatedMeans,
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
    from backtest.spec.compiled import Spec

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

BPS: Final = 1e-4
ATOMS: Final = ""
"""Name of the cells of blocks whose atoms are symbol × joint states; else the state whose values are the cells."""
INTERVAL: Final = (0.025, 0.975)
"""Quantiles of the posterior between which the truth of a discovery lies in 90 % of cases: a posterior takes the fitted mixture
for known, and its own 5 % and 95 % hold 81 to 94 % (Carlin & Gelfand 1990, JASA 85; decision 75)."""
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


@dataclass(frozen=True)
class EventBlocks:
    """The blocks of one event with their atoms, and its hypotheses as shares of them.

    Attributes
    ----------
    n_hypotheses : of the event.
    horizon : (b,) of each block.
    is_joint : (b,) whether its atoms are the joint cells that the mixture is fitted to.
    means : of the b blocks, raw means of the atoms observed in the discovery fold.
    rows : (k,) which of the event's hypotheses have an observed atom, ascending.
    block : (k,) the block of each.
    share : (k, a) share of each atom in its events.
    """

    n_hypotheses: int
    horizon: tuple[str, ...]
    is_joint: Booleans
    means: RotatedMeans
    rows: Integers
    block: Integers
    share: Floats


class _Cell(NamedTuple):
    """An atom of a block: a symbol in a joint state or in one state, and its rows of the discovery fold."""

    symbol: str
    state_id: str
    start: int
    stop: int


def event_blocks(days: EventDays, register: pl.DataFrame, folds: Folds, spec: Spec) -> EventBlocks:
    """Atoms of one event, from its day scores of the discovery fold, and the shares of its hypotheses in them.

    Hypotheses on all states and on those of `atom_states` are n-weighted means of the joint cells. A state that is not
    one of them has blocks of its own, cells symbol × its values.

    Parameters
    ----------
    days : EventDays
        With the series of the joint cells.
    register : `hypotheses.REGISTER_SCHEMA`, of the event.

    Raises
    ------
    DataError
        Where there are day scores and none of joint cells.
    """
    if register.is_empty():
        none = RotatedMeans.of(_no_means(0))
        return EventBlocks(0, (), np.zeros(0, bool), none, *(np.zeros(0, np.int64),) * 2, np.zeros((0, 0)))
    _require_atoms(days, register)
    kinds = _cell_kinds(register, spec)
    names = sorted({(policy, horizon, kinds[state]) for policy, horizon, state in register.select(SERIES).iter_rows()})
    cells = _cells(days, set(names), kinds, folds.first_confirmation_day)
    atoms = max((len(found) for found in cells.values()), default=0)
    means = _means(days, [cells[name] for name in names], [name[1] for name in names], atoms, folds)
    rows, block, share = _shares(register, names, kinds, cells, days, means)
    return EventBlocks(
        len(register),
        tuple(horizon for _, horizon, _ in names),
        np.array([kind == ATOMS for _, _, kind in names]),
        RotatedMeans.of(means),
        rows,
        block,
        share,
    )


def effect_sizes(events: Sequence[EventBlocks], size: int) -> EffectSizes:
    """Posterior of every hypothesis of a search; a mixture for each horizon is fitted to the joint cells of all events.

    Parameters
    ----------
    events : in the order of the register.
    size : hypotheses in the register.
    """
    first = np.cumsum([0, *(event.n_hypotheses for event in events)])
    first_block = np.cumsum([0, *(len(event.horizon) for event in events)])
    if first[-1] != size:
        raise ValueError(f"the blocks are of {first[-1]} hypotheses, the register has {size}")
    atoms = max((event.share.shape[1] for event in events), default=0)
    if not size or not atoms:
        return EffectSizes(np.zeros(0, np.int64), Posterior(*(np.zeros((0, 1)) for _ in range(3))))
    means = RotatedMeans.joined([event.means for event in events])
    rows = np.concatenate([event.rows + start for event, start in zip(events, first, strict=False)])
    block = np.concatenate([event.block + start for event, start in zip(events, first_block, strict=False)])
    share = np.concatenate([_wide(event.share, atoms) for event in events])
    horizons = np.array([horizon for event in events for horizon in event.horizon])
    is_joint = np.concatenate([event.is_joint for event in events]) & (means.n_observed > 0)
    return EffectSizes(rows, _posteriors(horizons, is_joint, means, block, share))


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


def _require_atoms(days: EventDays, register: pl.DataFrame) -> None:
    if days.series and not any(state_id.startswith(ATOM_PREFIX) for _, _, state_id in days.series):
        raise DataError(
            f"the day scores of {register['event_type'][0]} hold no joint states, which effect sizes are estimated on. They "
            "were made by an earlier version; score again: make discover-edges"
        )


def _cell_kinds(register: pl.DataFrame, spec: Spec) -> dict[str, str]:
    """For each state id of an event which cells its hypotheses are made of; a filter's are where it holds and where not."""
    state_of = {state_id: name for name, state in spec.states.items() for state_id in state.values}
    joint = {ALL_STATES, *atom_state_ids(spec, register["event_type"][0])}
    named = sorted(set(register["state_id"].to_list()))
    return {name: ATOMS if name in joint else name if name in spec.filters else state_of[name] for name in named}


def _cells(
    days: EventDays, names: set[tuple[str, str, str]], kinds: Mapping[str, str], cut: int
) -> dict[tuple[str, str, str], list[_Cell]]:
    """The atoms of each block that occur in the discovery fold, by symbol and state."""
    found: dict[tuple[str, str, str], list[_Cell]] = {name: [] for name in names}
    owned: list[tuple[list[_Cell], str, Series]] = []
    kind_of = {
        state_id: ATOMS if state_id.startswith(ATOM_PREFIX) else kinds.get(state_id.removeprefix(WITHOUT), ATOMS)
        for state_id in {state_id for _, _, state_id in days.series}
    }
    # What is no joint cell and of no kind of its own, such as all states, is a mean of cells and none itself.
    cells = {state_id for state_id, kind in kind_of.items() if state_id.startswith(ATOM_PREFIX) == (kind == ATOMS)}
    for (policy, horizon, state_id), runs in days.series.items():
        if state_id in cells and (owner := found.get((policy, horizon, kind_of[state_id]))) is not None:
            owned += [(owner, state_id, run) for run in runs]
    first = np.array([run.start for _, _, run in owned], np.int64)
    last = np.array([run.stop for _, _, run in owned], np.int64)
    before_cut = np.concatenate([[0], np.cumsum(days.day < cut)])
    lengths = (before_cut[last] - before_cut[first]).tolist()
    for (owner, state_id, run), length in zip(owned, lengths, strict=True):
        if length:
            owner.append(_Cell(run.symbol, state_id, run.start, run.start + length))
    return {name: sorted(cells, key=lambda cell: (cell.symbol, cell.state_id)) for name, cells in found.items()}


def _means(
    days: EventDays, blocks: Sequence[Sequence[_Cell]], horizons: Sequence[str], atoms: int, folds: Folds
) -> BlockMeans:
    starts = np.array([cell.start for cells in blocks for cell in cells], np.int64)
    lengths = np.array([cell.stop for cells in blocks for cell in cells], np.int64) - starts
    if not len(lengths):
        return _no_means(len(blocks), atoms)
    # From the place of a row among all of the cells to its place in the day scores.
    at = np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    block = np.repeat([b for b, cells in enumerate(blocks) for _ in cells], lengths)
    slot = np.repeat([a for cells in blocks for a in range(len(cells))], lengths)
    day, n, y = days.day[at], days.values["n"][at], days.values["sum_y"][at] / BPS
    of_horizon = np.array([block_days(horizon_bars(horizon), BARS_PER_DAY) for horizon in horizons], dtype=np.int64)
    if of_horizon.max() > 1:
        start, day = merged_days(block * atoms + slot, day, np.repeat(of_horizon, atoms), folds.first_confirmation_day)
        block, slot, n, y = block[start], slot[start], np.add.reduceat(n, start), np.add.reduceat(y, start)
    return block_means(y, n, day, block, slot, (len(blocks), atoms))


def _shares(
    register: pl.DataFrame,
    names: Sequence[tuple[str, str, str]],
    kinds: Mapping[str, str],
    cells: Mapping[tuple[str, str, str], Sequence[_Cell]],
    days: EventDays,
    means: BlockMeans,
) -> tuple[Integers, Integers, Floats]:
    """Hypotheses with an observed atom, their blocks, and the share of each atom in their events."""
    atoms = means.mean.shape[1]
    counts = np.zeros((len(names), atoms))
    running = np.concatenate([[0.0], np.cumsum(days.values["n"])])
    for index, name in enumerate(names):
        first, last = ([getattr(cell, end) for cell in cells[name]] for end in ("start", "stop"))
        counts[index, : len(first)] = running[last] - running[first]

    masks = [np.zeros(atoms)]

    @functools.cache
    def held(atoms_of: tuple[tuple[str, str], ...]) -> dict[tuple[str, str], int]:
        """By state and scope which mask has 1 for each atom that a hypothesis on it holds; many blocks have the same atoms."""
        found: dict[tuple[str, str], int] = {}
        for slot, (symbol, cell) in enumerate(atoms_of):
            for state_id in _covered(cell):
                for scope in (symbol, POOLED):
                    if (state_id, scope) not in found:
                        found[state_id, scope] = len(masks)
                        masks.append(np.zeros(atoms))
                    masks[found[state_id, scope]][slot] = 1.0
        return found

    covers = [held(tuple((cell.symbol, cell.state_id) for cell in cells[name])) for name in names]
    place = {name: index for index, name in enumerate(names)}
    of_register = list(register.select(*SERIES, "symbol").iter_rows())
    blocks = [place[policy, horizon, kinds[state_id]] for policy, horizon, state_id, _ in of_register]
    # Mask 0 holds no atom.
    mask = [
        covers[of].get((state_id, symbol), 0) for of, (_, _, state_id, symbol) in zip(blocks, of_register, strict=True)
    ]
    block = np.array(blocks, np.int64)
    share = np.stack(masks)[mask] * counts[block]
    total = share.sum(axis=1)
    rows = np.flatnonzero((total > 0) & means.is_observed[block].any(axis=1))
    return rows, block[rows], share[rows] / total[rows, None]


def _covered(cell: str) -> list[str]:
    """The state ids whose hypotheses contain a cell."""
    return [ALL_STATES, *sorted(states_of(cell))] if cell.startswith(ATOM_PREFIX) else [cell]


def _no_means(blocks: int, atoms: int = 0) -> BlockMeans:
    unit = np.broadcast_to(np.eye(atoms), (blocks, atoms, atoms)).copy()
    return BlockMeans(np.zeros((blocks, atoms)), unit, np.zeros((blocks, atoms), bool))


def _wide(share: Floats, atoms: int) -> Floats:
    return np.pad(share, [(0, 0), (0, atoms - share.shape[1])])


def _posteriors(
    horizons: NDArray[np.str_], is_joint: Booleans, means: RotatedMeans, block: Integers, share: Floats
) -> Posterior:
    """Horizon by horizon: fit the mixture to the blocks of joint cells, then the posterior of every hypothesis."""
    components = len(variance_grid(1)[0])
    weight, mean, deviation = (np.zeros((len(block), components)) for _ in range(3))
    for horizon in np.unique(horizons):
        common, own = variance_grid(horizon_bars(str(horizon)))
        inside = np.flatnonzero(horizons == horizon)
        density = log_likelihoods(means, inside, common, own)
        of_block = np.zeros((len(horizons), components))
        of_block[inside] = responsibilities(density, mixture_weights(density[is_joint[inside]]))
        at = np.flatnonzero(horizons[block] == horizon)
        found = posterior(means, of_block[block[at]], common, own, block[at], share[at])
        weight[at], mean[at], deviation[at] = found.weight, found.component_mean, found.component_sd
    return Posterior(weight, mean, deviation)


def _filled(size: int, at: Integers, values: Floats) -> Floats:
    filled = np.full(size, np.nan)
    filled[at] = values
    return filled
