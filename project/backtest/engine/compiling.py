"""How the engine becomes machine code: one function with everything inside it, on arrays that are not counted.

Numba counts references to an array each time it is handed to a function, and each count is an atomic operation. The engine
hands a dozen arrays to a dozen functions in each bar: counting took two thirds of its time.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from collections.abc import Callable
from importlib.resources.abc import Traversable
from typing import Any, Final, TypeVar, cast

import numba
from numba.extending import intrinsic

from backtest.expressions.compiling import load_quickly

F = TypeVar("F", bound=Callable[..., Any])

FOLDER: Final[Traversable] = importlib.resources.files(__package__)


def machine_code(function: F) -> F:
    """The function compiled at its first call and kept on disk; a division by zero gives IEEE's infinity or NaN."""
    try:
        compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        # Neither the package's folder nor the user's cache folder can be written: compile in each process.
        return cast("F", numba.njit(nogil=True, error_model="numpy")(function))
    # Numba takes what it kept for as new as the function's own file; what is inside it comes from the others too.
    kept = compiled._cache._cache_file
    kept._source_stamp = (kept._source_stamp, _sources_hash())
    load_quickly(compiled)
    return cast("F", compiled)


def inside(function: F) -> F:
    """Compiled into whatever calls it: callable from compiled code only, and nothing of it is kept on disk by itself."""
    return cast(
        "F",
        numba.njit(nogil=True, error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(
            function
        ),
    )


@functools.cache
def _sources_hash() -> str:
    """Of every module of the engine."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(FOLDER.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _unowned(_context: Any, arrays: Any) -> Any:
    """Arrays, in named tuples too, whose references are not counted: whoever calls compiled code keeps their owners alive."""

    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _without_owner(context, builder, arrays, arguments[0])

    return arrays(arrays), code


def _without_owner(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, numba.types.BaseTuple):
        members = (
            _without_owner(context, builder, member, builder.extract_value(value, place))
            for place, member in enumerate(kind.types)
        )
        return context.make_tuple(builder, kind, list(members))
    view = context.make_array(kind)(context, builder, value=value)
    view.meminfo = view.meminfo.type(None)
    view.parent = view.parent.type(None)
    return view._getvalue()


unowned: Any = intrinsic(_unowned)
