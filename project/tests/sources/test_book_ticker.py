"""Quotes weighted by time: against a loop over milliseconds' worth of stretches, and what broken files do."""

from __future__ import annotations

import io
import math
import random

import pytest

from backtest.errors import DataError
from backtest.sources.book_ticker import QUOTE_STALE_MS, parse_book_ticker, pieces

BAR = 300_000
START = 1_700_000_100_000 // BAR * BAR
HEADER = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
Quote = tuple[int, float, float, float, float]


def text(quotes: list[Quote], header: str = HEADER) -> bytes:
    lines = [f"{number},{b},{bq},{a},{aq},{t},{t + 3}\n" for number, (t, b, bq, a, aq) in enumerate(quotes)]
    return (header + "".join(lines)).encode()


def slow(quotes: list[Quote], period: tuple[int, int]) -> list[tuple[float, ...]]:
    """Bar by bar: every stretch in which one quote stood, cut to the bar."""
    rows = []
    for bar in range(period[0], period[1], BAR):
        spread = bid_depth = ask_depth = covered = largest = 0.0
        for number, (time, bid, bid_qty, ask, ask_qty) in enumerate(quotes):
            following = quotes[number + 1][0] if number + 1 < len(quotes) else period[1]
            begin, end = max(time, bar), min(following, time + QUOTE_STALE_MS, bar + BAR)
            if end <= begin or ask <= bid:
                continue
            bps = (ask - bid) / ((ask + bid) / 2) * 1e4
            covered += end - begin
            spread += bps * (end - begin)
            bid_depth += bid * bid_qty * (end - begin)
            ask_depth += ask * ask_qty * (end - begin)
            largest = max(largest, bps)
        if covered:
            rows.append(
                (
                    spread / covered,
                    largest,
                    bid_depth / covered,
                    ask_depth / covered,
                    (bid_depth - ask_depth) / (bid_depth + ask_depth),
                    covered / BAR,
                )
            )
    return rows


def drawn(seed: int, n: int = 300) -> list[Quote]:
    rng, time, quotes = random.Random(seed), START, []
    for _ in range(n):
        time += rng.choice([0, 1, 40, 900, 20_000, 100_000])
        bid = round(100 + rng.random(), 2)
        quotes.append((time, bid, rng.randint(1, 9), round(bid + rng.choice([-0.01, 0.01, 0.02, 0.4]), 2), 2.5))
    return quotes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [200, 1000, 1 << 20])
def test_the_sums_equal_those_of_a_loop_over_quotes_however_the_file_is_cut(seed: int, size: int) -> None:
    quotes = drawn(seed)
    period = START, START + 200 * BAR
    quotes = [quote for quote in quotes if quote[0] < period[1]]
    frame = parse_book_ticker(pieces(io.BytesIO(text(quotes)), 1 << 30, size), "a.csv", period).frame
    expected = slow(quotes, period)
    assert len(frame) == len(expected)
    for row, twin in zip(frame.rows(), expected, strict=True):
        assert all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) for a, b in zip(row[1:], twin, strict=True))


def test_a_quote_stands_a_minute_at_most() -> None:
    frame = parse_book_ticker([text([(START, 99.0, 1.0, 101.0, 3.0)])], "a.csv", (START, START + BAR)).frame
    assert frame.rows()[0][1:] == (200.0, 200.0, 99.0, 303.0, (99 - 303) / (99 + 303), 0.2)


def test_columns_are_found_by_name_and_by_order_without_a_header() -> None:
    quotes = [(START + 1000, 99.0, 1.0, 101.0, 3.0)]
    period = START, START + BAR
    plain = parse_book_ticker([text(quotes)], "a.csv", period).frame
    assert parse_book_ticker([text(quotes, "")], "a.csv", period).frame.equals(plain)
    turned = f"event_time,best_ask_qty,best_ask_price,best_bid_qty,best_bid_price\n{START + 1000},3.0,101.0,1.0,99.0\n"
    assert parse_book_ticker([turned.encode()], "a.csv", period).frame.equals(plain)


def test_microseconds_are_read_as_such() -> None:
    line = f"1,99,1,101,3,{(START + 1000) * 1000},{START * 1000}\n".encode()
    assert parse_book_ticker([line], "a.csv", (START, START + BAR)).frame["book_coverage"].to_list() == [0.2]


def test_broken_rows_are_reported_with_their_line_and_the_others_kept() -> None:
    good = [(START + second * 1000, 99.0, 1.0, 101.0, 3.0) for second in range(6)]
    lines = text(good).decode().splitlines()
    lines[2] = lines[2].replace("101.0", "many")
    lines[3] = "1,2,3"
    lines[5], lines[6] = lines[6], lines[5]
    parsed = parse_book_ticker([("\n".join(lines) + "\n").encode()], "a.csv", (START, START + BAR))
    assert [str(defect) for defect in parsed.defects] == [
        "a.csv row 4: it has 3 of 7 columns; row left out",
        "a.csv row 7: its stamp is earlier than that of the row before (1 such rows); rows put in order of time",
        "a.csv row 3: best_ask_price 'many' and the rest of its row make no quote; no quote from there to the next one",
    ]
    # Second 1 has no quote and ends the one before; the row of second 2 is gone, so second 3 begins the next stretch.
    assert parsed.frame["book_coverage"].to_list() == pytest.approx([(1000 + 62_000) / BAR])


def test_rows_that_belong_before_an_earlier_piece_and_other_days_are_left_out() -> None:
    late = text([(START + 5000, 99.0, 1.0, 101.0, 3.0)], ""), text([(START + 1000, 90.0, 1.0, 101.0, 3.0)], "")
    parsed = parse_book_ticker(late, "a.csv", (START, START + BAR))
    assert parsed.frame["max_spread_bps"].to_list() == [200.0]
    assert "is earlier than rows already summed; row left out" in str(parsed.defects[0])
    with pytest.raises(DataError, match="it has no usable row"):
        parse_book_ticker([text([(START - 1, 99.0, 1.0, 101.0, 3.0)])], "a.csv", (START, START + BAR))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "it is empty"),
        (b"1,2,3\n", "3 columns without header"),
        (b"a,b\n1,2\n", "its header lacks best_bid_price"),
    ],
)
def test_files_of_another_kind_are_refused(data: bytes, found: str) -> None:
    with pytest.raises(DataError, match=found):
        parse_book_ticker([data], "a.csv", (START, START + BAR))


def test_pieces_are_whole_lines_and_bounded() -> None:
    assert b"".join(pieces(io.BytesIO(b"aa\nbb\ncc"), 100, 4)) == b"aa\nbb\ncc"
    assert all(part.endswith(b"\n") for part in list(pieces(io.BytesIO(b"aa\nbb\ncc"), 100, 4))[:-1])
    with pytest.raises(DataError, match="more than the allowed 5 bytes"):
        list(pieces(io.BytesIO(b"aa\nbb\ncc"), 5, 4))
    with pytest.raises(DataError, match="a line of more than 4 bytes"):
        list(pieces(io.BytesIO(b"a" * 20), 100, 4))
