"""Columns of a table as short texts: the distinct values once, and for each row which of them it has.

Ten thousand rows of a column with a hundred distinct values take twenty kilobytes so, where a list of numbers takes seventy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import polars as pl

ALPHABET: Final = "".join(chr(code) for code in range(32, 127) if chr(code) not in '"\\<>&')
"""Ninety characters that neither a script nor a page reads as anything but themselves; the script has the same ones."""


def packed(values: pl.Series) -> dict[str, Any]:
    """``v``, the distinct values in order (null last), and ``s``: for each row its place in ``v`` to the base of the alphabet.

    A place has as many digits, the highest first, as the last one needs.
    """
    distinct = values.unique().sort(nulls_last=True)
    places = (
        values.replace_strict(distinct, np.arange(len(distinct)), return_dtype=_integer()).to_numpy().astype(np.int64)
    )
    characters = np.frombuffer(ALPHABET.encode("ascii"), dtype=np.uint8)
    digits = np.empty((len(values), width(len(distinct))), dtype=np.uint8)
    for digit in range(digits.shape[1] - 1, -1, -1):
        digits[:, digit] = characters[places % len(ALPHABET)]
        places = places // len(ALPHABET)
    return {"v": distinct.to_list(), "s": digits.tobytes().decode("ascii")}


def width(n_distinct: int) -> int:
    """Digits of a place among so many."""
    digits = 1
    while len(ALPHABET) ** digits < n_distinct:
        digits += 1
    return digits


def _integer() -> Any:
    import polars as pl

    return pl.Int64
