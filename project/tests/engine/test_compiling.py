"""What is kept of compiled code is as new as every module that was compiled into it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backtest.engine import arrays, compiling, kernel


def test_a_change_of_any_module_of_the_engine_makes_what_was_kept_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = compiling._sources_hash()
    for function in (kernel.simulate, arrays.sort_by, arrays.fill_signals, arrays.complete):
        assert function._cache._cache_file._source_stamp[1] == before  # type: ignore[attr-defined]
    copied = Path(shutil.copytree(str(compiling.FOLDER), tmp_path / "engine"))
    monkeypatch.setattr(compiling, "FOLDER", copied)
    assert compiling._sources_hash.__wrapped__() == before
    (copied / "margin.py").write_text((copied / "margin.py").read_text().replace("size = abs(notional)", "size = 0.0"))
    assert compiling._sources_hash.__wrapped__() != before
