"""How the engine's kernel becomes machine code: one function with everything inside it, on arrays that are not counted.

Numba counts references to an array each time it is handed to a function, and each count is an atomic operation. The engine
hands a dozen arrays to a dozen functions in each bar: counting took two thirds of its time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])


def machine_code(function: F) -> F:
    """The function compiled at its first call and kept on disk; a division by zero gives IEEE's infinity or NaN."""
    return _compiled(function)


def inside(function: F) -> F:
    """The same, compiled into whatever calls it."""
    return _compiled(function, forceinline=True)


def _compiled(function: F, **options: bool) -> F:
    try:
        return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function))
    except RuntimeError:
        # Neither the package's folder nor the user's cache folder can be written: compile in each process.
        return cast("F", numba.njit(nogil=True, error_model="numpy", **options)(function))


def _unowned(_context: Any, array: Any) -> Any:
    """The array whose references are not counted, for compiled code: whoever calls it keeps the owner alive."""

    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        view = context.make_array(array)(context, builder, value=arguments[0])
        view.meminfo = view.meminfo.type(None)
        view.parent = view.parent.type(None)
        return view._getvalue()

    return array(array), code


unowned: Any = intrinsic(_unowned)
