"""Ranks and quantiles of moving windows, exact.

The values are sorted part by part; a window is the set of its values' places in that order, a bit for each place. To
enter and to leave it takes a bit each. A quantile is followed: from row to row it lies a few members further up or down.
A rank is counted: members in whole blocks of places, then in words of bits. As the set is exact, a result depends on the
window's values only.

In all kernels NaN means null, on the way in and out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.expressions.compiling import Floats, machine_code

Words = NDArray[np.uint64]
Places = NDArray[np.int32]

WORD: Final = 6
"""A word of the set has 2⁶ places."""
BLOCK: Final = 10
"""A block of places whose members are counted has 2¹⁰."""
IN_WORD: Final = (1 << WORD) - 1
DIGIT: Final = 11
"""Values are sorted by 11 bits at a time."""
DIGITS: Final = 6
IN_DIGIT: Final = np.uint64((1 << DIGIT) - 1)
SIGN: Final = np.uint64(1 << 63)
ROWS_AT_ONCE: Final = 65_536


@machine_code
def _ones(word: np.uint64) -> int:
    """Bits that are set."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@machine_code
def _bit(place: int) -> np.uint64:
    """The bit of a place in its word."""
    return np.uint64(1) << np.uint64(place & IN_WORD)


@machine_code
def _next(members: Words, place: int) -> int:
    """The first member behind a place; there is one."""
    at = (place + 1) >> WORD
    word = members[at] & ~(_bit(place + 1) - np.uint64(1))
    while word == 0:
        at += 1
        word = members[at]
    lowest = word & (~word + np.uint64(1))
    return (at << WORD) + _ones(lowest - np.uint64(1))


@machine_code
def _previous(members: Words, place: int) -> int:
    """The last member before a place; there is one."""
    at = place >> WORD
    word = members[at] & (_bit(place) - np.uint64(1))
    while word == 0:
        at -= 1
        word = members[at]
    for shift in (1, 2, 4, 8, 16, 32):  # all bits below the highest one
        word |= word >> np.uint64(shift)
    return (at << WORD) + _ones(word) - 1


@machine_code
def _below(members: Words, in_block: Places, place: int) -> int:
    """Members before a place."""
    count = 0
    for block in range(place >> BLOCK):
        count += in_block[block]
    for at in range((place >> BLOCK) << (BLOCK - WORD), place >> WORD):
        count += _ones(members[at])
    return count + _ones(members[place >> WORD] & (_bit(place) - np.uint64(1)))


@machine_code
def _order(values: Floats) -> Places:
    """The known rows by their values: sorted by one digit of their bits after another, from the lowest to the highest.

    As integers the bits of floats are in the floats' order once the sign's is turned round, and all of them below zero.
    """
    bits = values.view(np.uint64)
    rows, keys = np.empty(values.size, np.int32), np.empty(values.size, np.uint64)
    counts = np.zeros((DIGITS, 1 << DIGIT), np.int32)
    n_known = 0
    for row in range(values.size):
        if values[row] == values[row]:
            key = ~bits[row] if bits[row] & SIGN else bits[row] | SIGN
            rows[n_known], keys[n_known] = row, key
            n_known += 1
            for digit in range(DIGITS):
                counts[digit, (key >> np.uint64(DIGIT * digit)) & IN_DIGIT] += 1
    rows, keys = rows[:n_known], keys[:n_known]
    other_rows, other_keys = np.empty_like(rows), np.empty_like(keys)
    for digit in range(DIGITS):
        place = 0
        for value in range(1 << DIGIT):
            place, counts[digit, value] = place + counts[digit, value], place
        places, shift = counts[digit], np.uint64(DIGIT * digit)
        for i in range(n_known):
            value = (keys[i] >> shift) & IN_DIGIT
            other_rows[places[value]], other_keys[places[value]] = rows[i], keys[i]
            places[value] += 1
        rows, other_rows = other_rows, rows
        keys, other_keys = other_keys, keys
    return rows


@machine_code
def _places(order: Places, n_rows: int) -> Places:
    """Place of each row in the order of values; rows that are null keep −1."""
    places = np.full(n_rows, np.int32(-1))
    for place in range(order.size):
        places[order[place]] = place
    return places


@machine_code
def _ranks(values: Floats, order: Places, window: int, needed: int) -> Floats:
    n, n_known = values.size, order.size
    places = _places(order, n)
    # First place of each run of equal values, and the one behind its last, by place.
    first, behind = np.empty_like(order), np.empty_like(order)
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
    in_block = np.zeros((n_known >> BLOCK) + 1, np.int32)
    members = np.zeros(in_block.size << (BLOCK - WORD), np.uint64)
    ranks = np.full(n, np.nan)
    count = 0
    for row in range(n):
        if row >= window and places[row - window] >= 0:
            gone = places[row - window]
            members[gone >> WORD] ^= _bit(gone)
            in_block[gone >> BLOCK] -= 1
            count -= 1
        place = places[row]
        if place < 0:
            continue
        members[place >> WORD] ^= _bit(place)
        in_block[place >> BLOCK] += 1
        count += 1
        if count >= needed:
            below = _below(members, in_block, first[place])
            equal = 1
            if behind[place] - first[place] > 1:
                equal = _below(members, in_block, behind[place]) - below
            ranks[row] = (below + (equal + 1) / 2) / count
    return ranks


@machine_code
def _quantiles(values: Floats, order: Places, q: float, window: int, needed: int) -> Floats:
    n = values.size
    places = _places(order, n)
    members = np.zeros((order.size >> WORD) + 1, np.uint64)
    quantiles = np.full(n, np.nan)
    # The member that is followed, as long as there are any, and how many lie below it.
    at, below, count = -1, 0, 0
    for row in range(n):
        place = places[row]
        if place >= 0:
            members[place >> WORD] ^= _bit(place)
            if count == 0:
                at, below = place, 0
            elif place < at:
                below += 1
            count += 1
        gone = places[row - window] if row >= window else -1
        if gone >= 0:
            members[gone >> WORD] ^= _bit(gone)
            count -= 1
            if gone < at:
                below -= 1
            elif gone == at and below < count:
                at = _next(members, at)
            elif gone == at and count > 0:
                at = _previous(members, at)
                below -= 1
        if count >= needed:
            position = q * (count - 1)
            k = int(position)
            while below < k:
                at = _next(members, at)
                below += 1
            while below > k:
                at = _previous(members, at)
                below -= 1
            value = values[order[at]]
            if position > k:
                above = values[order[_next(members, at)]]
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


def _in_parts(values: Floats, window: int, compute: Callable[[Floats, Places], Floats]) -> Floats:
    """`compute` on part after part, each with the window before it; a part's order and set stay in the processor's cache.

    As sets are exact, where the parts begin has no influence on the result, nor has the order of equal values.
    """
    step = max(ROWS_AT_ONCE, 2 * window)
    result = np.empty_like(values)
    for start in range(0, values.size, step):
        first = max(0, start - window)
        rows = values[first : start + step]
        result[start : start + step] = compute(rows, _order(rows))[start - first :]
    return result
