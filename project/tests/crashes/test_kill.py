"""A full run, killed in its middle and done again, leaves what an uninterrupted one leaves; `make crash` does it 100 times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crashes.kill_at_random_moments import (
    artifacts,
    differences,
    killed_and_repeated,
    small_spec,
    started,
)

OPTIONS = {"symbols": 1, "days": 60}
AFTER_SECONDS = 5.0


@pytest.mark.slow
def test_a_killed_run_done_again_equals_one_never_interrupted(tmp_path: Path) -> None:
    spec = small_spec(tmp_path / "spec")
    assert started(tmp_path / "whole", spec, OPTIONS, tmp_path / "log").wait() == 0, (tmp_path / "log").read_text()
    (tmp_path / "killed").mkdir()
    was_killed, code, found = killed_and_repeated(
        tmp_path / "killed", spec, OPTIONS, after_seconds=AFTER_SECONDS, workers_too=False
    )
    assert was_killed
    assert code == 0, (tmp_path / "killed" / "log").read_text()
    assert differences(found, artifacts(tmp_path / "whole")) == []
    assert len(found) > 50
