"""How the window kernels become machine code: compiled once, kept on disk, without the interpreter's lock.

Importing this imports Numba; it is imported by what uses a kernel when it first does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core.registry import cpu_target
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., Any])


def machine_code(function: F) -> F:
    """The function compiled at its first call, in strict IEEE arithmetic, for whatever processor this is."""
    try:
        return cast("F", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:
        # Neither the package's folder nor the user's cache folder can be written: compile in each process.
        return cast("F", numba.njit(nogil=True)(function))


def make_ready() -> None:
    """What Numba does before it loads a process's first kernel: a fifth of a second's imports, of SciPy's algebra too."""
    cpu_target.target_context.refresh()
