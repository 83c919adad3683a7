"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real market data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("BACKTEST_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real market data is not at {folder}; set BACKTEST_SHARED_DATA to its folder")
    return folder
