"""The search ledger counts what was tried, whoever writes and whatever crashes, and notices what was changed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from backtest.errors import DataError
from backtest.lake.cleanup import clean_all_data, clean_runtime
from backtest.lake.ledger import Search, Standing, record, record_evaluation, searches, verify
from backtest.lake.paths import DataRoot

SEARCH = Search(
    run_id="r1",
    made_at=dt.datetime(2025, 3, 1, tzinfo=dt.UTC),
    symbols=("BTCUSDT", "ETHUSDT"),
    window_start=dt.date(2023, 1, 1),
    window_end=dt.date(2024, 1, 1),
    confirmation_start=dt.date(2023, 9, 1),
    confirmation_end=dt.date(2024, 1, 1),
    data_hash="d1",
    register_hash="h1",
    hypotheses=np.arange(100, dtype=np.uint64),
)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    root = DataRoot(tmp_path / "data")
    root.create()
    return root


def other(**changes: object) -> Search:
    return dataclasses.replace(SEARCH, **changes)


def test_the_same_search_again_is_not_another_one_whatever_its_run_is_called(root: DataRoot) -> None:
    first = record(root, SEARCH)
    again = record(root, other(run_id="r2", made_at=dt.datetime(2025, 4, 1, tzinfo=dt.UTC)))
    assert (first.is_new, again.is_new) == (True, False)
    assert dataclasses.replace(again, is_new=True) == first
    assert (first.n_searches, first.n_hypotheses, first.confirmation_openings) == (1, 100, 1)
    assert [entry["run_id"] for entry in searches(root)] == ["r1"]


def test_distinct_hypotheses_on_overlapping_windows_are_counted_once(root: DataRoot) -> None:
    record(root, SEARCH)
    second = record(root, other(register_hash="h2", hypotheses=np.arange(60, 180, dtype=np.uint64)))
    assert (second.n_searches, second.n_hypotheses) == (2, 180)


@pytest.mark.parametrize(
    "changes",
    [
        {"symbols": ("SOLUSDT",)},
        {
            "window_start": dt.date(2024, 1, 1),
            "window_end": dt.date(2025, 1, 1),
            "confirmation_start": dt.date(2024, 9, 1),
            "confirmation_end": dt.date(2025, 1, 1),
        },
    ],
    ids=["other symbols", "the year after"],
)
def test_searches_on_other_data_do_not_count(root: DataRoot, changes: dict[str, object]) -> None:
    record(root, SEARCH)
    standing = record(root, other(register_hash="h2", **changes))
    assert (standing.n_searches, standing.n_hypotheses, standing.confirmation_openings) == (1, 100, 1)


@pytest.mark.parametrize("changes", [{"register_hash": "h2"}, {"data_hash": "d2"}, {"symbols": ("ETHUSDT",)}])
def test_another_search_opens_the_confirmation_fold_again(root: DataRoot, changes: dict[str, str]) -> None:
    record(root, SEARCH)
    assert record(root, other(**changes)).confirmation_openings == 2
    assert record(root, SEARCH).confirmation_openings == 1


def test_a_confirmation_fold_that_was_only_discovered_on_is_not_opened(root: DataRoot) -> None:
    record(root, SEARCH)
    later = {"window_end": dt.date(2025, 1, 1), "confirmation_start": dt.date(2024, 6, 1)}
    standing = record(root, other(confirmation_end=dt.date(2025, 1, 1), **later))
    assert (standing.n_searches, standing.confirmation_openings) == (2, 1)


def _record_many(root: DataRoot, worker: int) -> None:
    for number in range(5):
        record(root, other(register_hash=f"{worker}.{number}", hypotheses=np.array([worker, number], dtype=np.uint64)))


def test_processes_that_record_at_once_lose_nothing(root: DataRoot) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_record_many, args=(root, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    entries = searches(root)
    assert len({entry["register_hash"] for entry in entries}) == len(entries) == 20
    assert record(root, SEARCH).confirmation_openings == 21


def test_a_line_that_a_crash_cut_short_is_dropped_and_the_ledger_goes_on(root: DataRoot) -> None:
    record(root, SEARCH)
    with root.ledger_searches.open("ab") as file:
        file.write(b'{"confirmation_end":"20')
    assert record(root, other(register_hash="h2")).sequence == 2
    assert len(searches(root)) == 2


def test_a_crash_between_the_line_and_the_head_loses_nothing(root: DataRoot) -> None:
    record(root, SEARCH)
    head = root.ledger_head.read_text()
    record(root, other(register_hash="h2"))
    root.ledger_head.write_text(head)
    assert record(root, other(register_hash="h3")).sequence == 3
    root.ledger_head.write_text(head)
    with pytest.raises(DataError, match=r"holds 3 searches and head.json counted 1"):
        searches(root)


def tampered(root: DataRoot, change: str) -> None:
    lines = root.ledger_searches.read_text().splitlines(keepends=True)
    if change == "a date":
        lines[1] = lines[1].replace("2023-01-01", "2022-01-01")
    elif change == "a line left out":
        del lines[1]
    elif change == "the last line cut off":
        del lines[2]
    elif change == "all lines":
        lines.clear()
    elif change == "spaces":
        lines[0] = lines[0].replace(",", ", ", 1)
    elif change == "the last newline":
        lines[2] = lines[2].rstrip("\n")
    elif change == "the order":
        lines[0], lines[1] = lines[1], lines[0]
    root.ledger_searches.write_text("".join(lines))


CHANGES = ("a date", "a line left out", "the last line cut off", "all lines", "spaces", "the last newline", "the order")


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_from_outside_is_noticed_and_nothing_is_written(root: DataRoot, change: str) -> None:
    for number in range(3):
        record(root, other(register_hash=f"h{number}"))
    tampered(root, change)
    before = root.ledger_searches.read_bytes()
    with pytest.raises(DataError, match=r"the search ledger does not add up.*Restore .*ledger from a backup"):
        record(root, other(register_hash="new"))
    assert root.ledger_searches.read_bytes() == before


def test_a_recomputed_hash_does_not_hide_a_change_in_an_earlier_line(root: DataRoot) -> None:
    from backtest.lake.ledger import _canonical, _entry_hash

    for number in range(3):
        record(root, other(register_hash=f"h{number}"))
    lines = root.ledger_searches.read_bytes().splitlines()
    entry = json.loads(lines[0]) | {"n_hypotheses": 1}
    lines[0] = _canonical({**entry, "hash": _entry_hash(entry)})
    root.ledger_searches.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(DataError, match="line 2 of"):
        searches(root)


def test_changed_or_missing_hypotheses_are_noticed(root: DataRoot) -> None:
    record(root, SEARCH)
    path = next((root.ledger / "hypotheses").iterdir())
    path.write_text(path.read_text().replace("63", "64"))
    with pytest.raises(DataError, match="was changed"):
        record(root, SEARCH)
    path.unlink()
    with pytest.raises(DataError, match="is unreadable"):
        record(root, other(run_id="r2"))


def test_no_clean_up_removes_the_record(root: DataRoot) -> None:
    record(root, SEARCH)
    clean_runtime(root)
    clean_all_data(root)
    assert len(searches(root)) == 1


def test_a_data_root_without_searches_has_none(root: DataRoot) -> None:
    assert searches(root) == []
    assert not root.ledger.exists()


def evaluated(root: DataRoot, **changes: object) -> Standing:
    arguments: dict[str, object] = {
        "run_id": "w1",
        "made_at": dt.datetime(2025, 5, 1, tzinfo=dt.UTC),
        "symbols": ["BTCUSDT"],
        "start": dt.date(2023, 11, 1),
        "end": dt.date(2024, 2, 1),
        "data_hash": "d1",
        "subject": "strategy-1",
    }
    return record_evaluation(root, **(arguments | changes))  # type: ignore[arg-type]


def test_an_out_of_sample_window_is_counted_as_opened_by_searches_and_evaluations_alike(root: DataRoot) -> None:
    assert record(root, SEARCH).confirmation_openings == 1
    first, again, second = evaluated(root), evaluated(root, run_id="w2"), evaluated(root, subject="strategy-2")
    assert (first.confirmation_openings, again.confirmation_openings, second.confirmation_openings) == (2, 2, 3)
    assert (first.is_new, again.is_new) == (True, False)
    assert second.n_hypotheses == 100
    assert record(root, other(register_hash="h2")).confirmation_openings == 4
    assert evaluated(root, start=dt.date(2024, 2, 1), end=dt.date(2024, 3, 1)).confirmation_openings == 1


def test_a_search_that_reads_no_confirmation_fold_opens_none_and_counts_its_hypotheses(root: DataRoot) -> None:
    closed = {"confirmation_start": SEARCH.confirmation_end, "hypotheses": np.arange(90, 110, dtype=np.uint64)}
    standing = record(root, other(register_hash="h2", **closed))
    assert (standing.confirmation_openings, standing.n_hypotheses) == (0, 20)
    later = record(root, SEARCH)
    assert (later.confirmation_openings, later.n_hypotheses) == (1, 110)


def test_checking_changes_nothing_and_finds_a_changed_line_a_lost_one_and_a_changed_list(root: DataRoot) -> None:
    assert verify(root) == 0
    record(root, SEARCH)
    record(root, other(register_hash="h2"))
    record(root, other(register_hash="h3", hypotheses=np.arange(7, dtype=np.uint64)))
    sound = {path: path.read_bytes() for path in sorted(root.ledger.rglob("*")) if path.is_file()}
    assert verify(root) == 3
    with root.ledger_searches.open("ab") as file:
        file.write(b'{"cut short')
    assert verify(root) == 3
    assert root.ledger_searches.read_bytes().endswith(b"cut short")
    lines = sound[root.ledger_searches].splitlines(keepends=True)
    for damaged in ([lines[0], lines[2]], lines[:1], [lines[0].replace(b'"r1"', b'"r0"'), *lines[1:]]):
        root.ledger_searches.write_bytes(b"".join(damaged))
        with pytest.raises(DataError, match="does not add up"):
            verify(root)
    root.ledger_searches.write_bytes(sound[root.ledger_searches])
    name = json.loads(lines[2])["hypotheses_hash"]
    root.ledger_hypotheses(name).write_text("00" * 8 + "\n")
    with pytest.raises(DataError, match="was changed"):
        verify(root)
