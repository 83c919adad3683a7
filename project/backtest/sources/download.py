"""Downloads from one host: bounded in size, retried with growing delays, and honest about why one failed."""

from __future__ import annotations

import datetime as dt
import email.utils
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import IO, Final

import httpx

from backtest.errors import DataError, NetworkError
from backtest.sources.archives import MAX_UNPACKED_BYTES

Sleep = Callable[[float], Awaitable[None]]

OK: Final = 200
NOT_FOUND: Final = 404
# 418 is how Binance tells an address it has banned for a while; like 429 it comes with Retry-After.
_RETRIED_STATUSES: Final = frozenset({408, 418, 425, 429, 500, 502, 503, 504})
_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)


class DownloadError(DataError):
    """One file could not be had although its host may answer for others; the text is the reason alone."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a request is tried again; delays in seconds."""

    attempts: int = 5
    attempts_to_connect: int = 3
    first_delay: float = 0.5
    longest_delay: float = 30.0
    longest_retry_after: float = 180.0


@dataclass(frozen=True)
class Answer:
    """Status 200 with its body, 404, or another final status with the start of what the host said."""

    status: int
    body: bytes


@dataclass(frozen=True)
class _Sink:
    """A file that takes one body, anew at each attempt."""

    file: IO[bytes]
    max_bytes: int

    async def take(self, chunks: AsyncIterator[bytes]) -> None:
        self.file.seek(0)
        self.file.truncate()
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            if size > self.max_bytes:
                raise DownloadError(f"the host sends more than the allowed {self.max_bytes:,} bytes")
            self.file.write(chunk)


class Host:
    """One base address. A host that never answers, or stops to, ends the whole download.

    Parameters
    ----------
    address : base address without trailing slash.
    client : open httpx client.
    sleep : waits so many seconds.
    jitter : a number in [0, 1), to spread retries.
    now : time of day, for Retry-After given as a date.
    """

    def __init__(
        self,
        address: str,
        client: httpx.AsyncClient,
        *,
        sleep: Sleep,
        jitter: Callable[[], float],
        now: Callable[[], dt.datetime],
        policy: RetryPolicy | None = None,
        max_bytes: int = MAX_UNPACKED_BYTES,
        give_up_after: int = 8,
    ) -> None:
        self.address = address
        self.has_answered = False
        self.last_reason = ""
        self._client = client
        self._sleep = sleep
        self._jitter = jitter
        self._now = now
        self._policy = policy or RetryPolicy()
        self._max_bytes = max_bytes
        self._give_up_after = give_up_after
        self._lost_in_a_row = 0

    async def get(
        self, path: str, parameters: Mapping[str, str | int] | None = None, *, into: _Sink | None = None
    ) -> Answer:
        """The answer for `path` below the address.

        Raises DownloadError where this one cannot be had, NetworkError where the host cannot be reached at all.
        """
        answer = await self._tried(path, parameters, into)
        if answer.status in (OK, NOT_FOUND):
            self.has_answered = True
            self._lost_in_a_row = 0
        else:
            self.last_reason = f"it answers {answer.status} {_gist(answer.body)}".rstrip()
        return answer

    async def save(self, path: str, into: IO[bytes], max_bytes: int) -> Answer:
        """As `get`, for a file too large for memory: `into` holds its body alone, the answer none.

        A body of more than `max_bytes` raises DownloadError.
        """
        return await self.get(path, into=_Sink(into, max_bytes))

    async def _tried(self, path: str, parameters: Mapping[str, str | int] | None, into: _Sink | None) -> Answer:
        reason = ""
        for attempt in range(1, self._policy.attempts + 1):
            delay = self._delay(attempt)
            try:
                answer, retry_after = await self._once(path, parameters, into)
            except httpx.RequestError as fault:
                reason = _why(fault)
                is_unreachable = isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError)
                if is_unreachable and not self.has_answered and attempt >= self._policy.attempts_to_connect:
                    raise NetworkError(f"cannot reach {self.address} ({reason})") from None
            else:
                if answer.status not in _RETRIED_STATUSES:
                    return answer
                reason = f"the host answers {answer.status}"
                if retry_after is not None:
                    if retry_after > self._policy.longest_retry_after:
                        raise DownloadError(f"{reason} and asks to wait {retry_after:.0f} s")
                    delay = retry_after
            if attempt < self._policy.attempts:
                await self._sleep(delay)
        self._lost(reason)
        raise DownloadError(f"{reason}, {self._policy.attempts} times in a row")

    async def _once(
        self, path: str, parameters: Mapping[str, str | int] | None, into: _Sink | None
    ) -> tuple[Answer, float | None]:
        async with self._client.stream("GET", f"{self.address}/{path}", params=parameters) as response:
            if into is not None and response.status_code == OK:
                await into.take(response.aiter_bytes())
                return Answer(OK, b""), None
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._max_bytes:
                    raise DownloadError(f"the host sends more than the allowed {self._max_bytes:,} bytes")
            return Answer(response.status_code, bytes(body)), self._retry_after(response.headers.get("Retry-After"))

    def _delay(self, attempt: int) -> float:
        """Exponential with jitter: half of the delay is fixed, half drawn."""
        full = min(self._policy.longest_delay, self._policy.first_delay * 2.0 ** (attempt - 1))
        return full * (0.5 + 0.5 * self._jitter())

    def _retry_after(self, header: str | None) -> float | None:
        if header is None:
            return None
        if header.strip().isdigit():
            return float(header)
        try:
            return max(0.0, (email.utils.parsedate_to_datetime(header) - self._now()).total_seconds())
        except (TypeError, ValueError):
            return None

    def _lost(self, reason: str) -> None:
        self.last_reason = reason
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= self._give_up_after:
            raise NetworkError(f"{self.address} no longer answers ({reason})")


def new_client(concurrency: int) -> httpx.AsyncClient:
    """A client for `concurrency` files and two REST requests at a time, through the environment's proxies."""
    limits = httpx.Limits(max_connections=concurrency + 2, max_keepalive_connections=concurrency + 2)
    return httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, follow_redirects=True, headers={"User-Agent": "backtest"})


def _why(fault: httpx.RequestError) -> str:
    """The fault in plain words."""
    if isinstance(fault, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(fault, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
        return "the connection broke off"
    text = str(fault).strip() or type(fault).__name__
    if "All connection attempts failed" in text or "Connection refused" in text:
        return "connection refused"
    if any(part in text for part in ("Name or service not known", "name resolution", "nodename", "getaddrinfo")):
        return "its name is not known here: no network or no DNS"
    return text.splitlines()[0][:200]


def _gist(body: bytes) -> str:
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return "" if text.startswith("<") else text[:120]
