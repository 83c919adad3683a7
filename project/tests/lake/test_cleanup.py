"""Clean-up removes what the runbook lists, and nothing else."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from backtest.errors import DataError, MisuseError, RunError
from backtest.lake.cleanup import Removal, clean_all_data, clean_runtime, contents
from backtest.lake.paths import DataRoot


def _write(path: Path, text: str = "12345") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    root = DataRoot(tmp_path / "data")
    root.create()
    for name in (
        "runs/r1/run_manifest.json",
        "runs/r1/.lock",
        "reports/phase2/r1/VOL_SHOCK/candidates.parquet",
        "events/r1/events.parquet",
        "lake/runs/r1/states/BTCUSDT.parquet",
        "lake/raw/binance/perp/BTCUSDT/ohlcv_5m/year=2024/month=01/part.parquet",
        "lake/cleaned/perp/BTCUSDT/quality/2024Q1.parquet",
        "lake/features/perp/BTCUSDT/5m/features_v1/year=2024/month=01/part.parquet",
        "my notes.txt",
    ):
        _write(root.path / name)
    return root


def _files(root: DataRoot) -> set[str]:
    return {path.relative_to(root.path).as_posix() for path in root.path.rglob("*") if not path.is_dir()}


def test_clean_runtime_keeps_raw_cleaned_features_and_foreign_files(root: DataRoot) -> None:
    removals = clean_runtime(root)
    assert _files(root) == {
        root.marker.name,
        "my notes.txt",
        "lake/raw/binance/perp/BTCUSDT/ohlcv_5m/year=2024/month=01/part.parquet",
        "lake/cleaned/perp/BTCUSDT/quality/2024Q1.parquet",
        "lake/features/perp/BTCUSDT/5m/features_v1/year=2024/month=01/part.parquet",
    }
    assert [removal.path.relative_to(root.path).as_posix() for removal in removals] == [
        "runs", "reports", "events", "lake/runs",
    ]  # fmt: skip
    assert (removals[0].folders, removals[0].files, removals[0].size_bytes) == (2, 2, 10)


def test_clean_all_data_leaves_a_data_root(root: DataRoot) -> None:
    clean_all_data(root)
    assert _files(root) == {root.marker.name, "my notes.txt"}
    root.require()


def test_a_second_clean_up_finds_nothing(root: DataRoot) -> None:
    clean_all_data(root)
    assert clean_all_data(root) == []


@pytest.mark.parametrize("clean", [clean_runtime, clean_all_data])
def test_a_folder_without_the_marker_is_refused(tmp_path: Path, clean) -> None:  # type: ignore[no-untyped-def]
    _write(tmp_path / "runs" / "precious.txt")
    with pytest.raises(MisuseError, match="is not a data root"):
        clean(DataRoot(tmp_path))
    assert (tmp_path / "runs" / "precious.txt").is_file()


@pytest.mark.parametrize("clean", [clean_runtime, clean_all_data])
def test_a_run_in_progress_blocks_the_clean_up(root: DataRoot, clean) -> None:  # type: ignore[no-untyped-def]
    before = _files(root)
    with (root.path / "runs" / "r1" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RunError, match=r"(?s)in progress.*RUN_ID=r1"):
            clean(root)
    assert _files(root) == before
    assert clean(root)


def test_a_link_is_removed_and_its_target_is_not(root: DataRoot, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    _write(outside / "precious.txt")
    (root.path / "runs" / "r1" / "linked").symlink_to(outside)
    (root.path / "runs" / "linked_run").symlink_to(outside)
    clean_runtime(root)
    assert not (root.path / "runs").exists()
    assert (outside / "precious.txt").read_text() == "12345"


@pytest.mark.parametrize("clean", [clean_runtime, clean_all_data])
def test_names_with_spaces_line_breaks_and_shell_syntax_are_removed_and_links_among_them_not_followed(
    root: DataRoot, tmp_path: Path, clean: Callable[[DataRoot], list[Removal]]
) -> None:
    outside = tmp_path / "out side\n"
    _write(outside / "precious.txt")
    for name in ("a b", "line\nbreak", "$(touch x); rm -rf *", "-rf", "*", "'\"", "\udcff"):
        folder = root.path / "runs" / "r1" / name
        _write(folder / name)
        (folder / f"{name} link").symlink_to(outside, target_is_directory=True)
    clean(root)
    assert not (root.path / "runs").exists()
    assert [path.name for path in tmp_path.rglob("*") if path.name == "x"] == []
    assert (outside / "precious.txt").read_text() == "12345"


def test_a_listed_folder_that_is_a_link_loses_only_the_link(root: DataRoot, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (root.path / "reports").rename(outside)
    (root.path / "reports").symlink_to(outside)
    (removal,) = (removal for removal in clean_runtime(root) if removal.path.name == "reports")
    assert (removal.folders, removal.files) == (0, 1)
    assert not (root.path / "reports").is_symlink()
    assert (outside / "phase2" / "r1" / "VOL_SHOCK" / "candidates.parquet").is_file()


def test_a_dangling_link_is_removed(root: DataRoot, tmp_path: Path) -> None:
    clean_runtime(root)
    (root.path / "runs").symlink_to(tmp_path / "nowhere")
    assert len(clean_runtime(root)) == 1
    assert not (root.path / "runs").is_symlink()


def test_a_linked_lake_is_not_entered(root: DataRoot, tmp_path: Path) -> None:
    outside = tmp_path / "big disk"
    (root.path / "lake").rename(outside)
    (root.path / "lake").symlink_to(outside)
    with pytest.raises(MisuseError, match=r"lake is a symbolic link.*nothing was removed"):
        clean_runtime(root)
    assert (outside / "runs" / "r1").is_dir()
    assert (root.path / "runs" / "r1").is_dir()
    clean_all_data(root)
    assert not (root.path / "lake").is_symlink()
    assert (outside / "raw").is_dir()


def test_a_refusal_of_the_file_system_is_told_without_traceback(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path / "r1"))

    monkeypatch.setattr("backtest.lake.cleanup.shutil.rmtree", refuse)
    with pytest.raises(DataError, match=r"cannot remove .*r1: Permission denied"):
        clean_runtime(root)


def test_contents_counts_every_entry_once(tmp_path: Path) -> None:
    _write(tmp_path / "a" / "one", "1")
    _write(tmp_path / "a" / "b" / "two", "22")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a", target_is_directory=True)
    counted = contents(tmp_path / "a")
    link_bytes = (tmp_path / "a" / "loop").lstat().st_size
    assert (counted.folders, counted.files, counted.size_bytes) == (2, 3, 3 + link_bytes)
