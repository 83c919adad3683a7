"""The last word of each monitor, left in the data root so that the report of a run can show it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

from backtest.errors import DataError
from backtest.lake.files import read_json, write_json
from backtest.lake.paths import DataRoot

MOST_CHECKS: Final = 60
FIELDS: Final = ("monitor", "symbol", "status", "time", "checks")


def leave_word(
    root: DataRoot,
    run_id: str | None,
    monitor: str,
    status: str,
    moment: dt.datetime,
    checks: Sequence[tuple[str, str, str]],
    *,
    symbol: str | None = None,
) -> str | None:
    """Replace the monitor's last word on a run (of the lake where `run_id` is None) as a whole; why not, where it cannot be.

    `checks` are (name, status, what was found), of which the first `MOST_CHECKS` are kept. What a monitor found does not
    depend on whether its word could be kept, so nothing is raised.
    """
    record = {
        "monitor": monitor,
        "symbol": symbol,
        "status": status,
        "time": moment.isoformat(),
        "checks": [{"name": name, "status": one, "text": text} for name, one, text in checks[:MOST_CHECKS]],
    }
    try:
        if run_id is None and not root.lake.is_dir():
            return None
        if run_id is not None and not root.run(run_id).is_dir():
            return None
        write_json(root.monitor_word(run_id, monitor, symbol), record)
    except (DataError, OSError) as fault:
        return f"the last status of {monitor} could not be kept for the report: {fault}"
    return None


def last_words(root: DataRoot, run_id: str) -> list[dict[str, Any]]:
    """The last word of each monitor on a run and on the lake, by name and symbol; a damaged one says so."""
    found = []
    for path in (*root.monitor_words(None), *root.monitor_words(run_id)):
        try:
            record = read_json(path)
            if not isinstance(record, dict) or any(field not in record for field in FIELDS):
                raise DataError("it is no monitor's status")
        except (DataError, OSError, ValueError) as fault:
            name = path.stem.split("__")[0]
            record = {"monitor": name, "symbol": None, "status": "UNREADABLE", "time": None}
            record["checks"] = [{"name": path.name, "status": "UNREADABLE", "text": str(fault)}]
        found.append(record)
    return found
