"""Data for a page as a script that nothing in the data can end."""

from __future__ import annotations

import json
from typing import Any


def as_script(name: str, value: Any) -> str:
    """A script that hands `value` to the page; texts cannot end it early.

    ``<``, ``>``, ``&`` and line separators are written as escapes, so that the file is the same text inside a page.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'(window.BACKTEST=window.BACKTEST||{{}})["{name}"]={text};\n'
