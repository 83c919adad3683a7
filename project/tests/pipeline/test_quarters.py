"""Partitions by calendar quarters."""

from __future__ import annotations

from backtest.pipeline.quarters import newest_first


def test_partitions_come_by_their_quarters_the_newest_first() -> None:
    parts = ["perp.A.2023Q4", "perp.A.2024Q1", "spot.A.2024Q1", "perp.B.2023Q4"]
    assert newest_first(parts) == ["perp.A.2024Q1", "spot.A.2024Q1", "perp.A.2023Q4", "perp.B.2023Q4"]
    assert newest_first(["2023Q4", "2024Q1"]) == ["2024Q1", "2023Q4"]
