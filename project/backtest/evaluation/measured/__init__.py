"""The error rates of the procedure as a calibration measured them, shipped with the program beside this file.

`error_rates.json` is written by ``backtest calibrate --publish``. Its top level:

schema, command, seed, measured_on (date), commit, ontology_spec_hash, code_hash
    what was run, when, and on what; the spec hash is that of a run's manifest.
worlds, full_size
    how many, simulated and copies of real bars; and how many a full calibration has.
groups
    by group of worlds (``null``, ``planted 10 bps``, ``random signs``, …) what `error_rates.summary` says. A share is
    [value, lower, upper end of its 95 % interval] as a fraction, a return is in bps per trade, null is unknown.
limits
    each bound with what was found and whether it was kept; null as a bound: none.
real_bars
    symbols, first and last day of the copies' bars; null where there were no copies.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from backtest.errors import DataError
from backtest.outside_bytes import parsed_json

SCHEMA: Final = 1
FILE: Final = "error_rates.json"
NULL: Final = "null"


@dataclass(frozen=True)
class MeasuredErrorRates:
    """One published calibration; the fields are those of the file."""

    schema: int
    command: str
    seed: int
    measured_on: str
    commit: str | None
    ontology_spec_hash: str
    code_hash: str
    worlds: Mapping[str, int]
    full_size: Mapping[str, int]
    groups: Mapping[str, Mapping[str, Any]]
    limits: tuple[Mapping[str, Any], ...]
    real_bars: Mapping[str, Any] | None

    def is_of_spec(self, ontology_spec_hash: str) -> bool:
        """Whether it was measured on the spec with this hash, the one in a run's manifest."""
        return self.ontology_spec_hash == ontology_spec_hash

    @property
    def broken_limits(self) -> tuple[str, ...]:
        """Bounds that the calibration did not keep, in words."""
        return tuple(limit["text"] for limit in self.limits if not limit["is_kept"])

    def share_with_any(self, procedure: str, group: str = NULL) -> tuple[float, float, float] | None:
        """Share of the worlds of a group in which a procedure (a key of `PROCEDURES`) finds anything, and its 95 % interval.

        In a null group each of these is false. None where the group was not measured.
        """
        found = self.groups.get(group)
        return None if found is None else tuple(found["procedures"][procedure]["share_with_any"])

    def power(self, procedure: str, bps: float) -> tuple[float | None, float | None, float | None] | None:
        """Share of the hypotheses on an edge of `bps` that a procedure finds, and its 95 % interval; None: not measured."""
        found = self.groups.get(f"planted {bps:g} bps")
        return None if found is None else tuple(found["procedures"][procedure]["power"])


def measured_error_rates() -> MeasuredErrorRates | None:
    """The calibration that was published with this version; None where none was.

    Raises DataError where the file is damaged.
    """
    resource = importlib.resources.files(__package__).joinpath(FILE)
    if not resource.is_file():
        return None
    try:
        value = parsed_json(resource.read_bytes())
        return MeasuredErrorRates(
            **{field.name: value[field.name] for field in fields(MeasuredErrorRates) if field.name != "limits"},
            limits=tuple(value["limits"]),
        )
    except (ValueError, KeyError, TypeError) as fault:
        raise DataError(
            f"the measured error rates {FILE} shipped with the program are damaged ({fault!r}). Install it again, or "
            "measure: backtest calibrate --publish"
        ) from None
