"""Which bars cannot be trusted, and which data set makes them so."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtest.cleaning.taint import TAINT_DATASETS, clean_symbol, matched_defects, taint_mask
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.spec.loader import load_spec
from backtest.spec.models import KnownDefect

START = dt.datetime(2023, 11, 10, 3, 30, tzinfo=dt.UTC)
SPEC = load_spec(Path(__file__).resolve().parents[3] / "spec")


def at(bar: int) -> dt.datetime:
    return START + dt.timedelta(minutes=5 * bar)


def rows(dataset: str, prices: dict[int, float], volume: float = 1.0) -> pl.DataFrame:
    empty = dict.fromkeys(RAW_SCHEMAS[dataset])
    return pl.DataFrame(
        [
            {**empty, "timestamp": at(bar), **dict.fromkeys(("open", "high", "low", "close"), price)}
            | ({"volume": 0.0 if bar == 4 else volume} if dataset == "ohlcv_5m" else {})
            for bar, price in prices.items()
        ],
        schema=RAW_SCHEMAS[dataset],
    )


def defect(dataset: str, first: int, end: int, market: str = "perp", symbols: Any = ("AAAUSDT",)) -> KnownDefect:
    return KnownDefect.model_validate(
        {
            "venue": "binance",
            "market": market,
            "dataset": dataset,
            "symbols": symbols,
            "file": "a.zip",
            "start": at(first),
            "end": at(end),
            "cause": "Broken.",
            "source": "somebody",
        }
    )


def bits(frame: pl.DataFrame, dataset: str) -> list[int]:
    bit = 1 << TAINT_DATASETS.index(dataset)
    return [bar for bar, taint in enumerate(frame["taint"].to_list()) if taint & bit]


def test_gaps_halts_leaps_and_known_defects_taint_the_bars_themselves() -> None:
    prices = {bar: 100.0 for bar in range(10) if bar != 2} | {6: 170.0}
    frame = clean_symbol(
        {("perp", "ohlcv_5m"): rows("ohlcv_5m", prices)},
        "AAAUSDT",
        [defect("ohlcv_5m", 8, 9), defect("ohlcv_5m", 0, 2, symbols=("BBBUSDT",)), defect("ohlcv_5m", 0, 2, "spot")],
    )
    tainted = [bar for bar, is_tainted in enumerate(frame["is_tainted"].to_list()) if is_tainted]
    assert tainted == bits(frame, "ohlcv_5m") == [2, 4, 6, 8]


def test_a_data_set_taints_only_what_rests_on_it() -> None:
    plain = dict.fromkeys(range(8), 100.0)
    raw = {
        ("perp", "ohlcv_5m"): rows("ohlcv_5m", plain),
        ("spot", "ohlcv_5m"): rows("ohlcv_5m", {bar: 1.0 for bar in plain if bar != 3}),
        ("perp", "mark_5m"): rows("mark_5m", {bar: 1.0 for bar in plain if bar not in (0, 5)}),
    }
    frame = clean_symbol(raw, "AAAUSDT", [defect("index_5m", 1, 3), defect("ohlcv_5m", 6, 7, "spot", None)])
    assert bits(frame, "ohlcv_5m") == [4]
    assert bits(frame, "mark_5m") == [5]
    assert bits(frame, "index_5m") == [1, 2]
    assert bits(frame, "spot ohlcv_5m") == [3, 4, 6]


def test_the_mask_of_columns_has_their_data_sets_and_always_the_bars() -> None:
    datasets = {name: column.dataset for name, column in SPEC.columns.items()}
    assert taint_mask(["close"], datasets) == 1
    assert taint_mask(["spot_close"], datasets) == 1 | 2
    assert taint_mask(["mark_close", "open_interest"], datasets) == 1 | sum(
        1 << TAINT_DATASETS.index(name) for name in ("mark_5m", "metrics")
    )


def test_every_data_set_of_a_column_has_a_bit() -> None:
    # What is made of other symbols' bars carries no taint of theirs: a mean over symbols leaves out the missing ones.
    known = {*TAINT_DATASETS, "ohlcv_5m with quote and taker volumes", "bars of other symbols", "bars of BTCUSDT"}
    # A calendar is a list of dates: nothing of it can be missing or wrong in a bar.
    datasets = {column.dataset for column in SPEC.columns.values() if not column.dataset.startswith("calendar ")}
    assert datasets <= known


def test_the_real_list_matches_the_missing_mark_prices_of_2023() -> None:
    frame = clean_symbol(
        {("perp", "ohlcv_5m"): rows("ohlcv_5m", dict.fromkeys(range(12), 100.0))}, "BTCUSDT", SPEC.known_defects
    )
    assert [at(bar).strftime("%H:%M") for bar in bits(frame, "mark_5m")] == [
        "03:40",
        "03:45",
        "03:50",
        "03:55",
        "04:00",
    ]
    lines = matched_defects(SPEC.known_defects, "perp", "BTCUSDT", frame)
    assert len(lines) == 1
    assert lines[0].startswith(
        "known defect of BTCUSDT perp mark_5m, 2023-11-10 03:40 to 2023-11-10 04:05 UTC (5 rows):"
    )
    assert matched_defects(SPEC.known_defects, "perp", "AAAUSDT", frame) == []


def test_halts_of_the_real_list_are_the_bars_without_trade(shared_data: Path) -> None:
    real = pl.read_parquet(shared_data / "import/BTCUSDT_perp_5m.parquet")
    still = real.filter(pl.col("volume") == 0)["open_time"].to_list()
    halts = [
        one for one in SPEC.known_defects if one.dataset == "ohlcv_5m" and one.market == "perp" and not one.symbols
    ]
    listed = [
        stamp
        for one in halts
        for stamp in pl.datetime_range(one.start, one.end, "5m", closed="left", time_unit="ms", eager=True).to_list()
    ]
    assert sorted(listed) == sorted(still)
    assert [one.rows for one in halts] == [3, 2, 14, 2]


@pytest.mark.parametrize(
    ("change", "found"),
    [({"end": at(0)}, "is not after start"), ({"start": dt.datetime(2023, 1, 1)}, "need a time zone")],  # noqa: DTZ001
)
def test_a_span_that_is_none_is_refused(change: dict[str, Any], found: str) -> None:
    good = defect("ohlcv_5m", 1, 2).model_dump()
    with pytest.raises(ValueError, match=found):
        KnownDefect.model_validate({**good, **change})
