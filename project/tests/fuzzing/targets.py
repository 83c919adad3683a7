# ruff: noqa: E501 - samples of formats are lines as they come
"""Every parser of bytes that come from outside, with samples of what it reads and the errors it may end with."""

from __future__ import annotations

import datetime as dt
import functools
import gzip
import io
import json
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from backtest.errors import BacktestError

REPOSITORY: Final = Path(__file__).resolve().parents[3]
NOW: Final = dt.datetime(2024, 2, 1, 12, tzinfo=dt.UTC)
DAY_MS: Final = (1_704_067_200_000, 1_704_153_600_000)
STAMPS: Final = [DAY_MS[0] + 300_000 * number for number in range(6)]


@dataclass(frozen=True)
class Target:
    """A parser: `prepare` gets an empty folder and returns what one input is fed to."""

    name: str
    samples: tuple[bytes, ...]
    prepare: Callable[[Path], Callable[[bytes], object]]
    allowed: tuple[type[BaseException], ...] = (BacktestError,)


def targets() -> list[Target]:
    """All of them, in the order of their names."""
    found = [
        *_archive_targets(),
        Target("archive zip", (_zipped(_csv_klines()), _zipped(b""), _zipped(b"a,b\n1,2\n")), _archive_zip),
        Target("REST answers", _rest_answers(), _rest),
        Target("imported csv", (_csv_klines(), _csv_named(), _csv_dated()), functools.partial(_imported, suffix=".csv")),
        Target("imported csv.gz", (gzip.compress(_csv_named()),), functools.partial(_imported, suffix=".csv.gz")),
        Target("imported parquet", (_parquet(),), functools.partial(_imported, suffix=".parquet")),
        Target("imported feather", (_feather(),), functools.partial(_imported, suffix=".feather")),
        Target("live fills csv", (_fills_csv(),), functools.partial(_live, suffix=".csv")),
        Target("live fills jsonl", (_fills_jsonl(),), functools.partial(_live, suffix=".jsonl")),
        Target("live fills parquet", (_fills_parquet(),), functools.partial(_live, suffix=".parquet")),
        Target("export of binance", _binance_exports(), functools.partial(_export, origin="binance", suffix=".json")),
        Target("export of freqtrade", _freqtrade_exports(), functools.partial(_export, origin="freqtrade", suffix=".json")),
        Target("export of freqtrade, database", (_database(),), functools.partial(_export, origin="freqtrade", suffix=".sqlite")),
        Target("export of nautilus", _nautilus_exports(), functools.partial(_export, origin="nautilus", suffix=".json")),
        Target("spec YAML", _spec_files(), _spec_yaml),
        Target("expressions", _expressions(), _expression, _expression_errors()),
        Target("run manifests", (_manifest(),), _run_manifest),
        Target("stage manifests", (_stage_manifest(),), _stage),
        Target("state of a watch", (b'{"version": 1, "told": {"abc": {"BTCUSDT staleness": "PASS"}}}',), _watch_state),
        Target("ledger", _ledger_lines(), _ledger),
        Target("file hashes, locks, markers", (b'{"layout": 1}', b'{"/x": [1, 2, 3, 4, 5, "ab"]}', b'{"pid": 1}'), _small_state),
        Target("names", (b"run_20250228", b"BTCUSDT", b"VOL_SHOCK", b"2024-01-01", b"BTCUSDT,ETHUSDT"), _names),
        Target("blueprints", _blueprint_lines(), _blueprints),
        Target("lake parquet", (_written_parquet(),), _lake_parquet),
    ]  # fmt: skip
    return sorted(found, key=lambda target: target.name)


# -- sources ------------------------------------------------------------------------------------------------


def _csv_klines() -> bytes:
    rows = [f"{at},42000.1,42010.5,41990.2,42005.3,12.5,{at + 299_999},525000.1,340,6.1,256000.2,0" for at in STAMPS]
    return ("\n".join(rows) + "\n").encode()


def _csv_named() -> bytes:
    rows = [f"{at},42000.1,42010.5,41990.2,42005.3,12.5" for at in STAMPS]
    return ("timestamp,open,high,low,close,volume\n" + "\n".join(rows) + "\n").encode()


def _csv_dated() -> bytes:
    rows = [f"2024-01-01 00:{5 * n:02d}:00,42000.1,42010.5,41990.2,42005.3,12.5,99.5" for n in range(6)]
    return (
        "https://www.cryptodatadownload.com\nDate,Open,High,Low,Close,Volume BTC,Volume USDT\n" + "\n".join(rows)
    ).encode()


ARCHIVE_CSV: Final = {
    "ohlcv_5m": _csv_klines(),
    "mark_5m": _csv_klines(),
    "funding": b"calc_time,funding_interval_hours,last_funding_rate\n1704067200000,8,0.0001\n1704096000000,8,0.00012\n",
    "metrics": (
        b"create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
        b"sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio\n"
        b"2024-01-01 00:05:00,BTCUSDT,80000.1,3400000000.5,1.2,1.1,1.3,0.9\n"
        b"2024-01-01 00:10:00,BTCUSDT,80010.1,3400100000.5,1.2,1.1,1.3,1.1\n"
    ),
}


def _archive_targets() -> list[Target]:
    from backtest.sources.book_depth import parse_book_depth
    from backtest.sources.book_ticker import parse_book_ticker
    from backtest.sources.klines import parse_archive_csv
    from backtest.sources.liquidations import parse_liquidations

    depth = b"timestamp,percentage,depth,notional\n2024-01-01 00:00:08,-1,100.5,4200000\n2024-01-01 00:00:08,1,90.5,3800000\n"
    depth += b"2024-01-01 00:05:38,-5,500,21000000\n2024-01-01 00:05:38,5,490,20500000\n"
    quotes = b"update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
    quotes += b"".join(b"%d,42000.1,1.5,42000.2,2.5,%d,%d\n" % (n, at, at + 3) for n, at in enumerate(STAMPS))
    forced = (
        b"time,side,order_type,time_in_force,original_quantity,price,average_price,order_status,last_fill_quantity,"
    )
    forced += b"accumulated_fill_quantity\n1704067212345,SELL,LIMIT,IOC,0.5,42000.1,42001.2,FILLED,0.5,0.5\n"

    def csv(dataset: str) -> Target:
        def prepare(_: Path) -> Callable[[bytes], object]:
            return lambda data: parse_archive_csv(data, dataset, "x.csv", DAY_MS, "BTCUSDT")

        return Target(f"archive csv {dataset}", (ARCHIVE_CSV[dataset],), prepare)

    return [
        *map(csv, ARCHIVE_CSV),
        Target("archive csv book_depth", (depth,), lambda _: lambda data: parse_book_depth(data, "x", DAY_MS)),
        Target("archive csv book_ticker", (quotes,), lambda _: lambda data: parse_book_ticker([data], "x", DAY_MS)),
        Target("archive csv liquidations", (forced,), lambda _: lambda data: parse_liquidations(data, "x", "BTCUSDT", DAY_MS)),
    ]  # fmt: skip


def _zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("BTCUSDT-5m-2024-01.csv", content)
    return packed.getvalue()


def _archive_zip(_: Path) -> Callable[[bytes], object]:
    from backtest.sources.archives import opened_member, unzipped

    def feed(data: bytes) -> None:
        unzipped(data, 1 << 20)
        with opened_member(io.BytesIO(data), 1 << 20) as stream:
            stream.read(1 << 20)

    return feed


def _rest_answers() -> tuple[bytes, ...]:
    klines = [[at, "1.5", "2.5", "0.5", "1.0", "10", at + 299_999, "15", 3, "5", "7", "0"] for at in STAMPS]
    funding = [{"symbol": "BTCUSDT", "fundingTime": at, "fundingRate": "0.0001"} for at in STAMPS[::5]]
    metrics = [
        {"symbol": "BTCUSDT", "sumOpenInterest": "1", "sumOpenInterestValue": "2", "timestamp": at} for at in STAMPS
    ]
    return tuple(
        json.dumps(value).encode() for value in (klines, funding, metrics, {"code": -1121, "msg": "Invalid symbol."})
    )


class _Answering:
    """A host that answers every question alike."""

    address = "https://venue"

    def __init__(self) -> None:
        self.body, self.status = b"", 200

    async def get(self, *_: object, **__: object) -> Any:
        return type("Answer", (), {"status": self.status, "body": self.body})


def _at_once(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run what waits for nothing, without an event loop, whose start costs more than the parser."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")


def _rest(_: Path) -> Callable[[bytes], object]:
    from backtest.sources.binance_rest import fetch_rest

    host, day = _Answering(), dt.date(2024, 1, 1)
    kinds = ("ohlcv_5m", "funding", "metrics")

    async def at_once(_: float) -> None:
        return None

    def feed(data: bytes) -> None:
        # The answer is the same page again and again, so a page is shorter than what is asked for and the last one.
        host.body, host.status = data, 400 if data.startswith(b'{"code"') else 200
        dataset = kinds[len(data) % 3]
        _at_once(
            fetch_rest(host, "perp", dataset, "BTCUSDT", day, day, now=NOW, sleep=at_once, page_rows=1_000)  # type: ignore[arg-type]
        )

    return feed


def _frame() -> pl.DataFrame:
    stamps = pl.Series("timestamp", STAMPS).cast(pl.Datetime("ms", "UTC"))
    prices = {name: [42000.1 + n for n in range(len(STAMPS))] for name in ("open", "high", "low", "close", "volume")}
    return pl.DataFrame({"timestamp": stamps, **prices, "symbol": ["BTCUSDT"] * len(STAMPS)})


def _parquet() -> bytes:
    content = io.BytesIO()
    _frame().write_parquet(content, compression="zstd", metadata={"a": "b"})
    return content.getvalue()


def _written_parquet() -> bytes:
    from backtest.lake.files import write_parquet

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.parquet")
        write_parquet(path, _frame(), {"a": "b"})
        return path.read_bytes()


def _feather() -> bytes:
    content = io.BytesIO()
    _frame().write_ipc(content, compression="lz4")
    return content.getvalue()


def _imported(folder: Path, suffix: str) -> Callable[[bytes], object]:
    from backtest.sources.files import read_file

    path = folder / f"BTCUSDT{suffix}"

    def feed(data: bytes) -> object:
        path.write_bytes(data)
        return read_file(path, "perp", "ohlcv_5m", "BTCUSDT")

    return feed


def _lake_parquet(folder: Path) -> Callable[[bytes], object]:
    from backtest.lake.files import parquet_metadata, read_parquet

    path = folder / "x.parquet"

    def feed(data: bytes) -> None:
        path.write_bytes(data)
        parquet_metadata(path)
        read_parquet(path, {"timestamp": pl.Datetime("ms", "UTC"), "close": pl.Float64()})

    return feed


# -- live record and exports --------------------------------------------------------------------------------


def _fills() -> list[dict[str, Any]]:
    row = {"symbol": "BTCUSDT", "side": "buy", "price": 42000.5, "quantity": 0.5, "expected_price": 42000.0}
    row |= {"modelled_slippage_bps": 1.5, "fill_id": "a1", "blueprint_id": "x"}
    return [{"timestamp": f"2024-01-01T00:0{n}:00Z", **row, "fill_id": f"a{n}"} for n in range(4)]


def _fills_csv() -> bytes:
    return pl.DataFrame(_fills()).write_csv().encode()


def _fills_jsonl() -> bytes:
    return pl.DataFrame(_fills()).write_ndjson().encode()


def _fills_parquet() -> bytes:
    content = io.BytesIO()
    pl.DataFrame(_fills()).write_parquet(content)
    return content.getvalue()


def _live(folder: Path, suffix: str) -> Callable[[bytes], object]:
    from backtest.lake.live import read_live
    from backtest.monitoring.live_account import drawdowns, positions_usd, slippage_ratio, sound_equity, sound_fills

    path = folder / f"fills{suffix}"

    def feed(data: bytes) -> None:
        path.write_bytes(data)
        rows = read_live(path)
        if "equity_usd" in rows.columns:
            drawdowns(sound_equity(rows, NOW))
        fills = sound_fills(rows, NOW)
        positions_usd(fills, {})
        slippage_ratio(fills)

    return feed


def _binance_exports() -> tuple[bytes, ...]:
    trade = {"symbol": "BTCUSDT", "id": 698759, "orderId": 25851813, "side": "SELL", "price": "7819.01", "qty": "0.002"}
    trade |= {"time": 1704067200000, "commission": "0.078", "commissionAsset": "USDT", "buyer": False, "maker": False}
    futures = b"Date(UTC),Symbol,Side,Price,Quantity,Amount,Fee,Realized Profit\n2024-01-01 00:00:00,BTCUSDT,BUY,42000,0.5,21000,8,0\n"
    spot = b"Date(UTC),Pair,Side,Price,Executed,Amount,Fee\n2024-01-01 00:00:00,BTCUSDT,BUY,42000,0.5BTC,21000USDT,0.0005BTC\n"
    return json.dumps([trade, {**trade, "id": 2}]).encode(), futures, spot


def _freqtrade_exports() -> tuple[bytes, ...]:
    order = {"order_id": "o1", "ft_order_side": "buy", "status": "closed", "filled": 0.5, "average": 42000.5}
    order |= {"order_filled_timestamp": 1704067200000, "ft_is_entry": True, "safe_price": 42000.5}
    trade = {"trade_id": 1, "pair": "BTC/USDT:USDT", "is_short": False, "enter_tag": "x", "orders": [order]}
    return tuple(
        json.dumps(one).encode() for one in ([trade], {"trades": [trade]}, {"strategy": {"s": {"trades": [trade]}}})
    )


def _database() -> bytes:
    with sqlite3.connect(":memory:") as made:
        made.execute("CREATE TABLE trades (id INTEGER, pair TEXT, is_short INTEGER, enter_tag TEXT)")
        made.execute(
            "CREATE TABLE orders (id INTEGER, ft_trade_id INTEGER, order_id TEXT, side TEXT, status TEXT, filled REAL, "
            "average REAL, order_filled_date TEXT)"
        )
        made.execute("INSERT INTO trades VALUES (1, 'BTC/USDT:USDT', 0, 'x')")
        made.execute("INSERT INTO orders VALUES (1, 1, 'o1', 'buy', 'closed', 0.5, 42000.5, '2024-01-01 00:00:00')")
        made.commit()
        return made.serialize()


def _nautilus_exports() -> tuple[bytes, ...]:
    fill = {"trade_id": "t1", "instrument_id": "BTCUSDT-PERP.BINANCE", "order_side": "BUY", "last_qty": "0.5"}
    fill |= {"last_px": "42000.5", "ts_event": 1704067200000000000, "strategy_id": "x", "venue_order_id": "v1"}
    rows = [fill, {**fill, "trade_id": "t2", "ts_event": "2024-01-01T00:05:00Z"}]
    return json.dumps(rows).encode(), pl.DataFrame([fill]).write_csv().encode()


def _export(folder: Path, origin: Any, suffix: str) -> Callable[[bytes], object]:
    from backtest.errors import DataError
    from backtest.lake.live import read_export
    from backtest.monitoring.fill_exports import fills_of, freqtrade_orders

    path = folder / f"export{suffix}"

    def feed(data: bytes) -> object:
        path.write_bytes(data)
        value = read_export(path)
        rows = freqtrade_orders(value) if origin == "freqtrade" and not data.startswith(b"SQLite") else value
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError("no list of fills")
        return fills_of(rows, origin, path.name, NOW)

    return feed


# -- spec ---------------------------------------------------------------------------------------------------


SPEC_SAMPLES: Final = (
    "events/VOL_SHOCK.yaml", "features/log_return.yaml", "states/session.yaml", "templates/mean_reversion.yaml",
    "strategies/vol_shock_mean_reversion_v1.yaml", "contracts/default.yaml", "calendars/sessions.yaml", "gates.yaml", "costs.yaml",
    "discovery.yaml", "evaluation.yaml", "backtest.yaml", "simulation.yaml", "known_defects.yaml",
)  # fmt: skip


def _spec_files() -> tuple[bytes, ...]:
    """Each file with its name as a first line, which says what it is read as."""
    return tuple(f"#{name}\n".encode() + (REPOSITORY / "spec" / name).read_bytes() for name in SPEC_SAMPLES)


def _spec_yaml(folder: Path) -> Callable[[bytes], object]:
    """One file of each kind through reading and validation, as the reader of the whole spec does it."""
    from pydantic import TypeAdapter

    from backtest.errors import SpecError
    from backtest.spec import models, reader
    from backtest.spec.evaluation import Evaluation
    from backtest.spec.strategies import BacktestSettings, Strategy

    adapters: dict[str, Any] = {
        "events": models.Event, "features": models.Feature, "states": models.State, "templates": models.Template,
        "strategies": Strategy, "contracts": models.Contract, "calendars": models.Calendar, "gates": models.Gates,
        "costs": models.Costs, "discovery": models.Discovery, "evaluation": Evaluation, "backtest": BacktestSettings,
        "simulation": models.Simulation, "known_defects": tuple[models.KnownDefect, ...],
    }  # fmt: skip
    compiled = {kind: TypeAdapter(model) for kind, model in adapters.items()}

    def feed(data: bytes) -> None:
        head = data.partition(b"\n")[0].removeprefix(b"#").decode("ascii", "replace").removesuffix(".yaml")
        kind = head.partition("/")[0]
        (folder / "x.yaml").write_bytes(data)
        found = reader.SpecReader(folder, ["x.yaml"])
        found._validated("x.yaml", compiled.get(kind, compiled["events"]))
        if found.faults:
            raise SpecError(found.faults[0])

    return feed


def _expressions() -> tuple[bytes, ...]:
    return (
        b"crosses_above(realized_vol_1h / trailing_median(realized_vol_1h, 288), 3.0)",
        b"sign(diff(close, 12))",
        b"where(close > open and not is_null(volume), rolling_mean(log(close / lag(close, 1)), 12), -1e-6)",
        b"zscore(close, 288) ** 2 >= min(percentile_rank(volume, 2016), 0.97) or hour() == 8",
    )


def _expression_errors() -> tuple[type[BaseException], ...]:
    from backtest.expressions import ExpressionError

    return (ExpressionError, BacktestError)


def _expression(_: Path) -> Callable[[bytes], object]:
    from backtest.expressions import compile_expression

    names = ("open", "close", "volume", "realized_vol_1h")
    return lambda data: compile_expression(data.decode("utf-8", "replace"), names)


# -- state in the data root ---------------------------------------------------------------------------------


def _manifest() -> bytes:
    value = {
        "run_id": "r1",
        "status": "failed",
        "started_at": "2024-01-01T10:00:00.000Z",
        "finished_at": "2024-01-01T10:00:09.000Z",
        "duration_seconds": 9.0,
        "failed_stage": "candidates",
        "error": "x",
        "symbols": ["BTCUSDT"],
        "planned": ["candidates", "report"],
        "stages": {
            "candidates": {"status": "failed", "duration_seconds": 1.0, "started_at": "2024-01-01T10:00:00.000Z"}
        },
        "warnings": [{"stage": "candidates", "text": "y"}],
        "discovery_start": "2024-01-01T00:00:00+00:00",
        "discovery_end": "2024-03-01T00:00:00+00:00",
        "parameters": {"seed": 1},
        "n_hypotheses": 10,
        "data_hash": "ab",
        "package_versions": {"polars": "2.1"},
        "folds": {
            "discovery_start": "2024-01-01",
            "discovery_end": "2024-02-01",
            "confirmation_start": "2024-02-03",
            "confirmation_end": "2024-03-01",
        },
    }
    return json.dumps(value, indent=1).encode()


def _root(folder: Path) -> Any:
    from backtest.lake.paths import DataRoot

    root = DataRoot(folder / "root")
    if root.path.exists():
        shutil.rmtree(root.path)
    root.create()
    return root


def _run_manifest(folder: Path) -> Callable[[bytes], object]:
    from backtest.monitoring.oos_window import judged_window, searched_window
    from backtest.pipeline.finished_run import request_for_run
    from backtest.pipeline.history import manifest_of, run_details, run_facts, summary_of

    root = _root(folder)
    path = root.run_manifest("r1")
    for file in (path, root.design("r1")):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"{}")
    calls: tuple[Callable[[], object], ...] = (
        lambda: summary_of(root, "r1"),
        lambda: run_details(root, "r1"),
        lambda: run_facts(root, "r1"),
        lambda: judged_window(NOW, NOW + dt.timedelta(days=9), searched_window(manifest_of(root, "r1"), "r1")),
        lambda: request_for_run(root, REPOSITORY / "spec", "r1"),
    )

    def feed(data: bytes) -> None:
        path.write_bytes(data)
        _each(calls)

    return feed


def _each(calls: tuple[Callable[[], object], ...]) -> None:
    """Every call; the last documented error after all of them."""
    refused: BacktestError | None = None
    for call in calls:
        try:
            call()
        except BacktestError as fault:
            refused = fault
    if refused is not None:
        raise refused


def _stage_manifest() -> bytes:
    value = {
        "instance": "candidates",
        "status": "finished",
        "cache_key": "ab",
        "parameters": {"seed": 1},
        "spec_hash": "ab",
        "code": {"backtest.x": "ab"},
        "input_files": {"lake/x.parquet": "ab", "lake/y.parquet": None},
        "library_versions": {"polars": "2.1"},
        "outputs": {"runs/r1/x": "ab"},
        "summary": {"search": {"n_hypotheses": 1}, "n_passed": 2},
        "warnings": ["x"],
        "started_at": "2024-01-01T10:00:00.000Z",
        "duration_seconds": 1.5,
    }
    return json.dumps(value).encode()


def _stage(folder: Path) -> Callable[[bytes], object]:
    from backtest.pipeline.cache import Key
    from backtest.pipeline.health import _changed_outputs
    from backtest.pipeline.history import run_details, run_facts, summary_of
    from backtest.pipeline.manifests import earlier_record

    root = _root(folder)
    root.run("r1").mkdir(parents=True)
    root.run_manifest("r1").write_bytes(_manifest())
    path = root.run("r1") / "candidates.json"
    key = Key("candidates", "", {"seed": 2}, "cd", {"backtest.x": "cd"}, {"lake/x.parquet": "cd"}, {"polars": "2.2"})
    calls: tuple[Callable[[], object], ...] = (
        lambda: summary_of(root, "r1"),
        lambda: run_details(root, "r1"),
        lambda: run_facts(root, "r1"),
        lambda: key.changes_since(earlier_record(path) or {}),
        lambda: list(_changed_outputs(root, path, shared=False)),
    )

    def feed(data: bytes) -> None:
        path.write_bytes(data)
        _each(calls)

    return feed


def _watch_state(folder: Path) -> Callable[[bytes], object]:
    from backtest.pipeline.watch import _told

    path = folder / "watch_state.json"

    def feed(data: bytes) -> object:
        path.write_bytes(data)
        return _told(path, lambda _: None)

    return feed


def _ledger_lines() -> tuple[bytes, ...]:
    """Lines and head of a sound ledger of two searches."""
    with tempfile.TemporaryDirectory() as folder:
        root = _sound_ledger(Path(folder))
        return root.ledger_searches.read_bytes(), root.ledger_head.read_bytes()


def _sound_ledger(folder: Path) -> Any:
    import numpy as np

    from backtest.lake.ledger import Search, record

    root = _root(folder)
    for month in (1, 2):
        bounds = (dt.date(2024, month, 1), dt.date(2024, 3, 1), dt.date(2024, 3, 4), dt.date(2024, 4, 1))
        record(root, Search("r", NOW, ("BTCUSDT",), *bounds, "ab", "cd", np.arange(3, dtype=np.uint64)))
    return root


def _ledger(folder: Path) -> Callable[[bytes], object]:
    from backtest.lake.ledger import searches, verify

    root = _sound_ledger(folder)
    lines, head = root.ledger_searches.read_bytes(), root.ledger_head.read_bytes()

    def feed(data: bytes) -> None:
        is_head = data.startswith(b"{\n")
        root.ledger_searches.write_bytes(lines if is_head else data)
        root.ledger_head.write_bytes(data if is_head else head)
        _each((lambda: searches(root), lambda: verify(root)))

    return feed


def _small_state(folder: Path) -> Callable[[bytes], object]:
    from backtest.pipeline.cache import FileHashes
    from backtest.pipeline.lock import holding_run

    root = _root(folder)
    lock = root.run("r1") / ".lock"
    lock.parent.mkdir(parents=True)

    def hold() -> None:
        with holding_run(root, "r1", now=NOW, command="x"):
            pass

    def feed(data: bytes) -> None:
        lock.write_bytes(data)
        root.file_hashes().parent.mkdir(exist_ok=True)
        root.file_hashes().write_bytes(data)
        root.marker.write_bytes(data)
        hold()
        FileHashes(root.file_hashes())._readers.shutdown()
        root.require()

    return feed


def _names(folder: Path) -> Callable[[bytes], object]:
    from backtest.command_options import parsed_symbols, parsed_window
    from backtest.lake.paths import checked_run_id, checked_symbol
    from backtest.spec.loader import load_spec

    spec = load_spec(REPOSITORY / "spec")

    def feed(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        _each(
            (
                lambda: _inside(folder, checked_run_id(text)),
                lambda: _inside(folder, checked_symbol(text)),
                lambda: _inside(folder, spec.event(text).model.event_type),
                lambda: spec.strategy(text),
                lambda: parsed_symbols(text),
                lambda: parsed_window(text, text),
            )
        )

    return feed


def _inside(folder: Path, name: str) -> None:
    """A name that was let through stays inside the folder it is made a path of."""
    if (folder / name).parent != folder or name in (".", ".."):
        raise AssertionError(f"{name!r} leads out of its folder")


def _blueprint_lines() -> tuple[bytes, ...]:
    from backtest.spec.loader import load_spec
    from tests.strategies.cases import blueprints_from, passed

    spec = load_spec(REPOSITORY / "spec")
    (made,) = blueprints_from(spec, passed("mean_reversion", "lag1", -1, state_id="vol_regime_low"))
    return (made.model_dump_json().encode(),)


def _blueprints(_: Path) -> Callable[[bytes], object]:
    from backtest.strategies.reading import parse_blueprints

    return lambda data: parse_blueprints(data.decode("utf-8", "replace"), "x.jsonl")
