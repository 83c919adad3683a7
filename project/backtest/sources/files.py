"""Market data in files an operator has: which layout a file is in, and its rows in the columns of a raw data set."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from backtest.errors import DataError
from backtest.lake.schemas import RAW_SCHEMAS
from backtest.outside_bytes import arrow_table
from backtest.sources.archives import gunzipped, unzipped
from backtest.sources.columns import FUNDING_COLUMNS, KLINE_COLUMNS, mapping_of, normal_name
from backtest.sources.rows import REQUIRED, Defect, raw_rows
from backtest.sources.tables import first_lines, text_rows

ACCEPTED_LAYOUTS: Final = (
    "Binance klines (12 columns open_time … ignore, with or without header row)",
    "Binance funding (calc_time, funding_interval_hours, last_funding_rate)",
    "open_time or timestamp, open, high, low, close, volume (and the other columns of a raw data set)",
    "funding_time or timestamp, funding_rate",
    "freqtrade (date, open, high, low, close, volume)",
    "CryptoDataDownload (unix, date, symbol, open, high, low, close, Volume BASE, Volume QUOTE, tradecount)",
)
_PARQUET: Final = (".parquet", ".pq")
_FEATHER: Final = (".feather", ".arrow", ".ipc")
_TEXT: Final = (".csv", ".txt")
_PACKED: Final = (".zip", ".gz")
_ARCHIVE_NAME: Final = re.compile(r"([A-Z0-9_]+)-(?:\d+[smhdw]|fundingRate)-\d{4}-\d{2}")
_HEADERLESS: Final = {len(KLINE_COLUMNS): KLINE_COLUMNS, len(FUNDING_COLUMNS): FUNDING_COLUMNS}


@dataclass(frozen=True)
class Recognised:
    """What a file was taken for.

    ``mapping`` is column of the raw data set → column in the file; ``absent`` are raw columns the file lacks, which
    stay null; ``ignored`` are columns of the file nothing is taken from.
    """

    layout: str
    mapping: dict[str, str]
    absent: tuple[str, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        parts = [self.layout]
        if self.absent:
            parts.append(f"stay empty: {', '.join(self.absent)}")
        if self.ignored:
            parts.append(f"not taken: {', '.join(self.ignored)}")
        return "; ".join([*parts, *self.notes])


def recognise(path: Path, market: str, dataset: str, symbol: str | None = None) -> Recognised:
    """Which layout `path` is in, from its columns alone; DataError naming what was found and what is accepted."""
    return _opened(path, market, dataset, symbol)[1]


def read_file(
    path: Path, market: str, dataset: str, symbol: str | None = None
) -> tuple[pl.DataFrame, Recognised, list[Defect]]:
    """Rows of a Parquet, Feather or (packed) CSV file in the raw schema, what it was taken for, and its defects.

    Raises DataError where the file cannot be read, its columns are not known, its interval is not that of `dataset`, or
    it says it holds another symbol than `symbol`.
    """
    table, recognised, defects = _opened(path, market, dataset, symbol)
    if symbol is not None:
        _require_symbol(table, path, symbol)
    try:
        parsed = raw_rows(table.select("row", **recognised.mapping), dataset, path.name)
    except DataError as fault:
        raise DataError(f"{path}: {fault}.") from None
    return parsed.frame, recognised, defects + parsed.defects


def _opened(path: Path, market: str, dataset: str, symbol: str | None) -> tuple[pl.DataFrame, Recognised, list[Defect]]:
    if not path.is_file():
        raise DataError(f"{path} {'is not a file' if path.exists() else 'does not exist'}.")
    try:
        if path.suffix.lower() in _PARQUET + _FEATHER:
            table = _typed_table(path)
            names, layout, defects = table.columns, "", list[Defect]()
            table = table.with_row_index("row", offset=1) if "row" not in names else table
        else:
            table, names, layout, defects = _text_table(path)
    except OSError as fault:
        raise DataError(f"{path} cannot be read: {fault.strerror or fault}.") from None
    except DataError as fault:
        raise DataError(f"{path}: {fault}.") from None
    return table, _recognised(path, names, layout, market, dataset, symbol), defects


# -- reading ----------------------------------------------------------------------------------------------


def _typed_table(path: Path) -> pl.DataFrame:
    is_parquet = path.suffix.lower() in _PARQUET
    try:
        table = pl.from_arrow(arrow_table(path))
    except (ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as fault:
        kind = "Parquet" if is_parquet else "Feather"
        raise DataError(
            f"it is not a readable {kind} file ({(str(fault) or repr(fault)).splitlines()[0][:120]})"
        ) from None
    if not isinstance(table, pl.DataFrame):
        raise DataError("it holds no table")
    return table


def _text_table(path: Path) -> tuple[pl.DataFrame, list[str], str, list[Defect]]:
    """Text columns named as in the file, the names, the layout where the form of the text tells it, defects."""
    data = _unpacked(path)
    lines = first_lines(data, 2)
    if not lines:
        raise DataError("it is empty")
    layout, n_skipped = "", 0
    if len(lines) == 2 and len(lines[0]) == 1 and len(lines[1]) > 1:
        n_skipped = _first_line_end(data)
        layout, lines = "CryptoDataDownload", lines[1:]
    header = lines[0]
    has_header = not any(re.fullmatch(r"[-+]?\d[\d.eE+-]*", value.strip()) for value in header)
    names = [name.strip() for name in header] if has_header else list(_HEADERLESS.get(len(header), ()))
    if not names:
        raise DataError(f"it has no header row and {len(header)} columns; {_accepted()}")
    if len(set(names)) < len(names):
        raise DataError(f"its header names a column twice: {', '.join(names)[:200]}")
    table, defects = text_rows(data[n_skipped:], len(names), path.name)
    table = table.slice(1) if has_header else table
    if n_skipped:
        table = table.with_columns(pl.col("row") + 1)
    if not has_header:
        layout = (
            f"Binance {'klines' if len(names) == len(KLINE_COLUMNS) else 'funding'}, {len(names)} columns, no header"
        )
    elif [normal_name(name) for name in names[:1]] == ["open_time"] and len(names) == len(KLINE_COLUMNS):
        layout = "Binance klines, 12 columns with header"
    return table.rename({str(number): name for number, name in enumerate(names)}), names, layout, defects


def _unpacked(path: Path) -> bytes:
    data, suffix = path.read_bytes(), path.suffix.lower()
    if suffix == ".zip":
        member, data = unzipped(data)
        suffix = Path(member).suffix.lower()
    elif suffix == ".gz":
        data, suffix = gunzipped(data), Path(path.stem).suffix.lower()
    if suffix not in _TEXT:
        raise DataError(
            f"its kind {suffix or '(no suffix)'} is not taken; taken are "
            f"{', '.join((*_PARQUET, *_FEATHER, *_TEXT))}, and {' or '.join(_TEXT)} packed as {' or '.join(_PACKED)}"
        )
    return data


def _first_line_end(data: bytes) -> int:
    return data.index(b"\n") + 1


# -- recognising ------------------------------------------------------------------------------------------


def _recognised(path: Path, names: list[str], layout: str, market: str, dataset: str, symbol: str | None) -> Recognised:
    if market == "spot" and dataset == "funding":
        raise DataError("spot has no funding; use --market perp.")
    mapping = mapping_of(names, dataset)
    normal = {normal_name(name): name for name in names}
    volumes = [name for name in normal if name.startswith("volume_")]
    if volumes and "volume" not in mapping and dataset != "funding":
        mapping.update(_dated_volumes(volumes, normal, symbol))
        layout = "CryptoDataDownload"
    missing = [name for name in ("timestamp", *REQUIRED[dataset]) if name not in mapping]
    if missing:
        raise DataError(
            f"{path}: it has no {' and no '.join(missing)} for {dataset}; "
            f"it has {', '.join(names)[:200]}; {_accepted()}."
        )
    absent = tuple(name for name in RAW_SCHEMAS[dataset] if name not in mapping)
    ignored = tuple(name for name in names if name not in mapping.values())
    return Recognised(layout or _layout_of(normal, dataset), mapping, absent, ignored, _name_note(path, symbol))


def _dated_volumes(volumes: list[str], normal: dict[str, str], symbol: str | None) -> dict[str, str]:
    """``Volume BTC`` and ``Volume USDT`` told apart by the symbol; without one, the base volume stands first."""
    bases = [name for name in volumes if symbol and symbol.startswith(name.removeprefix("volume_").upper())]
    base = (bases or volumes)[0]
    others = [name for name in volumes if name != base]
    return {"volume": normal[base], **({"quote_volume": normal[others[0]]} if others else {})}


def _layout_of(normal: dict[str, str], dataset: str) -> str:
    if dataset == "funding":
        return "Binance funding, archive columns" if "calc_time" in normal else "funding_time and funding_rate"
    if "date" in normal and not {"open_time", "timestamp", "unix"} & set(normal):
        return "freqtrade"
    return "bars with named columns"


def _name_note(path: Path, symbol: str | None) -> tuple[str, ...]:
    archived = _ARCHIVE_NAME.match(path.name)
    if symbol is not None and archived is not None and archived[1] != symbol:
        raise DataError(f"{path}: by its name it holds {archived[1]}, not {symbol}. Use --symbol {archived[1]}.")
    named = re.match(r"([A-Z0-9]{2,20}(?:USDT|USDC|FDUSD|BUSD|BTC|ETH))(?=[_.-])", path.name)
    if symbol is None or named is None or named[1] == symbol:
        return ()
    return (f"attention: the file's name says {named[1]}, it is taken as {symbol}",)


def _require_symbol(table: pl.DataFrame, path: Path, symbol: str) -> None:
    """A column named symbol must hold this one alone."""
    columns = [name for name in table.columns if normal_name(name) == "symbol"]
    if not columns or table[columns[0]].dtype != pl.String:
        return
    held = table[columns[0]].drop_nulls().unique().sort().to_list()
    others = [name for name in held if re.sub(r"[^A-Z0-9]", "", name.upper().removesuffix(".P")) != symbol]
    if others:
        raise DataError(
            f"{path}: it holds {', '.join(others[:3])}, not {symbol}. Import it with --symbol of that name."
        )


def _accepted() -> str:
    return "accepted are: " + "; ".join(ACCEPTED_LAYOUTS)
