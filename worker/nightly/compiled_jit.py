"""The compiler, where numba is installed: `jit` for the loops of the compiled twins.

Machine code is kept in the package's `__pycache__`, else in the user's cache folder (`NUMBA_CACHE_DIR` names another).
numba looks for changes in the file of a function only, not in those it calls: a compiled function therefore calls
functions of its own file, and no others but `lowest_bit`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def available() -> bool:
    """Whether numba is installed. Without it the compiled functions are plain Python: right, but slow."""
    return importlib.util.find_spec("numba") is not None


def jit(function: Function) -> Function:
    """``function`` compiled at its first call, without the interpreter's lock; itself where numba is not installed."""
    if not available():
        return function
    numba: Any = importlib.import_module("numba")
    try:
        compiled: Function = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder for the machine code can be written: compile it in each process
        compiled = numba.njit(nogil=True)(function)
    return compiled


def _lowest_bit() -> Callable[[Any], int]:
    """One machine instruction, which numba has no public name for."""
    if not available():
        return lambda word: (int(word) & -int(word)).bit_length() - 1
    types: Any = importlib.import_module("numba.types")

    def count_trailing_zeros(context: Any, word: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.cttz(args[0], context.get_constant(types.boolean, False))

        return types.int64(types.uint64), generate

    found: Callable[[Any], int] = importlib.import_module("numba.extending").intrinsic(count_trailing_zeros)
    return found


lowest_bit = _lowest_bit()
"""The number of the lowest bit set in a uint64, 64 for 0."""
