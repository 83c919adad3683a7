"""A real HTTP server on this machine that has the archive's layout and can be told to misbehave."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import http.server
import io
import json
import sys
import threading
import urllib.parse
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from backtest.lake.paths import DataRoot
from backtest.lake.raw import have_days, write_raw
from backtest.sources import binance
from backtest.sources.rows import STEP_MS

NOW = dt.datetime(2024, 1, 20, 12, 2, tzinfo=dt.UTC)
SHORT = {"ohlcv_5m": "5m", "ohlcv_1m": "1m"}
KLINES = {"mark_5m": "markPriceKlines", "index_5m": "indexPriceKlines", "premium_5m": "premiumIndexKlines"}
FOLDERS = {
    "funding": "fundingRate",
    "metrics": "metrics",
    "liquidations": "liquidationSnapshot",
    "book_ticker": "bookTicker",
    "book_depth": "bookDepth",
}


@dataclass(frozen=True)
class Scripted:
    """An answer given once instead of the file: a status, or a connection that breaks off in the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    breaks_off: bool = False


@dataclass
class Venue:
    """The server's files by path below ``/data``, its scripted answers, its REST answers, and what was asked for."""

    port: int = 0
    folder: Path | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    scripts: dict[str, list[Scripted]] = field(default_factory=lambda: defaultdict(list))
    rest: dict[str, Callable[[dict[str, str]], Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, path: str, data: bytes, checksum: str | None = "right") -> None:
        self.files[path] = data
        if checksum is not None:
            digest = hashlib.sha256(data).hexdigest() if checksum == "right" else checksum
            self.files[f"{path}.CHECKSUM"] = f"{digest}  {path.rpartition('/')[2]}\n".encode()

    def answer(self, path: str) -> bytes | None:
        if self.folder is not None and (self.folder / path).is_file():
            return (self.folder / path).read_bytes()
        return self.files.get(path)

    def archive_requests(self) -> list[str]:
        return [path for path in self.asked if path.startswith("/data/")]


class Server(http.server.ThreadingHTTPServer):
    """Says nothing of clients that leave in the middle of an answer: stderr is what the command under test prints."""

    request_queue_size = 128  # five, the default, are too few for a client that opens many at once on a busy machine

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def handler_of(venue: Venue) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            venue.asked.append(self.path)
            if url.path in venue.rest:
                answer = venue.rest[url.path](dict(urllib.parse.parse_qsl(url.query)))
                scripted = answer if isinstance(answer, Scripted) else Scripted(body=json.dumps(answer).encode())
            else:
                path = urllib.parse.unquote(url.path).removeprefix("/data/")
                if venue.scripts[path]:
                    scripted = venue.scripts[path].pop(0)
                else:
                    body = venue.answer(path)
                    scripted = Scripted(404) if body is None else Scripted(body=body)
            self.send_response(scripted.status)
            for name, value in scripted.headers.items():
                self.send_header(name, value)
            missing = 100 if scripted.breaks_off else 0
            self.send_header("Content-Length", str(len(scripted.body) + missing))
            self.end_headers()
            self.wfile.write(scripted.body)
            if scripted.breaks_off:
                self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep quiet."""

    return Handler


@pytest.fixture
def venue() -> Iterator[Venue]:
    venue = Venue()
    server = Server(("127.0.0.1", 0), handler_of(venue))
    server.daemon_threads = True
    venue.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield venue
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def millis(*date: int) -> int:
    return int(dt.datetime(*date, tzinfo=dt.UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


def kline(stamp: int, price: float = 10.0, step: int = STEP_MS["ohlcv_5m"]) -> str:
    """A line of a Binance file; stamps in microseconds get a close time in microseconds."""
    close_time = stamp + (step * 1000 if stamp >= 10**14 else step) - 1
    return f"{stamp},{price},{price + 1},{price - 1},{price + 0.5},3.5,{close_time},36.75,7,1.5,15.75,0"


def klines(first: int, count: int, price: float = 10.0, step: int = STEP_MS["ohlcv_5m"]) -> str:
    return "".join(kline(first + number * step, price, step) + "\n" for number in range(count))


def zipped(text: str | bytes, name: str = "table.csv") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return packed.getvalue()


def monthly(symbol: str = "AAAUSDT", stamp: str = "2023-08", dataset: str = "ohlcv_5m", market: str = "perp") -> str:
    return archive_path("monthly", symbol, stamp, dataset, market)


def daily(symbol: str, stamp: str, dataset: str = "ohlcv_5m", market: str = "perp") -> str:
    return archive_path("daily", symbol, stamp, dataset, market)


def archive_path(span: str, symbol: str, stamp: str, dataset: str, market: str) -> str:
    folder = "futures/um" if market == "perp" else "spot"
    if dataset in FOLDERS:
        kind = FOLDERS[dataset]
        return f"{folder}/{span}/{kind}/{symbol}/{symbol}-{kind}-{stamp}.zip"
    if dataset in KLINES:
        return f"{folder}/{span}/{KLINES[dataset]}/{symbol}/5m/{symbol}-5m-{stamp}.zip"
    return f"{folder}/{span}/klines/{symbol}/{SHORT[dataset]}/{symbol}-{SHORT[dataset]}-{stamp}.zip"


@pytest.fixture
def make() -> SimpleNamespace:
    """Lines, zips and paths of the archive, for test modules (which cannot import from here)."""
    return SimpleNamespace(
        now=NOW,
        millis=millis,
        kline=kline,
        klines=klines,
        zipped=zipped,
        monthly=monthly,
        daily=daily,
        Scripted=Scripted,
    )


@dataclass
class Download:
    """Runs `binance.fetch` against the server into a lake of its own; delays are noted instead of waited for."""

    venue: Venue
    root: DataRoot
    delays: list[float] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __call__(
        self,
        start: str,
        end: str,
        symbol: str = "AAAUSDT",
        dataset: str = "ohlcv_5m",
        market: Any = "perp",
        now: dt.datetime = NOW,
        **settings: Any,
    ) -> binance.SeriesReport:
        request = binance.Request(market, symbol, dataset, dt.date.fromisoformat(start), dt.date.fromisoformat(end))
        return self.all([request], now=now, **settings).series[0]

    def all(self, requests: list[binance.Request], now: dt.datetime = NOW, **settings: Any) -> binance.FetchReport:
        async def note(seconds: float) -> None:
            self.delays.append(seconds)
            await asyncio.sleep(0)

        def have(request: binance.Request, first: dt.date, last: dt.date) -> bool:
            return have_days(self.root, "binance", request.market, request.symbol, request.dataset, first, last)

        def write(market: Any, symbol: str, dataset: str, file_name: str, frame: pl.DataFrame) -> None:
            write_raw(self.root, "binance", market, symbol, dataset, frame, file_name)

        addresses = {
            "archive_url": f"{self.venue.address}/data",
            "api_url": self.venue.address,
            "spot_api_url": self.venue.address,
        }
        return binance.fetch(
            requests,
            **{**addresses, **settings},
            now=now,
            have=have,
            write=write,
            progress=lambda step: self.lines.append(step.line),
            sleep=note,
            jitter=lambda: 0.0,
        )


@pytest.fixture
def download(venue: Venue, tmp_path: Path) -> Download:
    root = DataRoot(tmp_path / "root")
    root.create()
    return Download(venue, root)
