"""JSON and Parquet that anybody may have written, or a disk may have damaged: a value, or a ValueError that says why not."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    import pyarrow

MAX_JSON_DEPTH: Final = 100
"""Far deeper than anything the program writes, far less than what a reader that calls itself can take."""
_NOT_BRACKETS: Final = str.maketrans({chr(code): None for code in range(0x80) if chr(code) not in "[]{}"})
_NOT_BRACKET_BYTES: Final = bytes(code for code in range(0x100) if code not in b"[]{}")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ARROW_MAGIC: Final = b"ARROW1"
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def parsed_json(content: str | bytes, *, max_depth: int = MAX_JSON_DEPTH, allow_nan: bool = False) -> Any:
    """The value of a JSON text; bytes are UTF-8.

    Raises
    ------
    ValueError
        Where it is no JSON, nested deeper than `max_depth`, holds a number too long to be read, half of a surrogate pair
        (which no UTF-8 can be made of), or, unless `allow_nan`, NaN or an infinity.
    """
    text = content if isinstance(content, str) else content.decode("utf-8")
    depth = nesting_depth(text, enough=max_depth)
    if depth > max_depth:
        raise ValueError(f"nested {depth:,} deep; at most {max_depth} is read")
    try:
        value = json.loads(text) if allow_nan else json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def nesting_depth(text: str, *, enough: int = 0) -> int:
    """How deep brackets are nested outside of strings; where that is certainly not above `enough`, perhaps too much."""
    depth = _depth(text.encode("utf-8", "replace").translate(None, _NOT_BRACKET_BYTES).decode("ascii"))
    return depth if depth <= enough else _depth(_STRING.sub("", text).translate(_NOT_BRACKETS))


def _depth(brackets: str) -> int:
    depth = deepest = 0
    for bracket in brackets:
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in "]}":
            depth -= 1
    return deepest


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"holds {text[:40]}, which is too large a number")
    return number


def arrow_table(path: Path) -> pyarrow.Table:
    """The rows of a Parquet or Arrow (Feather) file, every length and offset in it checked. ValueError where it is damaged.

    Polars trusts a file's own sizes; some damaged ones make it end the whole process.
    """
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        # A file of Arrow's own: its threads would go on with one of Python's after the interpreter's end, which is an abort.
        with pyarrow.OSFile(str(path)) as file:
            is_arrow = file.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC
            file.seek(0)
            if is_arrow:
                table = pyarrow.ipc.open_file(file).read_all()
            else:
                table = pyarrow.parquet.ParquetFile(file, page_checksum_verification=True).read()
        table.validate(full=True)
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, ValueError, OSError, MemoryError) as fault:
        raise ValueError((str(fault) or repr(fault)).splitlines()[0]) from None
    return table
