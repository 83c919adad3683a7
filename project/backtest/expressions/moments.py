"""Means, variances and covariances of moving windows that depend on the window's values and on nothing before them.

A running sum that adds the newest value and subtracts the oldest keeps rounding noise of values long gone: after one
huge value a constant stretch has a "variance". Here rows are cut into blocks as long as the window, so that a window is
the end of one block and the beginning of the next. Both parts are accumulated with Welford's update and merged with
Chan's formula: no value is ever taken out again, a constant has variance exactly 0, and the cost does not grow with the
window.

In all kernels NaN means null, on the way in and out, and a result that is not finite is null. `needed` is the number of
known values (at least 1) below which a row is null.

References
----------
Welford (1962), Technometrics 4(3). Chan, Golub, LeVeque (1983), The American Statistician 37(3).
van Herk (1992), Pattern Recognition Letters 13(7), for the blocks.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from backtest.expressions.compiling import Floats, machine_code

RELATIVE_ZERO: Final = 1e-12
"""A standard deviation at most this share of the mean's size is rounding noise of a constant."""


@machine_code
def known_or_nan(value: float) -> float:
    """The value with -0.0 as 0.0, NaN where it is not finite."""
    return value + 0.0 if math.isfinite(value) else math.nan


@machine_code
def mean_and_spread(values: Floats, window: int, needed: int) -> tuple[Floats, Floats]:
    """Mean and sample standard deviation (n − 1; null for one value) of the `window` rows ending at each row.

    Parameters
    ----------
    values : shape (n,).
    window : rows; at the beginning the rows there are.
    needed : known values.
    """
    n = values.size
    block = max(1, min(window, n))
    means, spreads = np.full(n, np.nan), np.full(n, np.nan)
    inverse = 1.0 / np.maximum(np.arange(block + 1), 1)
    # Of the block before, from each position to its end, put where the next block's windows begin with it.
    tail_count, tail_mean, tail_sum = np.zeros(block, np.int64), np.zeros(block), np.zeros(block)
    for start in range(0, n, block):
        end = min(start + block, n)
        count, mean, squares = 0, 0.0, 0.0
        for row in range(start, end):
            x = values[row]
            if x == x:
                count += 1
                delta = x - mean
                mean += delta * inverse[count]
                squares += delta * (x - mean)
            before = tail_count[row - start]
            total, merged_mean, merged_squares = count, mean, squares
            if before > 0:
                total = count + before
                delta = mean - tail_mean[row - start]
                if count == 0:
                    delta = 0.0
                share = count * inverse[total]
                merged_mean = tail_mean[row - start] + delta * share
                merged_squares = squares + tail_sum[row - start] + delta * delta * share * before
            if total >= needed:
                means[row] = known_or_nan(merged_mean)
                if total > 1:
                    spreads[row] = known_or_nan(math.sqrt(max(merged_squares, 0.0) / (total - 1)))
        if end < n:
            count, mean, squares = 0, 0.0, 0.0
            tail_count[block - 1] = 0
            for row in range(end - 1, start, -1):
                x = values[row]
                if x == x:
                    count += 1
                    delta = x - mean
                    mean += delta * inverse[count]
                    squares += delta * (x - mean)
                place = row - start - 1
                tail_count[place], tail_mean[place], tail_sum[place] = count, mean, squares
    return means, spreads


@machine_code
def decaying_mean_and_spread(values: Floats, powers: Floats, needed: int) -> tuple[Floats, Floats]:
    """Weighted mean and bias-corrected standard deviation (null for one value) of the rows ending at each row.

    Parameters
    ----------
    values : shape (n,).
    powers : weight of a row by its age, ``decay ** [0 … window]``; the window is one shorter.
    needed : known values.
    """
    n = values.size
    window, decay = powers.size - 1, powers[1]
    block = max(1, min(window, n))
    means, spreads = np.full(n, np.nan), np.full(n, np.nan)
    tail_count, tail_weight, tail_squared = np.zeros(block, np.int64), np.zeros(block), np.zeros(block)
    tail_mean, tail_sum = np.zeros(block), np.zeros(block)
    for start in range(0, n, block):
        end = min(start + block, n)
        count, weight, squared, mean, squares = 0, 0.0, 0.0, 0.0, 0.0
        for row in range(start, end):
            weight, squared, squares = weight * decay, squared * decay * decay, squares * decay
            x = values[row]
            if x == x:
                count += 1
                weight, squared = weight + 1.0, squared + 1.0
                delta = x - mean
                mean += delta / weight
                squares += delta * (x - mean)
            place = row - start
            before, total, total_squared = tail_count[place], weight, squared
            merged_mean, merged_squares = mean, squares
            if before > 0:
                factor = powers[place + 1]
                older = tail_weight[place] * factor
                total, total_squared = weight + older, squared + tail_squared[place] * factor * factor
                delta = mean - tail_mean[place]
                if count == 0:
                    delta = 0.0
                share = weight / total
                merged_mean = tail_mean[place] + delta * share
                merged_squares = squares + tail_sum[place] * factor + delta * delta * share * older
            if count + before >= needed:
                means[row] = known_or_nan(merged_mean)
                if count + before > 1:
                    unbiased = total - total_squared / total
                    spreads[row] = known_or_nan(math.sqrt(max(merged_squares, 0.0) / unbiased))
        if end < n:
            count, weight, squared, mean, squares = 0, 0.0, 0.0, 0.0, 0.0
            tail_count[block - 1] = 0
            for row in range(end - 1, start, -1):
                x = values[row]
                if x == x:
                    count += 1
                    own = powers[end - 1 - row]
                    weight, squared = weight + own, squared + own * own
                    delta = x - mean
                    mean += delta * (own / weight)
                    squares += own * delta * (x - mean)
                place = row - start - 1
                tail_count[place], tail_weight[place], tail_squared[place] = count, weight, squared
                tail_mean[place], tail_sum[place] = mean, squares
    return means, spreads


@machine_code
def slope_and_correlation(y: Floats, x: Floats, window: int, needed: int) -> tuple[Floats, Floats]:
    """Least-squares slope of y on x, and their correlation, over the `window` rows ending at each row.

    Only rows where both are known count. The slope is null where x is constant, the correlation where either is.

    Parameters
    ----------
    y, x : shape (n,).
    window : rows; at the beginning the rows there are.
    needed : rows where both are known.
    """
    n = x.size
    block = max(1, min(window, n))
    slopes, correlations = np.full(n, np.nan), np.full(n, np.nan)
    inverse = 1.0 / np.maximum(np.arange(block + 1), 1)
    tail_count, tail = np.zeros(block, np.int64), np.zeros((block, 5))
    for start in range(0, n, block):
        end = min(start + block, n)
        count, mean_x, mean_y, xx, yy, xy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
        for row in range(start, end):
            if x[row] == x[row] and y[row] == y[row]:
                count += 1
                delta_x, delta_y = x[row] - mean_x, y[row] - mean_y
                mean_x += delta_x * inverse[count]
                mean_y += delta_y * inverse[count]
                xx += delta_x * (x[row] - mean_x)
                yy += delta_y * (y[row] - mean_y)
                xy += delta_x * (y[row] - mean_y)
            before = tail_count[row - start]
            total, all_mean_x, all_mean_y, all_xx, all_yy, all_xy = count, mean_x, mean_y, xx, yy, xy
            if before > 0:
                older = tail[row - start]
                total = count + before
                delta_x, delta_y = mean_x - older[0], mean_y - older[1]
                if count == 0:
                    delta_x, delta_y = 0.0, 0.0
                share = count * inverse[total]
                all_mean_x, all_mean_y = older[0] + delta_x * share, older[1] + delta_y * share
                all_xx = xx + older[2] + delta_x * delta_x * share * before
                all_yy = yy + older[3] + delta_y * delta_y * share * before
                all_xy = xy + older[4] + delta_x * delta_y * share * before
            if total >= needed and total > 1:
                varies_x = math.sqrt(all_xx / (total - 1)) > RELATIVE_ZERO * abs(all_mean_x)
                varies_y = math.sqrt(all_yy / (total - 1)) > RELATIVE_ZERO * abs(all_mean_y)
                if varies_x and all_xx > 0.0:
                    slopes[row] = known_or_nan(all_xy / all_xx)
                product = math.sqrt(all_xx) * math.sqrt(all_yy)
                if varies_x and varies_y and product > 0.0 and math.isfinite(all_xy / product):
                    correlations[row] = min(max(all_xy / product, -1.0), 1.0) + 0.0
        if end < n:
            count, mean_x, mean_y, xx, yy, xy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
            tail_count[block - 1] = 0
            for row in range(end - 1, start, -1):
                if x[row] == x[row] and y[row] == y[row]:
                    count += 1
                    delta_x, delta_y = x[row] - mean_x, y[row] - mean_y
                    mean_x += delta_x * inverse[count]
                    mean_y += delta_y * inverse[count]
                    xx += delta_x * (x[row] - mean_x)
                    yy += delta_y * (y[row] - mean_y)
                    xy += delta_x * (y[row] - mean_y)
                place = row - start - 1
                tail_count[place] = count
                tail[place, 0], tail[place, 1] = mean_x, mean_y
                tail[place, 2], tail[place, 3], tail[place, 4] = xx, yy, xy
    return slopes, correlations


@machine_code
def window_sum(values: Floats, window: int, needed: int) -> Floats:
    """Σ of the known values of the `window` rows ending at each row; whole numbers are summed exactly. Shape (n,)."""
    n = values.size
    block = max(1, min(window, n))
    sums = np.full(n, np.nan)
    tail_count, tail = np.zeros(block, np.int64), np.zeros(block)
    for start in range(0, n, block):
        end = min(start + block, n)
        count, total = 0, 0.0
        for row in range(start, end):
            if values[row] == values[row]:
                count += 1
                total += values[row]
            if count + tail_count[row - start] >= needed:
                sums[row] = known_or_nan(total + tail[row - start])
        if end < n:
            count, total = 0, 0.0
            tail_count[block - 1], tail[block - 1] = 0, 0.0
            for row in range(end - 1, start, -1):
                if values[row] == values[row]:
                    count += 1
                    total += values[row]
                tail_count[row - start - 1], tail[row - start - 1] = count, total
    return sums


@machine_code
def rows_since_max(values: Floats, window: int, needed: int) -> Floats:
    """Rows since the largest known value of the `window` rows ending at each row, the latest one of equals. Shape (n,)."""
    n = values.size
    since = np.full(n, np.nan)
    # Rows that may still become the largest, values falling; a ring as long as the window.
    ring = np.zeros(max(1, min(window, n)), np.int64)
    first, length, count = 0, 0, 0
    for row in range(n):
        gone = row - window
        if gone >= 0:
            if values[gone] == values[gone]:
                count -= 1
            if length > 0 and ring[first] == gone:
                first = (first + 1) % ring.size
                length -= 1
        x = values[row]
        if x == x:
            count += 1
            while length > 0 and values[ring[(first + length - 1) % ring.size]] <= x:
                length -= 1
            ring[(first + length) % ring.size] = row
            length += 1
        if count >= needed:
            since[row] = row - ring[first]
    return since


@machine_code
def visits_to_largest(values: Floats, depths: Floats, window: int, needed: int) -> Floats:
    """Separate visits to within `depths` of the largest known value, over the `window` rows before each row. Shape (n,).

    A visit is a row inside that depth whose row before, in the window, is not. NaN where the depth is.
    """
    n = values.size
    visits = np.full(n, np.nan)
    # Rows of the window whose values are larger than all known ones after them: the first is the largest.
    descending, head, tail, known = np.empty(n, np.int64), 0, 0, 0
    # The row before each that is larger, all between being smaller or null; −1 where its window had none.
    larger = np.full(n, -1)
    for row in range(n):
        first = max(0, row - window)
        if head < tail and descending[head] < first:
            head += 1
        if row > window:
            known -= values[first - 1] == values[first - 1]
        if math.isfinite(depths[row]) and known >= needed and head < tail:
            level = values[descending[head]] - depths[row]
            last = head
            while last + 1 < tail and values[descending[last + 1]] >= level:
                last += 1
            found, before = 0, descending[last]
            while before >= first:
                if values[before] >= level:
                    found += before == first or not values[before - 1] >= level
                    before -= 1
                elif values[before] == values[before]:
                    before = larger[before]
                else:
                    before -= 1
            visits[row] = found
        if values[row] == values[row]:
            known += 1
            while head < tail and values[descending[tail - 1]] <= values[row]:
                tail -= 1
            if head < tail:
                larger[row] = descending[tail - 1]
            descending[tail] = row
            tail += 1
    return visits
