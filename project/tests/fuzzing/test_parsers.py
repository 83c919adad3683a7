"""Changed inputs end in a value or a documented error: a few dozen for each parser here, 100,000 with `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing.run import feed_apart, feed_many
from tests.fuzzing.targets import Target, targets

INPUTS = 40


@pytest.mark.slow
@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
def test_changed_inputs_are_read_or_refused(target: Target, tmp_path: Path) -> None:
    tally = feed_many(target, range(INPUTS), tmp_path)
    assert not tally.faults
    assert tally.inputs == INPUTS
    assert tally.accepted + tally.refused == INPUTS


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
def test_an_unchanged_sample_reaches_its_parser(target: Target, tmp_path: Path) -> None:
    """Most samples are accepted, so that changed ones reach further than the first check."""
    feed, accepted = target.prepare(tmp_path), 0
    for sample in target.samples:
        try:
            feed(sample)
            accepted += 1
        except target.allowed:
            continue
    assert accepted or target.name in MANY_READERS, "no sample is accepted"


MANY_READERS = ("names", "file hashes, locks, markers", "run manifests", "archive zip")
"""Each sample is fed to several readers, of which one at least must refuse it."""


def test_inputs_are_counted_in_a_process_of_their_own() -> None:
    target = next(one for one in targets() if one.name == "archive zip")
    tally = feed_apart(target, n_inputs=50, first=0)
    assert (tally.inputs, tally.crashed, tally.ended_process) == (50, 0, 0)
