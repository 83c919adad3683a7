"""Liquidations and book depth summed to bars, each against a loop, and what broken files do."""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict

import pytest

from backtest.errors import DataError
from backtest.sources.book_depth import parse_book_depth
from backtest.sources.liquidations import parse_liquidations

BAR = 300_000
START = int(dt.datetime(2023, 8, 1, tzinfo=dt.UTC).timestamp() * 1000)
DAY = START, START + 288 * BAR
HEADER = (
    "time,symbol,side,order_type,time_in_force,original_quantity,price,average_price,order_status,"
    "last_fill_quantity,accumulated_fill_quantity\n"
)


def order(
    offset: int, side: str = "SELL", quantity: float = 2.0, price: float = 9.0, filled: float | None = None
) -> str:
    filled = quantity if filled is None else filled
    return f"{START + offset},AAAUSDT,{side},LIMIT,IOC,{quantity},{price},10.0,FILLED,{quantity},{filled}\n"


def liquidations(text: str) -> tuple[list[tuple[float, float, int]], list[str]]:
    parsed = parse_liquidations(text.encode(), "a.csv", "AAAUSDT", DAY)
    return [row[1:] for row in parsed.frame.rows()], [str(defect) for defect in parsed.defects]


def test_liquidated_notional_equals_a_loop_and_every_bar_of_the_day_is_there() -> None:
    rng = random.Random(1)
    orders = [(rng.randrange(288 * BAR), rng.choice(["BUY", "SELL"]), rng.randint(1, 99)) for _ in range(500)]
    rows, defects = liquidations(HEADER + "".join(order(*one) for one in sorted(orders)))
    sums: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
    for offset, side, quantity in orders:
        sums[offset // BAR][side == "BUY"] += quantity * 10.0
        sums[offset // BAR][2] += 1
    assert rows == [tuple(sums[bar]) for bar in range(288)]
    assert defects == []


def test_a_sale_closes_longs_and_the_average_price_counts_where_there_is_one() -> None:
    text = order(0) + order(1, "BUY") + order(2, quantity=3.0).replace(",10.0,", ",0,")
    assert liquidations(text)[0][0] == (20.0 + 27.0, 20.0, 3)


def test_rows_about_one_order_count_once_with_what_was_filled_in_the_end() -> None:
    rows, defects = liquidations(order(0, filled=0.5) + order(0, filled=2.0) + order(0, filled=2.0))
    assert rows[0] == (20.0, 0.0, 1)
    assert defects == ["a.csv row 2: the order of another row again (2 such rows); the row with most filled counts"]


def test_a_header_alone_is_a_day_without_liquidations_and_said() -> None:
    rows, defects = liquidations(HEADER)
    assert rows == [(0.0, 0.0, 0)] * 288
    assert defects == ["a.csv: it has a header and no row; taken as a time without liquidations"]


def test_rows_that_cannot_be_used_are_reported_by_line_and_left_out() -> None:
    lines = [
        order(0),
        order(1).replace("AAAUSDT", "BBBUSDT"),
        order(2).replace("SELL", "HOLD"),
        order(3).replace(",FILLED", ",FILLED,x", 1),
        order(4, filled=-1.0),
        order(288 * BAR),
        order(5).replace(str(START + 5), "soon"),
    ]
    rows, defects = liquidations(HEADER + "".join(lines))
    assert rows[0] == (20.0, 0.0, 1)
    assert defects == [
        "a.csv row 5: it has 12 of 11 columns; row left out",
        "a.csv row 8: timestamp 'soon' is not a time; row left out",
        f"a.csv row 7: timestamp '{DAY[1]}' is outside the time the file is named after; row left out",
        "a.csv row 3: symbol 'BBBUSDT' is not AAAUSDT; row left out",
        "a.csv row 4: side 'HOLD' is neither BUY nor SELL; row left out",
        "a.csv row 6: accumulated_fill_quantity '-1.0' is not a number from zero up; row left out",
    ]


def test_a_file_whose_rows_are_all_wrong_is_refused() -> None:
    with pytest.raises(DataError, match="it has no usable row"):
        liquidations(HEADER + order(0).replace("SELL", "HOLD"))
    with pytest.raises(DataError, match="its header lacks side"):
        liquidations("time,price\n1,2\n")


DEPTH = "timestamp,percentage,depth,notional\n"


def depth(text: str) -> tuple[list[tuple[object, ...]], list[str]]:
    parsed = parse_book_depth(text.encode(), "d.csv", DAY)
    return parsed.frame.rows(), [str(defect) for defect in parsed.defects]


def test_depth_is_the_mean_over_the_snapshots_of_a_bar() -> None:
    rng = random.Random(2)
    snapshots = sorted(rng.sample(range(0, 3 * 300, 7), 40))
    lines, twin = [], defaultdict(lambda: defaultdict(list))
    for second in snapshots:
        stamp = dt.datetime(2023, 8, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=second)
        for percentage in (-5, -2, -1, 1, 2, 5):
            notional = rng.randint(1, 1000)
            lines.append(f"{stamp:%Y-%m-%d %H:%M:%S},{percentage},3.5,{notional}\n")
            twin[second // 300][percentage].append(notional)
    rows, defects = depth(DEPTH + "".join(lines))
    assert defects == []
    for row, (bar, bands) in zip(rows, sorted(twin.items()), strict=True):
        means = [sum(bands[band]) / len(bands[band]) for band in (-1, 1, -5, 5)]
        halves = {second // 30 for second in snapshots if second // 300 == bar}
        assert list(row[1:]) == pytest.approx([*means, len(halves) / 10])


def test_a_bar_without_snapshot_has_no_row_and_a_band_without_value_is_null() -> None:
    rows, _ = depth(DEPTH + "2023-08-01 00:00:05,-1.00,1,7\n2023-08-01 00:10:05,1,1,9\n")
    assert [row[1:] for row in rows] == [(7.0, None, None, None, 0.1), (None, 9.0, None, None, 0.1)]


def test_depth_faults_are_reported() -> None:
    good = "2023-08-01 00:00:05,-1,1,7\n"
    text = DEPTH + good + good.replace(",7", ",8") + good.replace(",7", ",lots") + good.replace("-01 ", "-02 ")
    rows, defects = depth(text)
    assert rows[0][1] == 8.0
    assert defects == [
        "d.csv row 5: timestamp '2023-08-02 00:00:05' is outside the time the file is named after; row left out",
        "d.csv row 4: notional 'lots' cannot be used; row left out",
        "d.csv row 3: its stamp and percentage are there already (1 such rows); the last of them kept",
    ]
    with pytest.raises(DataError, match="it has no usable row"):
        depth(DEPTH + good.replace("-1,", "0,"))
