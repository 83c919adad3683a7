"""Definitions of the spec as the text they were written in."""

from __future__ import annotations

from pathlib import Path

from backtest.errors import SpecError


def definition_text(root: Path, folder: str, name: str) -> str:
    """The YAML of one definition, such as of ``events``, ``VOL_SHOCK``; a file is named like what it defines.

    Raises SpecError where there is no such file.
    """
    path = root / folder / f"{name}.yaml"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as fault:
        raise SpecError(f"{path} cannot be read: {fault.strerror or fault}.") from None
