"""A hint to the processor for loops that jump through a file: the line of cache that is read soon."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["LINE", "prefetch"]

#: Bytes of a line of cache.
LINE = 64


def _prefetch(context: Any, array: Any, i: Any) -> Any:
    """Types of the arguments and of the result, and what is compiled for them."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        kind = signature.args[0]
        view = context.make_array(kind)(context, builder, given[0])
        place = builder.bitcast(
            cgutils.get_item_pointer(context, builder, kind, view, list(given[1:])),  # type: ignore[no-untyped-call]
            cgutils.voidptr_t,
        )
        number = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], shape)
        # For reading, to be kept near, of data.
        builder.call(function, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, i), generate


#: ``prefetch(array, i)`` in compiled code asks for the line of cache that holds ``array[i]``; what is beyond the array
#: is asked for in vain.
prefetch: Any = intrinsic(_prefetch)
