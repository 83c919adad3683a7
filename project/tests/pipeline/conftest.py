"""Toy stages and their lake."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from toy_lake import ToyLake

TOYS = Path(__file__).parent / "toys"
# Workers are told this process's sys.path, so they find the toys too.
if str(TOYS) not in sys.path:
    sys.path.insert(0, str(TOYS))


@pytest.fixture
def lake(tmp_path: Path) -> ToyLake:
    from toy_lake import make_toy_lake

    return make_toy_lake(tmp_path / "data")
