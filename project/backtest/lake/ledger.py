"""The search ledger: every search that was ever made in a data root, so that trials are counted and not declared.

``ledger/searches.jsonl`` gets one line a search and is never rewritten. Each line holds the hash of the one before and
its own; ``ledger/head.json`` says how many there are, so that lines cannot be changed, left out or cut off unnoticed.
The hypotheses of a search are 64-bit digests in ``ledger/hypotheses/<their hash>.hex``, one file for all searches
of the same hypotheses. Removing the whole folder removes the record; nothing in the folder could tell.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backtest.errors import DataError
from backtest.lake.files import read_json, write_json, write_text
from backtest.lake.paths import DataRoot
from backtest.outside_bytes import parsed_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GENESIS: Final = "0" * 32
IDENTITY: Final = (
    "symbols",
    "window_start",
    "window_end",
    "confirmation_start",
    "confirmation_end",
    "data_hash",
    "register_hash",
    "hypotheses_hash",
)
"""What makes two searches the same one: the same hypotheses tested on the same data give the same numbers again."""


@dataclass(frozen=True)
class Search:
    """One search as it is recorded; ends of spans are exclusive. One that reads no confirmation fold has an empty one."""

    run_id: str
    made_at: dt.datetime
    symbols: tuple[str, ...]
    window_start: dt.date
    window_end: dt.date
    confirmation_start: dt.date
    confirmation_end: dt.date
    data_hash: str
    register_hash: str
    hypotheses: NDArray[np.uint64]


@dataclass(frozen=True)
class Standing:
    """Where a search stands among all that touched its data, itself included and later ones left out.

    Attributes
    ----------
    sequence : its place in the ledger, from 1.
    is_new : False where the same search had been recorded before.
    n_searches, n_hypotheses : searches whose window overlaps in days and symbols, and the distinct hypotheses of all.
    confirmation_openings : searches whose confirmation fold overlaps; the first one has 1.
    """

    sequence: int
    is_new: bool
    n_searches: int
    n_hypotheses: int
    confirmation_openings: int


@dataclass(frozen=True)
class Openings:
    """How often days were opened: as a confirmation fold or out-of-sample window, and by any search whose window has them."""

    as_confirmation: int
    by_searches: int


def record(root: DataRoot, search: Search) -> Standing:
    """Record a search, before its confirmation fold is read, and say where it stands.

    A search that is recorded already (`IDENTITY`) is not another one: its numbers are the same again, so nobody learns
    anything new from the fold, and it keeps the standing it had.

    Raises
    ------
    DataError
        Where the ledger was changed from outside, or cannot be read or written.
    """
    import numpy as np

    digests = np.unique(search.hypotheses).astype(">u8").tobytes()
    entry: dict[str, Any] = {
        "run_id": search.run_id,
        "made_at": search.made_at.isoformat(timespec="seconds"),
        "symbols": sorted(search.symbols),
        "window_start": search.window_start.isoformat(),
        "window_end": search.window_end.isoformat(),
        "confirmation_start": search.confirmation_start.isoformat(),
        "confirmation_end": search.confirmation_end.isoformat(),
        "data_hash": search.data_hash,
        "register_hash": search.register_hash,
        "n_hypotheses": len(digests) // 8,
        "hypotheses_hash": _hash(digests),
    }
    with _locked(root):
        entries = _verified(root)
        place = next((i for i, known in enumerate(entries) if _same(known, entry)), None)
        if place is None:
            _write_hypotheses(root, entry["hypotheses_hash"], digests)
            _append(root, entries, entry)
        return _standing(root, entries, len(entries) - 1 if place is None else place, is_new=place is None)


def record_evaluation(
    root: DataRoot,
    *,
    run_id: str,
    made_at: dt.datetime,
    symbols: Sequence[str],
    start: dt.date,
    end: dt.date,
    data_hash: str,
    subject: str,
) -> Standing:
    """Record that something was judged on an out-of-sample window, before its returns are read.

    Parameters
    ----------
    symbols, start, end : what is opened; the end is exclusive.
    data_hash : of the data of the window.
    subject : hash of what is judged and how; the same subject on the same data again is not another opening.

    Returns
    -------
    Standing
        ``confirmation_openings`` counts every search and evaluation that opened days of this window, this one included;
        `Gates.share_of_level` says what is left of a level.
    """
    import numpy as np

    nothing = np.zeros(0, np.uint64)
    return record(root, Search(run_id, made_at, tuple(symbols), start, end, start, end, data_hash, subject, nothing))


def verify(root: DataRoot) -> int:
    """Check the chain and every list of hypotheses without changing anything; how many entries there are.

    Raises
    ------
    DataError
        Where the ledger was changed from outside.
    """
    if not root.ledger.is_dir():
        return 0
    entries = _verified(root, mend=False)
    for name in sorted({entry["hypotheses_hash"] for entry in entries}):
        _read_hypotheses(root, name)
    return len(entries)


def searches(root: DataRoot) -> list[dict[str, Any]]:
    """All recorded searches, oldest first; DataError where the ledger was changed from outside."""
    if not root.ledger.is_dir():
        return []
    with _locked(root):
        return _verified(root)


def openings(root: DataRoot, symbols: Sequence[str], start: dt.date, end: dt.date) -> Openings:
    """What has touched the days [start, end) of any of `symbols` so far; nothing is recorded.

    Raises DataError where the ledger was changed from outside or cannot be read.
    """
    span: dict[str, Any] = {"symbols": list(symbols)}
    for name in ("window", "confirmation"):
        span |= {f"{name}_start": start.isoformat(), f"{name}_end": end.isoformat()}
    entries = searches(root)
    return Openings(
        sum(_overlap(entry, span, "confirmation") for entry in entries),
        sum(_overlap(entry, span, "window") for entry in entries),
    )


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[name] == other[name] for name in IDENTITY)


def _standing(root: DataRoot, entries: Sequence[dict[str, Any]], place: int, *, is_new: bool) -> Standing:
    import numpy as np

    own = entries[place]
    overlapping = [entry for entry in entries[: place + 1] if _overlap(entry, own, "window")]
    files = sorted({entry["hypotheses_hash"] for entry in overlapping})
    distinct = np.unique(np.concatenate([_read_hypotheses(root, name) for name in files]))
    openings = sum(_overlap(entry, own, "confirmation") for entry in entries[: place + 1])
    return Standing(place + 1, is_new, len(overlapping), len(distinct), openings)


def _overlap(one: dict[str, Any], other: dict[str, Any], span: str) -> bool:
    """Whether two searches share days of a span and a symbol; an empty span shares none. ISO dates compare as text."""
    start, end = f"{span}_start", f"{span}_end"
    if one[start] >= one[end] or other[start] >= other[end]:
        return False
    is_apart = one[end] <= other[start] or other[end] <= one[start]
    return not is_apart and not set(one["symbols"]).isdisjoint(other["symbols"])


def _verified(root: DataRoot, *, mend: bool = True) -> list[dict[str, Any]]:
    """The entries, after checking the chain; a line that a crash cut short is removed, as it was never completed."""
    path, head = root.ledger_searches, {"entries": 0, "hash": GENESIS}
    content = path.read_bytes() if path.exists() else b""
    complete = content[: content.rfind(b"\n") + 1]
    if root.ledger_head.exists():
        head = read_json(root.ledger_head)
    entries: list[dict[str, Any]] = []
    previous = GENESIS
    for number, line in enumerate(complete.splitlines(), start=1):
        entry = _parsed(line)
        if entry is None or entry.get("previous") != previous or entry.get("hash") != _entry_hash(entry):
            raise _tampered(root, f"line {number} of {path} was changed, or one before it was left out")
        entries.append(entry)
        previous = entry["hash"]
    recorded = head.get("entries") if isinstance(head, dict) else None
    # A crash between the line and the head leaves the head one entry behind, never further.
    if not isinstance(recorded, int) or not 0 <= len(entries) - recorded <= 1:
        raise _tampered(root, f"{path} holds {len(entries)} searches and {root.ledger_head.name} counted {recorded}")
    if recorded and entries[recorded - 1]["hash"] != head.get("hash"):
        raise _tampered(root, f"{path} is another one than {root.ledger_head.name} tells of")
    if not mend:
        return entries
    if complete != content:
        try:
            os.truncate(path, len(complete))
        except OSError as fault:
            raise _unwritable(path, fault) from fault
    if len(entries) != recorded:
        _write_head(root, entries)
    return entries


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parsed_json(line)
    except ValueError:
        return None
    is_whole = isinstance(entry, dict) and line == _canonical(entry) and set(IDENTITY) <= set(entry)
    return entry if is_whole else None


def _tampered(root: DataRoot, what: str) -> DataError:
    return DataError(
        f"the search ledger does not add up: {what}. It counts what was tried on these data and is only appended to. "
        f"Restore {root.ledger} from a backup. To begin a new record instead, move that folder away: trials are then "
        "counted from nothing, and results should say so."
    )


def _append(root: DataRoot, entries: list[dict[str, Any]], entry: dict[str, Any]) -> None:
    entry = {**entry, "previous": entries[-1]["hash"] if entries else GENESIS}
    entry["hash"] = _entry_hash(entry)
    path = root.ledger_searches
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            line = _canonical(entry) + b"\n"
            if os.write(descriptor, line) != len(line):
                raise OSError("the disk is full")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as fault:
        raise _unwritable(path, fault) from fault
    entries.append(entry)
    _write_head(root, entries)


def _write_head(root: DataRoot, entries: Sequence[dict[str, Any]]) -> None:
    write_json(root.ledger_head, {"entries": len(entries), "hash": entries[-1]["hash"]})


def _write_hypotheses(root: DataRoot, name: str, digests: bytes) -> None:
    path = root.ledger_hypotheses(name)
    if not path.is_file():
        write_text(path, digests.hex() + "\n")


def _read_hypotheses(root: DataRoot, name: str) -> NDArray[np.uint64]:
    import numpy as np

    path = root.ledger_hypotheses(name)
    try:
        digests = bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as fault:
        raise _tampered(root, f"{path} is unreadable ({fault})") from None
    if _hash(digests) != name:
        raise _tampered(root, f"{path} was changed")
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def _canonical(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _entry_hash(entry: dict[str, Any]) -> str:
    return _hash(_canonical({name: value for name, value in entry.items() if name != "hash"}))


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@contextlib.contextmanager
def _locked(root: DataRoot) -> Iterator[None]:
    """One process at a time; the lock ends with its process."""
    path = root.ledger / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as fault:
        raise _unwritable(path, fault) from fault
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unwritable(path: Path, fault: OSError) -> DataError:
    return DataError(
        f"cannot write {path}: {fault.strerror or fault}. A search that cannot be recorded is not made. Free space or "
        "mend permissions on the data root, then run the same command again."
    )
