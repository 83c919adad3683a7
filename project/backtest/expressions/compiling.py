"""How the window kernels become machine code: compiled once, kept on disk, without the interpreter's lock.

Importing this imports Numba; it is imported by what uses a kernel when it first does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., Any])


def machine_code(function: F) -> F:
    """The function compiled at its first call, in strict IEEE arithmetic, for whatever processor this is."""
    try:
        compiled = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's cache folder can be written: compile in each process.
        return cast("F", numba.njit(nogil=True)(function))
    load_quickly(compiled)
    return cast("F", compiled)


def load_quickly(compiled: Any) -> None:
    """Let what a function was compiled to be loaded from disk without all that Numba imports to compile.

    Numba imports it, in a quarter of a second, before it looks at the disk; where nothing is kept there the compiler imports it
    again by itself. Machine code needs memory management only.
    """
    cache = compiled._cache

    def load_overload(signature: Any, context: Any) -> Any:
        rtsys.initialize(context)
        return cache._load_overload(signature, context)

    cache.load_overload = load_overload


def make_ready() -> None:
    """What Numba does before it loads a process's first kernel."""
    rtsys.initialize(cpu_target.target_context)
    importlib.import_module("numba.np.arrayobj")  # as kernels of arrays do that come from disk
