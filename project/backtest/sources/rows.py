"""Rows of any source brought to the columns of a raw data set; what cannot be used is dropped and reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from backtest.errors import DataError
from backtest.lake.schemas import RAW_SCHEMAS, UTC_MILLISECONDS

MINUTE_MS: Final = 60_000
BAR_MS: Final = 5 * MINUTE_MS
# Data sets on a grid; funding and metrics have stamps of their own.
STEP_MS: Final[dict[str, int]] = {
    **{name: BAR_MS for name in RAW_SCHEMAS if name not in ("funding", "metrics")},
    "ohlcv_1m": MINUTE_MS,
}
_PRICES: Final = ("open", "high", "low", "close")
REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "ohlcv_1m": (*_PRICES, "volume"),
    "ohlcv_5m": (*_PRICES, "volume"),
    **dict.fromkeys(("mark_5m", "index_5m", "premium_5m"), _PRICES),
    "funding": ("funding_rate",),
    "metrics": ("open_interest",),
    "liquidations": ("long_liquidation_usd", "short_liquidation_usd"),
    "book_ticker": ("mean_spread_bps",),
    "book_depth": ("bid_depth_1pct_usd", "ask_depth_1pct_usd"),
}
# In these an empty required number leaves the row in: the venue publishes stamps before all of their numbers.
_BLANKS_KEPT: Final = frozenset({"metrics"})
# No crypto venue is older than 2009; a stamp outside this span is a fault of the file, not a time.
EARLIEST_MS: Final = 1_230_768_000_000
LATEST_MS: Final = 4_102_444_800_000
# Of fewer rows a wider step than the data set's may come from gaps.
FEW_ROWS: Final = 12
SHOWN_ROWS: Final = 3
_SHORTEST_FUNDING_STEP_MS: Final = 60 * MINUTE_MS


@dataclass(frozen=True)
class Defect:
    """One fault of a file: where it is, what was found and what was done about it.

    ``row`` is the 1-based line of the file (header included), null for the file as a whole; ``rows`` is how many rows
    the fault concerns.
    """

    file: str
    row: int | None
    found: str
    done: str
    rows: int = 1

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file} row {self.row}"
        return f"{where}: {self.found}; {self.done}"


@dataclass(frozen=True)
class Parsed:
    """Usable rows in the raw schema, sorted by timestamp without duplicates, and what was wrong with the others."""

    frame: pl.DataFrame
    defects: list[Defect] = field(default_factory=list)


def raw_rows(table: pl.DataFrame, dataset: str, file: str, period_ms: tuple[int, int] | None = None) -> Parsed:
    """Rows of `table` in the columns and types of ``RAW_SCHEMAS[dataset]``.

    Parameters
    ----------
    table : frame with ``row`` (line in the file) and columns named as in the schema, of any type. ``timestamp`` may be
        a time, text, or a number of s, ms, µs or ns since 1970, even mixed: each row is read in the unit of its size.
        A schema column that is absent becomes null.
    dataset : name of a raw data set.
    file : name for the reports.
    period_ms : rows outside [first, last) ms since 1970 are dropped; null keeps all.

    Returns
    -------
    Parsed
        Rows with an unreadable stamp or required number are dropped (metrics keep rows with empty numbers); an unreadable
        optional number becomes null; rows are sorted; of rows with one stamp the last stays. Funding stamps are rounded
        to the minute, because the venue stamps payments some milliseconds after the hour. Each of these is reported.

    Raises
    ------
    DataError
        The steps between rows are not those of the data set, or no row is usable.
    """
    defects: list[Defect] = []
    table = with_stamps(table, file, defects)
    if dataset in STEP_MS:
        _require_step(table["stamp"], dataset)
    table = _with_numbers(table, dataset, file, defects)
    if dataset in STEP_MS:
        table = _on_grid(table, dataset, file, defects)
    elif dataset == "funding":
        table = table.with_columns((pl.col("stamp") + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS)
        _require_funding_step(table["stamp"])
    if period_ms is not None:
        table = within(table, period_ms, file, defects)
    table = _sorted_once_each(table, dataset, file, defects)
    if table.is_empty():
        raise DataError("it has no usable row" + (f" ({defects[0].found})" if defects else ""))
    schema = RAW_SCHEMAS[dataset]
    frame = table.select(
        pl.col("stamp").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC").cast(UTC_MILLISECONDS).alias("timestamp"),
        *(pl.col(name).cast(dtype) for name, dtype in schema.items() if name != "timestamp"),
    )
    return Parsed(frame, defects)


def step_text(step_ms: float) -> str:
    """A step in words: ``5 minutes``, ``8 hours``."""
    for unit_ms, unit in ((86_400_000, "day"), (3_600_000, "hour"), (MINUTE_MS, "minute"), (1000, "second")):
        if step_ms >= unit_ms and step_ms % unit_ms == 0:
            count = int(step_ms // unit_ms)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{step_ms:g} ms"


# -- stamps -------------------------------------------------------------------------------------------------


def with_stamps(table: pl.DataFrame, file: str, defects: list[Defect]) -> pl.DataFrame:
    """`table` with ``stamp`` (ms since 1970) from ``timestamp``; rows without a readable one are dropped and reported."""
    number = _stamp_number(table["timestamp"])
    if number.null_count() == 0 and _all_within(number.to_numpy(), EARLIEST_MS, LATEST_MS):
        return table.with_columns(number.alias("stamp"))
    table = table.with_columns(number.alias("_number"))
    stamp, unit = pl.lit(None, pl.Int64), pl.lit("seconds")
    for least, name, in_ms in _UNITS:
        is_unit = pl.col("_number") >= least
        stamp, unit = pl.when(is_unit).then(in_ms).otherwise(stamp), pl.when(is_unit).then(pl.lit(name)).otherwise(unit)
    table = table.with_columns(stamp.alias("stamp"), unit.alias("_unit"))
    is_usable = pl.col("stamp").is_between(EARLIEST_MS, LATEST_MS).fill_null(False)
    table = without(table, ~is_usable, "timestamp", file, "is not a time", "row left out", defects)
    changed = table.filter(pl.col("_unit") != pl.col("_unit").shift(1))
    if changed.height:
        units = sorted(table["_unit"].unique().to_list())
        row = int(changed["row"][0])
        defects.append(Defect(file, row, f"stamps are in {' and '.join(units)}", "each read in its own unit"))
    return table.drop("_number", "_unit")


PYTHON_DATES_MS: Final = (-62_135_596_800_000, 253_402_300_799_999)
"""The years 1 to 9999."""
_UNITS: Final = (
    (10**8, "seconds", pl.col("_number") * 1000),
    (10**11, "milliseconds", pl.col("_number")),
    (10**14, "microseconds", pl.col("_number") // 1000),
    (10**17, "nanoseconds", pl.col("_number") // 1_000_000),
)
"""Least number of each unit, and what it is in milliseconds."""


def _all_within(values: np.ndarray[tuple[int], np.dtype[np.int64]], least: int, most: int) -> bool:
    return bool(((values >= least) & (values <= most)).all())


def _stamp_number(column: pl.Series) -> pl.Series:
    """Whole numbers since 1970 in whatever unit; null where unreadable. Times are given in milliseconds."""
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.epoch("ms")
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("ms")).dt.epoch("ms")
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        number = text.cast(pl.Int64, strict=False)
        if number.null_count() == 0:
            return number
        real = text.cast(pl.Float64, strict=False)
        return pl.select(pl.coalesce(number, _whole(real), _date_text(text))).to_series()
    if column.dtype.is_float():
        return pl.select(_whole(column)).to_series()
    return column.cast(pl.Int64, strict=False)


def _whole(real: pl.Series) -> pl.Expr:
    values = pl.lit(real)
    return pl.when(values.is_finite() & (values.abs() < 9e18)).then(values).cast(pl.Int64, strict=False)


def _date_text(text: pl.Series) -> pl.Expr:
    plain = pl.lit(text.str.replace("T", " ", literal=True).str.replace(r"\s*(Z|UTC|\+00:?00)$", ""))
    read = [
        plain.str.to_datetime(form, time_unit="ms", strict=False) for form in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
    ]
    zoned = plain.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="ms", time_zone="UTC", strict=False)
    dates = plain.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("ms"))
    return pl.coalesce(*read, dates, zoned.dt.replace_time_zone(None)).dt.epoch("ms")


# -- numbers ------------------------------------------------------------------------------------------------


def _with_numbers(table: pl.DataFrame, dataset: str, file: str, defects: list[Defect]) -> pl.DataFrame:
    names = [name for name in RAW_SCHEMAS[dataset] if name != "timestamp"]
    absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in names if name not in table.columns]
    present = [name for name in names if name in table.columns]
    is_text = {name: table.schema[name] == pl.String for name in present}
    numbers = table.with_columns(
        *(
            _number(pl.col(name).str.strip_chars() if is_text[name] else pl.col(name), RAW_SCHEMAS[dataset][name])
            for name in present
        ),
        *absent,
    )
    faulty = [name for name in present if not np.isfinite(numbers[name].to_numpy()).all()]
    if not faulty:
        return numbers
    table = numbers.with_columns(*(table[name].alias(f"{_FOUND}{name}") for name in faulty))
    for name in faulty:
        is_wrong = ~pl.col(name).is_finite().fill_null(False)
        is_required = name in REQUIRED[dataset] and dataset not in _BLANKS_KEPT
        if is_required:
            table = without(table, is_wrong, name, file, "is not a number", "row left out", defects, _FOUND)
            continue
        if not is_text[name]:
            is_wrong &= pl.col(f"{_FOUND}{name}").is_not_null()
        done = f"{name} left empty there"
        defects += reported(table.filter(is_wrong), name, file, "is not a number", done, _FOUND)
        table = table.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)))
    return table.drop(f"{_FOUND}{name}" for name in faulty)


def _number(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """`value` as a float; null where it is none, or none that a whole-number column can hold."""
    number = value.cast(pl.Float64, strict=False)
    return pl.when(number.abs() < 2**63).then(number) if dtype.is_integer() else number


_FOUND: Final = "found: "
"""Put before the name of a column of numbers, the column as it was found."""


# -- order --------------------------------------------------------------------------------------------------


def _require_step(stamps: pl.Series, dataset: str) -> None:
    step = _median_step(stamps)
    if step is None or step == STEP_MS[dataset]:
        return
    if step % STEP_MS[dataset] == 0 and len(stamps) < FEW_ROWS:
        return
    fitting = [name for name, step_ms in STEP_MS.items() if step_ms == step]
    raise DataError(
        f"its rows are {step_text(step)} apart, {dataset} needs {step_text(STEP_MS[dataset])}"
        + (f" (it would fit {fitting[0]})" if fitting else f" (taken are {', '.join(STEP_MS)})")
    )


def _require_funding_step(stamps: pl.Series) -> None:
    step = _median_step(stamps)
    if step is not None and step < _SHORTEST_FUNDING_STEP_MS:
        raise DataError(f"its rows are {step_text(step)} apart; funding is paid every 1 to 8 hours")


def _median_step(stamps: pl.Series) -> float | None:
    steps = np.sort(np.diff(np.unique(stamps.to_numpy())))
    return None if len(steps) == 0 else float(steps[(len(steps) - 1) // 2])


def _on_grid(table: pl.DataFrame, dataset: str, file: str, defects: list[Defect]) -> pl.DataFrame:
    if not (table["stamp"].to_numpy() % STEP_MS[dataset]).any():
        return table
    is_off = pl.col("stamp") % STEP_MS[dataset] != 0
    what = f"is not the start of a bar of {step_text(STEP_MS[dataset])}"
    return without(table, is_off, "timestamp", file, what, "row left out", defects)


def within(table: pl.DataFrame, period_ms: tuple[int, int], file: str, defects: list[Defect]) -> pl.DataFrame:
    """Rows with first <= ``stamp`` < last; the others are reported."""
    if _all_within(table["stamp"].to_numpy(), period_ms[0], period_ms[1] - 1):
        return table
    is_outside = (pl.col("stamp") < period_ms[0]) | (pl.col("stamp") >= period_ms[1])
    what = "is outside the time the file is named after"
    return without(table, is_outside, "timestamp", file, what, "row left out", defects)


def without(
    table: pl.DataFrame,
    is_wrong: pl.Expr,
    name: str,
    file: str,
    found: str,
    done: str,
    defects: list[Defect],
    prefix: str = "",
) -> pl.DataFrame:
    """`table` without the rows that are wrong, each reported as by `reported`."""
    wrong = table.select(is_wrong).to_series()
    if not wrong.any():
        return table
    defects += reported(table.filter(wrong), name, file, found, done, prefix)
    return table.filter(~wrong)


def _sorted_once_each(table: pl.DataFrame, dataset: str, file: str, defects: list[Defect]) -> pl.DataFrame:
    steps = np.diff(table["stamp"].to_numpy())
    if (steps > 0).all():
        return table
    late = table.filter(pl.col("stamp") < pl.col("stamp").shift(1))
    if late.height and not table["stamp"].is_sorted(descending=True):
        found = f"its stamp is earlier than that of the row before ({late.height} such rows)"
        defects.append(Defect(file, int(late["row"][0]), found, "rows put in order of time", late.height))
    table = table.sort("stamp", maintain_order=True)
    if not table["stamp"].is_duplicated().any():
        return table
    values = [name for name in RAW_SCHEMAS[dataset] if name != "timestamp"]
    is_same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).first().over("stamp")) for name in values)
    table = table.with_columns(is_same.all().over("stamp").alias("_same"))
    repeated = table.filter(~pl.col("stamp").is_first_distinct())
    what = "is there already with the same values"
    defects += reported(repeated.filter(pl.col("_same")), "timestamp", file, what, "repetition left out")
    what = "is there already with other values"
    defects += reported(repeated.filter(~pl.col("_same")), "timestamp", file, what, "the last of them kept")
    return table.drop("_same").unique("stamp", keep="last", maintain_order=True)


def reported(wrong: pl.DataFrame, name: str, file: str, found: str, done: str, prefix: str = "") -> list[Defect]:
    """One defect for each of the first rows, then one for all the others; `prefix` and `name` is the column that is shown."""
    shown = wrong.head(SHOWN_ROWS)
    first = [
        Defect(file, int(row), f"{name} {_shown(value)} {found}", done)
        for row, value in zip(shown["row"], _values(shown[f"{prefix}{name}"]), strict=True)
    ]
    if wrong.height > SHOWN_ROWS:
        n_more = wrong.height - SHOWN_ROWS
        row = int(wrong["row"][SHOWN_ROWS])
        first.append(Defect(file, row, f"and {n_more:,} more rows from here on whose {name} {found}", done, n_more))
    return first


def _values(column: pl.Series) -> list[object]:
    """What a column holds; of times that Python has no date for, the numbers they are kept as."""
    if not isinstance(column.dtype, pl.Datetime):
        return column.to_list()
    has_date = column.dt.epoch("ms").is_between(*PYTHON_DATES_MS)
    dates = column.set(~has_date.fill_null(value=True), None).to_list()
    return [number if date is None else date for date, number in zip(dates, column.to_physical(), strict=True)]


def _shown(value: object) -> str:
    text = "(empty)" if value is None or value == "" else str(value)
    return repr(text if len(text) <= 40 else text[:39] + "…") if isinstance(value, str) and value else text
