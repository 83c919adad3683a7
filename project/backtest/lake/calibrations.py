"""Figures of calibrated worlds, kept one file a world, so that an interrupted calibration goes on where it was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from backtest.errors import DataError, MisuseError
from backtest.lake.files import read_json, write_json
from backtest.lake.paths import DataRoot

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def stored_world(root: DataRoot, key: str, name: str) -> Mapping[str, Any] | None:
    """What was stored of a world; None where there is nothing, or a file that cannot be read (it is computed again)."""
    path = _path(root, key, name)
    if not path.is_file():
        return None
    try:
        value = read_json(path)
    except DataError:
        return None
    return value if isinstance(value, dict) else None


def store_world(root: DataRoot, key: str, name: str, figures: Mapping[str, Any]) -> None:
    """Keep the figures of a world under the hash of what they follow from."""
    write_json(_path(root, key, name), figures)


def _path(root: DataRoot, key: str, name: str) -> Path:
    if not (_NAME.fullmatch(key) and _NAME.fullmatch(name)):
        raise MisuseError(f"{key}/{name} cannot name the figures of a world: letters, digits, '.', '_' and '-' only.")
    return root.calibration(key) / f"{name}.json"
