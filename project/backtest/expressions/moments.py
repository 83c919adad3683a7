"""Means, variances and covariances of moving windows that depend on the window's values and on nothing before them.

A running sum that adds the newest value and subtracts the oldest keeps rounding noise of values long gone: after one
huge value a constant stretch has a "variance". Here rows are cut into blocks as long as the window, so that a window is
the end of one block and the beginning of the next. Both parts are accumulated with Welford's update and merged with
Chan's formula: no value is ever taken out again, a constant has variance exactly 0, and the cost does not grow with the
window.

References
----------
Welford (1962), Technometrics 4(3). Chan, Golub, LeVeque (1983), The American Statistician 37(3).
van Herk (1992), Pattern Recognition Letters 13(7), for the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pair = tuple[int, int]
Scalar = TypeVar("Scalar", np.float64, np.bool_)

ROWS_AT_ONCE: Final = 32_768
"""Rows worked on together, so that they stay in the processor's cache; has no influence on the result."""
BLOCKS_AT_ONCE: Final = 4


@dataclass(frozen=True)
class Moments:
    """Of each row's window: valid values, Σ weight, Σ weight², weighted means, Σ weight·deviation·deviation."""

    count: Floats
    weight: Floats
    squared_weight: Floats
    means: list[Floats]
    comoments: dict[Pair, Floats]

    def mapped(self, change: Callable[[Floats], Floats]) -> Moments:
        return Moments(
            change(self.count),
            change(self.weight),
            change(self.squared_weight),
            [change(mean) for mean in self.means],
            {pair: change(values) for pair, values in self.comoments.items()},
        )


def window_moments(
    columns: Sequence[Floats], valid: NDArray[np.bool_], window: int, pairs: Sequence[Pair] = (), decay: float = 1.0
) -> Moments:
    """Moments of the `window` rows ending at each row.

    Parameters
    ----------
    columns
        Arrays of shape (n,); finite where `valid`, ignored elsewhere.
    valid
        Shape (n,); rows that count.
    window
        Length in rows; at the beginning the rows there are.
    pairs
        Indices into `columns` whose comoment is wanted; (i, i) for a variance.
    decay
        Weight of a row relative to the next one, in (0, 1]; 1 weighs all rows alike.

    Returns
    -------
    Moments
        Arrays of shape (n,). Where no row is valid, count and weight are 0 and the means mean nothing.
    """
    n = valid.size
    block = max(1, min(window, n))
    n_blocks = -(-n // block)
    blocked = [_blocked(np.where(valid, column, 0.0), n_blocks, block) for column in columns]
    mask = _blocked(valid, n_blocks, block)
    weights = _Weights.of(decay, window, block)
    step = max(BLOCKS_AT_ONCE, ROWS_AT_ONCE // block)
    parts = []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for start in range(0, n_blocks, step):
            # The block before is needed for its end; its own results are those of the part before.
            first = max(0, start - 1)
            rows = slice(first, start + step)
            part = _moments_of_blocks([column[rows] for column in blocked], mask[rows], weights, pairs)
            parts.append(part.mapped(_without_blocks(start - first)))
    return _joined(parts, len(columns), pairs, n)


def window_sum(column: Floats, valid: NDArray[np.bool_], window: int) -> Floats:
    """Σ of the valid values of the `window` rows ending at each row; whole numbers are summed exactly. Shape (n,)."""
    n = valid.size
    block = max(1, min(window, n))
    blocked = _blocked(np.where(valid, column, 0.0), -(-n // block), block)
    with np.errstate(over="ignore", invalid="ignore"):
        head = np.cumsum(blocked, axis=1)
        tail = _end_of_block_before(np.cumsum(blocked[:, ::-1], axis=1))
        total: Floats = (head + tail).ravel()[:n]
    return total


def rows_since_max(column: Floats, valid: NDArray[np.bool_], window: int) -> Floats:
    """Rows since the largest valid value of the `window` rows ending at each row, the latest one of equals. Shape (n,).

    Rows whose window holds no valid value give a number without meaning.
    """
    n = valid.size
    block = max(1, min(window, n))
    n_blocks = -(-n // block)
    values = _blocked(np.where(valid, column, -np.inf), n_blocks, block, fill=-np.inf)
    row = np.arange(n_blocks * block, dtype=np.float64).reshape(n_blocks, block)
    head_max = np.maximum.accumulate(values, axis=1)
    head_row = np.maximum.accumulate(np.where(values == head_max, row, -1.0), axis=1)
    backward = values[:, ::-1]
    tail_max = np.maximum.accumulate(backward, axis=1)
    is_new = np.ones_like(backward, dtype=np.bool_)
    is_new[:, 1:] = backward[:, 1:] > tail_max[:, :-1]
    tail_row = np.minimum.accumulate(np.where(is_new, row[:, ::-1], np.inf), axis=1)
    before_max = _end_of_block_before(tail_max, fill=-np.inf)
    found = np.where(head_max >= before_max, head_row, _end_of_block_before(tail_row))
    since: Floats = (row - found).ravel()[:n]
    return since


def _blocked(values: NDArray[Scalar], n_blocks: int, block: int, fill: float = 0.0) -> NDArray[Scalar]:
    """Rows reshaped to (n_blocks, block), the last block filled up."""
    padded = np.full(n_blocks * block, fill, dtype=values.dtype)
    padded[: values.size] = values
    return padded.reshape(n_blocks, block)


def _end_of_block_before(backward: Floats, fill: float = 0.0) -> Floats:
    """What was accumulated from a block's end backwards, put where the next block's windows still reach it.

    A window ending at position p of a block begins at position p + 1 of the block before.
    """
    placed = np.full_like(backward, fill)
    placed[1:, :-1] = backward[:-1, ::-1][:, 1:]
    return placed


@dataclass(frozen=True)
class _Weights:
    """Weights within a block: rising towards its end and, for the way back, falling; all 1 without decay."""

    is_flat: bool
    rising: Floats
    falling: Floats
    falling_before: Floats

    @classmethod
    def of(cls, decay: float, window: int, block: int) -> _Weights:
        # Powers are taken over the whole window and then cut, so that they do not depend on the number of rows.
        position = np.arange(window, dtype=np.float64)
        rising, falling, before = decay**-position, decay**position, decay ** (position + 1)
        return cls(decay == 1.0, rising[:block], falling[:block], before[:block])


def _moments_of_blocks(
    columns: Sequence[Floats], mask: NDArray[np.bool_], weights: _Weights, pairs: Sequence[Pair]
) -> Moments:
    """Moments of each row's window, of shape (blocks, rows); the first block's windows begin with the block."""
    head = _accumulated(columns, mask, weights.rising, weights.is_flat, pairs)
    tail = _accumulated([column[:, ::-1] for column in columns], mask[:, ::-1], weights.falling, weights.is_flat, pairs)
    tail = tail.mapped(_end_of_block_before)
    if not weights.is_flat:
        head, tail = _scaled(head, weights.falling), _scaled(tail, weights.falling_before)
    return _merged(head, tail)


def _without_blocks(n_skipped: int) -> Callable[[Floats], Floats]:
    return lambda values: values[n_skipped:].ravel()


def _joined(parts: Sequence[Moments], n_columns: int, pairs: Sequence[Pair], n: int) -> Moments:
    """The parts' rows one after another, cut to `n`."""

    def together(arrays: Iterable[Floats]) -> Floats:
        return np.concatenate([np.empty(0), *arrays])[:n]

    return Moments(
        together(part.count for part in parts),
        together(part.weight for part in parts),
        together(part.squared_weight for part in parts),
        [together(part.means[i] for part in parts) for i in range(n_columns)],
        {pair: together(part.comoments[pair] for part in parts) for pair in pairs},
    )


def _accumulated(
    columns: Sequence[Floats], mask: NDArray[np.bool_], weights: Floats, is_flat: bool, pairs: Sequence[Pair]
) -> Moments:
    """Moments of the first k + 1 positions of each block, k = 0 …; centred on the block's first valid value."""
    count = np.cumsum(mask, axis=1, dtype=np.float64)
    weighted: Floats = mask.astype(np.float64) if is_flat else mask * weights
    weight = count if is_flat else np.cumsum(weighted, axis=1)
    squared = count if is_flat else np.cumsum(mask * weights**2, axis=1)
    divisor = np.maximum(weight, 1e-300)
    first = np.argmax(mask, axis=1)[:, None]
    centres, deviations, means = [], [], []
    for column in columns:
        centre = np.take_along_axis(column, first, axis=1)
        deviation = (column - centre) * mask
        centres.append(centre)
        deviations.append(deviation)
        means.append(np.cumsum(deviation if is_flat else deviation * weights, axis=1) / divisor)
    comoments = {}
    for i, j in pairs:
        step = deviations[i].copy()
        step[:, 1:] -= means[i][:, :-1]
        comoments[i, j] = np.cumsum(weighted * step * (deviations[j] - means[j]), axis=1)
    return Moments(count, weight, squared, [c + m for c, m in zip(centres, means, strict=True)], comoments)


def _scaled(moments: Moments, factor: Floats) -> Moments:
    """The same moments with every weight multiplied by `factor`."""
    comoments = {pair: values * factor for pair, values in moments.comoments.items()}
    return Moments(moments.count, moments.weight * factor, moments.squared_weight * factor**2, moments.means, comoments)


def _merged(head: Moments, tail: Moments) -> Moments:
    """Moments of two sets of rows together (Chan, Golub, LeVeque)."""
    weight = head.weight + tail.weight
    share = head.weight / np.maximum(weight, 1e-300)
    is_both = (head.count > 0) & (tail.count > 0)
    deltas = [(a - b) * is_both for a, b in zip(head.means, tail.means, strict=True)]
    starts = [np.where(tail.count > 0, b, a) for a, b in zip(head.means, tail.means, strict=True)]
    means = [start + delta * share for start, delta in zip(starts, deltas, strict=True)]
    comoments = {
        (i, j): values + tail.comoments[i, j] + deltas[i] * deltas[j] * share * tail.weight
        for (i, j), values in head.comoments.items()
    }
    count = head.count + tail.count
    return Moments(count, weight, head.squared_weight + tail.squared_weight, means, comoments)
