"""`backtest ingest` and `backtest import-raw` as an operator meets them: output, exit codes, what is left."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from backtest.cli import main
from backtest.lake.paths import DataRoot
from backtest.lake.raw import read_raw, read_raw_quality

MONTH_BARS = 31 * 288
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venue: Any) -> DataRoot:
    monkeypatch.setenv("BACKTEST_DATA_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("BINANCE_ARCHIVE_URL", f"{venue.address}/data/")
    monkeypatch.setenv("BINANCE_API_URL", venue.address)
    monkeypatch.setenv("BINANCE_SPOT_API_URL", venue.address)
    for name in ("BACKTEST_SYMBOLS", "BACKTEST_START", "BACKTEST_END"):
        monkeypatch.delenv(name, raising=False)
    return DataRoot(tmp_path / "root")


@pytest.fixture
def run(root: DataRoot, capsys: pytest.CaptureFixture[str]) -> Run:  # noqa: ARG001
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = capsys.readouterr()
        code = ended.value.code
        return int(code or 0), printed.out, printed.err

    return run


def put(venue: Any, make: Any, symbol: str = "AAAUSDT", count: int = MONTH_BARS) -> str:
    path = make.monthly(symbol)
    venue.put(path, make.zipped(make.klines(make.millis(2023, 8, 1), count)))
    return str(path)


AUGUST = ("--start", "2023-08-01", "--end", "2023-08-31")
PERP_BARS = ("--market", "perp", "--dataset", "ohlcv_5m")


def test_ingest_keeps_a_month_and_prints_its_quality(venue: Any, make: Any, run: Run, root: DataRoot) -> None:
    put(venue, make)
    code, out, err = run("ingest", "--symbols", "AAAUSDT", *AUGUST, *PERP_BARS)
    assert (code, out) == (0, "AAAUSDT perp ohlcv_5m: 2023-08 … 2023-08, 8,928 of 8,928 rows\n")
    assert "[1/1] AAAUSDT-5m-2023-08.zip: 8,928 rows" in err
    assert read_raw(root, "binance", "perp", "AAAUSDT", "ohlcv_5m").height == MONTH_BARS
    assert root.is_marked()
    venue.asked.clear()
    code, again, err = run("ingest", "--symbols", "AAAUSDT", *AUGUST, *PERP_BARS)
    assert (code, again, venue.asked) == (0, out, [])
    assert "0 files fetched (0.0 MB, 0 rows), 1 months were there already" in err


def test_ingest_takes_symbols_and_days_from_the_environment(
    venue: Any, make: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(venue, make)
    put(venue, make, "BBBUSDT")
    monkeypatch.setenv("BACKTEST_SYMBOLS", "AAAUSDT, BBBUSDT,")
    monkeypatch.setenv("BACKTEST_START", "2023-08-01")
    monkeypatch.setenv("BACKTEST_END", "2023-08-31")
    code, out, _ = run("ingest", *PERP_BARS)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["AAAUSDT", "BBBUSDT"]


def test_what_is_missing_ends_in_exit_1_unless_allowed_and_the_rest_is_kept(
    venue: Any, make: Any, run: Run, root: DataRoot
) -> None:
    put(venue, make)
    code, _, err = run("ingest", "--symbols", "AAAUSDT", *AUGUST)
    assert code == 1
    assert "2 span(s) of days could not be had" in err
    assert "AAAUSDT spot ohlcv_5m: 2023-08-01 … 2023-08-31: not in the archive" in err
    assert "--allow-missing" in err
    assert read_raw(root, "binance", "perp", "AAAUSDT", "ohlcv_5m").height == MONTH_BARS
    code, _, err = run("ingest", "--symbols", "AAAUSDT", *AUGUST, "--allow-missing")
    assert code == 0
    assert "Going on, as --allow-missing says." in err


def test_defects_are_printed_and_stay_in_the_table_of_quality(venue: Any, make: Any, run: Run, root: DataRoot) -> None:
    lines = make.klines(make.millis(2023, 8, 1), 100).splitlines()
    lines[6] = lines[6].replace(",9.0,", ",oops,")
    venue.put(make.monthly(), make.zipped("\n".join(lines)))
    arguments = ("ingest", "--symbols", "AAAUSDT", *AUGUST, *PERP_BARS)
    code, out, err = run(*arguments)
    assert code == 0
    assert "AAAUSDT-5m-2023-08.zip row 7: low 'oops' is not a number; row left out" in err
    assert "  2023-08: 1 row missing in 1 gap, 1 defect in the venue's files" in out
    assert run(*arguments)[1] == out, "a second run that fetches nothing forgets no defect"
    assert read_raw_quality(root, "binance")["defects"].to_list() == [1]


def test_no_network_is_one_line_exit_3_and_nothing_written(
    run: Run, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/data"
    monkeypatch.setenv("BINANCE_ARCHIVE_URL", address)
    code, out, err = run("ingest", "--symbols", "AAAUSDT", *AUGUST)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert err.startswith(f"error: cannot reach {address} (connection refused). Without network: make demo ")
    assert "backtest import-raw" in err
    assert "set BINANCE_ARCHIVE_URL" in err
    assert not root.path.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--start", "2023-8-1", "--end", "2023-08-31"), "START='2023-8-1' is not a date of the form YYYY-MM-DD"),
        (("--start", "2023-02-30", "--end", "2023-08-31"), "START='2023-02-30' is not a day of the calendar"),
        (("--start", "2023-08-31", "--end", "2023-08-01"), "END 2023-08-01 is before START 2023-08-31"),
        (("--start", "2023-08-31", "--end", "9023-08-01"), "END 9023-08-01 is in the future"),
        ((*AUGUST, "--market", "perps"), "market 'perps' is not known; known are perp, spot. Did you mean 'perp'?"),
        ((*AUGUST, "--dataset", "ohlcv_15m"), "known are ohlcv_5m, ohlcv_1m, funding, mark_5m"),
        (
            (*AUGUST, "--dataset", "funding", "--market", "spot"),
            "spot has no funding; spot has ohlcv_5m and ohlcv_1m only",
        ),
    ],
)
def test_ingest_called_wrongly_says_what_is_allowed(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, _, err = run("ingest", "--symbols", "AAAUSDT", *arguments)
    assert code == 2
    assert said in err


@pytest.mark.parametrize("symbols", ["aaausdt", "../AAAUSDT", "AAA/USDT", ","])
def test_a_symbol_that_is_no_symbol_reaches_neither_network_nor_disk(
    run: Run, venue: Any, root: DataRoot, symbols: str
) -> None:
    code, _, err = run("ingest", "--symbols", symbols, *AUGUST)
    assert code == 2
    assert "Example: SYMBOLS=BTCUSDT,ETHUSDT" in err
    assert venue.asked == []
    assert not root.path.exists()


def test_an_address_that_is_none_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINANCE_API_URL", "fapi.binance.com")
    code, _, err = run("ingest", "--symbols", "AAAUSDT", *AUGUST)
    assert code == 2
    assert "BINANCE_API_URL='fapi.binance.com' is not an address" in err


def test_a_folder_with_other_things_in_it_is_left_alone(venue: Any, make: Any, run: Run, root: DataRoot) -> None:
    put(venue, make)
    root.path.mkdir()
    (root.path / "thesis.txt").write_text("years of work")
    code, _, err = run("ingest", "--symbols", "AAAUSDT", *AUGUST, *PERP_BARS)
    assert code == 2
    assert "not a data root" in err
    assert [path.name for path in root.path.iterdir()] == ["thesis.txt"]


def test_an_interrupted_download_keeps_whole_files_only_and_goes_on_later(
    venue: Any, make: Any, run: Run, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = [f"A{letter}AUSDT" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    for symbol in symbols:
        put(venue, make, symbol, 20)
    written = pl.DataFrame.write_parquet
    signals = iter([signal.SIGINT])  # one only: a second could arrive when the command has ended

    def interrupted(frame: pl.DataFrame, path: Path, **settings: Any) -> None:
        for once in signals:
            signal.raise_signal(once)
        written(frame, path, **settings)

    arguments = ("ingest", "--symbols", ",".join(symbols), *AUGUST, *PERP_BARS)
    with monkeypatch.context() as patched:
        patched.setattr(pl.DataFrame, "write_parquet", interrupted)
        code, _, err = run(*arguments)
    assert code != 0
    assert "Traceback" not in err
    left = [path for path in root.path.rglob("*") if path.is_file() and path != root.marker]
    assert 0 < len(left) < len(symbols)
    assert all(pl.read_parquet(path).height == 20 for path in left)
    assert run(*arguments)[0] == 0
    assert len(list(root.path.rglob("monthly.parquet"))) == len(symbols)


# -- import-raw -------------------------------------------------------------------------------------------


def test_import_raw_says_what_it_recognised_and_is_the_same_twice(
    make: Any, run: Run, root: DataRoot, tmp_path: Path
) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(make.klines(make.millis(2023, 8, 31), 2 * 288))
    arguments = ("import-raw", *PERP_BARS, "--symbol", "AAAUSDT", str(path))
    code, out, err = run(*arguments)
    assert (code, out) == (0, "AAAUSDT perp ohlcv_5m: 2023-08 … 2023-09, 576 of 576 rows\n")
    assert "bars.csv: Binance klines, 12 columns, no header; not taken: close_time, ignore" in err
    assert re.search(r"576 rows, 2023-08-31 00:00 … 2023-09-01 23:55 UTC, as import-0001-[0-9a-f]{12}", err)
    files = sorted(root.path.rglob("*.parquet"))
    assert run(*arguments)[1] == out
    assert sorted(root.path.rglob("*.parquet")) == files


def test_import_raw_takes_the_good_files_and_names_the_others(
    make: Any, run: Run, root: DataRoot, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(make.klines(make.millis(2023, 8, 1), 20))
    bad.write_text("when,price\n1,2\n")
    code, _, err = run("import-raw", *PERP_BARS, "--symbol", "AAAUSDT", str(bad), str(good))
    assert code == 1
    assert "1 of 2 files could not be imported" in err
    assert f"  - {bad}: it has no timestamp" in err
    assert read_raw(root, "binance", "perp", "AAAUSDT", "ohlcv_5m").height == 20


def test_imported_months_need_no_network_afterwards(make: Any, run: Run, venue: Any, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(make.klines(make.millis(2023, 8, 1), MONTH_BARS))
    run("import-raw", *PERP_BARS, "--symbol", "AAAUSDT", str(path))
    code, _, _ = run("ingest", "--symbols", "AAAUSDT", *AUGUST, *PERP_BARS)
    assert (code, venue.asked) == (0, [])


@pytest.mark.slow
def test_all_real_files_are_imported_whole(shared_data: Path, run: Run, root: DataRoot) -> None:
    for path in sorted((shared_data / "import").glob("*.parquet")):
        symbol, market, *_ = path.stem.split("_")
        dataset = "funding" if market == "funding" else "ohlcv_5m"
        market = "spot" if market == "spot" else "perp"
        code, _, err = run("import-raw", "--market", market, "--dataset", dataset, "--symbol", symbol, str(path))
        assert (code, "row left out" in err) == (0, False)
    quality = read_raw_quality(root, "binance")
    rows = dict(
        quality.group_by("market", "symbol", "dataset")
        .agg(pl.col("rows").sum())
        .select(pl.concat_str("symbol", "market", "dataset", separator=" "), "rows")
        .iter_rows()
    )
    assert rows == {
        "BTCUSDT perp ohlcv_5m": 227_520,
        "BTCUSDT spot ohlcv_5m": 227_216,
        "BTCUSDT perp funding": 2_370,
        "ETHUSDT perp ohlcv_5m": 187_387,
        "ETHUSDT spot ohlcv_5m": 227_216,
        "ETHUSDT perp funding": 2_370,
    }
    assert quality["conflicting_rows"].sum() == 0


def test_the_command_line_loads_no_frame_and_no_network_library() -> None:
    program = "import sys, backtest.cli as c; c.build(); print({'polars', 'httpx', 'rich.progress'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
