"""Ranks and quantiles of moving windows, exact, in time that grows with the logarithm of the rows.

The values are sorted part by part; a window is the set of its values' places in that order, kept as a bit for each
place and a Fenwick tree over the bits' 64-bit words. A value enters and leaves in O(log n), and so do the number of
values below a place and the k-th smallest value. As the set is exact, a result depends on the window's values only.

In all kernels NaN means null, on the way in and out.

References
----------
Fenwick (1994), Software: Practice and Experience 24(3).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.expressions.compiling import Floats, Integers, machine_code

Words = NDArray[np.uint64]
Counts = NDArray[np.int32]

WORD_BITS: Final = 64
ROWS_AT_ONCE: Final = 16_384


@machine_code
def _ones(word: np.uint64) -> int:
    """Bits that are set."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@machine_code
def _toggle(bits: Words, tree: Counts, place: int, change: int) -> None:
    """Put a place into the set (`change` 1) or take it out (−1)."""
    bits[place // WORD_BITS] ^= np.uint64(1) << np.uint64(place % WORD_BITS)
    node = place // WORD_BITS + 1
    while node < tree.size:
        tree[node] += change
        node += node & -node


@machine_code
def _below(bits: Words, tree: Counts, place: int) -> int:
    """Members of the set before a place."""
    node = place // WORD_BITS
    inside = place % WORD_BITS
    count = 0
    if inside > 0:
        count += _ones(bits[node] & ((np.uint64(1) << np.uint64(inside)) - np.uint64(1)))
    while node > 0:
        count += tree[node]
        node -= node & -node
    return count


@machine_code
def _member(bits: Words, tree: Counts, k: int) -> int:
    """Place of the member with k smaller ones; the set has more than k."""
    node, step = 0, 1
    while 2 * step < tree.size:
        step *= 2
    while step > 0:
        if node + step < tree.size and tree[node + step] <= k:
            node += step
            k -= tree[node]
        step //= 2
    word = bits[node]
    for _ in range(k):
        word &= word - np.uint64(1)
    lowest = word & (~word + np.uint64(1))
    return node * WORD_BITS + _ones(lowest - np.uint64(1))


@machine_code
def _places(values: Floats, order: Integers) -> Integers:
    """Place of each row in the order of values; rows that are null keep −1."""
    places = np.full(values.size, -1)
    for place in range(order.size):
        places[order[place]] = place
    return places


@machine_code
def _ranks(values: Floats, order: Integers, window: int, needed: int) -> Floats:
    n, n_known = values.size, order.size
    places = _places(values, order)
    # First place of each run of equal values, and the one behind its last, by place.
    first, behind = np.empty(n_known, np.int64), np.empty(n_known, np.int64)
    start = 0
    for place in range(n_known):
        if values[order[place]] != values[order[start]]:
            start = place
        first[place] = start
    end = n_known
    for place in range(n_known - 1, -1, -1):
        behind[place] = end
        if first[place] == place:
            end = place
    bits = np.zeros(n_known // WORD_BITS + 1, np.uint64)
    tree = np.zeros(bits.size + 1, np.int32)
    ranks = np.full(n, np.nan)
    count = 0
    for row in range(n):
        if row >= window and places[row - window] >= 0:
            _toggle(bits, tree, places[row - window], -1)
            count -= 1
        place = places[row]
        if place < 0:
            continue
        _toggle(bits, tree, place, 1)
        count += 1
        if count >= needed:
            below = _below(bits, tree, first[place])
            equal = 1
            if behind[place] - first[place] > 1:
                equal = _below(bits, tree, behind[place]) - below
            ranks[row] = (below + (equal + 1) / 2) / count
    return ranks


@machine_code
def _quantiles(values: Floats, order: Integers, q: float, window: int, needed: int) -> Floats:
    n, n_known = values.size, order.size
    places = _places(values, order)
    bits = np.zeros(n_known // WORD_BITS + 1, np.uint64)
    tree = np.zeros(bits.size + 1, np.int32)
    quantiles = np.full(n, np.nan)
    count = 0
    for row in range(n):
        if row >= window and places[row - window] >= 0:
            _toggle(bits, tree, places[row - window], -1)
            count -= 1
        if places[row] >= 0:
            _toggle(bits, tree, places[row], 1)
            count += 1
        if count >= needed:
            position = q * (count - 1)
            k = int(position)
            value = values[order[_member(bits, tree, k)]]
            if position > k:
                above = values[order[_member(bits, tree, k + 1)]]
                value += (above - value) * (position - k)
            if math.isfinite(value):
                quantiles[row] = value + 0.0
    return quantiles


def window_rank(values: Floats, window: int, needed: int) -> Floats:
    """Average rank of each row's value among the known values of the `window` rows ending there, over their count.

    Parameters
    ----------
    values : shape (n,).
    window : rows; at the beginning the rows there are.
    needed : known values (at least 1) below which a row is null; a row whose own value is null is null too.
    """
    return _in_parts(values, window, lambda rows, order: _ranks(rows, order, window, needed))


def window_quantile(values: Floats, q: float, window: int, needed: int) -> Floats:
    """Quantile q (0 to 1), linear between the two nearest values, of the `window` rows ending at each row. Shape (n,).

    Null where fewer than `needed` (at least 1) values are known.
    """
    return _in_parts(values, window, lambda rows, order: _quantiles(rows, order, q, window, needed))


def _in_parts(values: Floats, window: int, compute: Callable[[Floats, Integers], Floats]) -> Floats:
    """`compute` on part after part, each with the window before it; a part's order and set stay in the processor's cache.

    As sets are exact, where the parts begin has no influence on the result, nor has the order of equal values.
    """
    step = max(ROWS_AT_ONCE, 2 * window)
    order = _order_of(values)
    result = np.empty_like(values)
    for start in range(0, values.size, step):
        first, end = max(0, start - window), min(start + step, values.size)
        own = order if end - first == values.size else order[(order >= first) & (order < end)] - first
        result[start:end] = compute(values[first:end], own)[start - first :]
    return result


def _order_of(values: Floats) -> Integers:
    """The known rows by their values. Kept as long as the array lives, as several windows look at one series."""
    found = _orders.get(id(values))
    if found is None:
        # NaN is left out, as with one of them the sort takes a way several times as slow.
        rows = np.flatnonzero(values == values)
        found = rows[np.argsort(values[rows])]
        weakref.finalize(values, _orders.pop, id(values), None).atexit = False
        _orders[id(values)] = found
    return found


_orders: Final[dict[int, Integers]] = {}
