"""Raw memory in kernels: arrays at addresses and on the stack, prefetches, atomic additions, calls of C functions."""

import sys
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload
from numba.np.unsafe.ndarray import to_fixed_tuple as _array_to_tuple

from lifecycle._jit._compile import element

_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def _pointer(typingctx, address, start, dtype):
    pointer = types.CPointer(dtype.dtype)

    def codegen(context, builder, sig, args):
        return builder.gep(builder.inttoptr(args[0], context.get_value_type(pointer)), [args[1]])

    return pointer(address, types.int64, dtype), codegen


@element
def memory(address, start, size, dtype):
    """The array of `size` elements that begins `start` elements after an address (compiled code only)."""
    return numba.carray(_pointer(address, start, dtype), size)  # type: ignore[call-arg]


# numba gives each intrinsic function a random name, and a kernel's key for the disk cache holds what the functions of
# its closure call: so they call intrinsic functions through their module, which has the same name in every process
_this_module = sys.modules[__name__]


@intrinsic(prefer_literal=True)
def _alloca(typingctx, dtype, size):
    count = size.literal_value

    def codegen(context, builder, sig, args):
        pointer = cgutils.alloca_once(builder, context.get_value_type(dtype.dtype), ir.Constant(_I64, count))
        pointer.align = 64
        return pointer

    return types.CPointer(dtype.dtype)(dtype, size), codegen


def stack_array(size: int) -> Any:
    """A function (dtype) -> array of `size` elements on the stack, which a loop over them may keep in registers."""

    def allocate(dtype):
        return np.empty(size, dtype)

    # inlined by numba, or the memory would be that of a function that has returned
    @overload(allocate, inline="always")
    def _allocate(dtype):
        return lambda dtype: numba.carray(_this_module._alloca(dtype, size), size)

    return allocate


@intrinsic
def call_native(typingctx, address, arguments, begin, end):
    """Call the C function at an address (compiled code only)."""

    def codegen(context, builder, sig, args):
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [_I64] * 3).as_pointer())
        builder.call(function, args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic
def fetch_and_add(typingctx, address, n):
    """Add n to the int64 at an address in one atomic operation, and return what it was (compiled code only)."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], _I64.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _prefetch(typingctx, array, i):
    def codegen(context, builder, sig, args):
        data = cgutils.create_struct_proxy(array)(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [address.type, _I32, _I32, _I32]), "llvm.prefetch.p0i8"
        )
        builder.call(function, [address, *(ir.Constant(_I32, x) for x in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@element
def prefetch(array, begin, n):
    """Load n elements from `begin` on, which may lie beyond the end, into the cache (compiled code only)."""
    for i in range(begin, begin + n, 64 // array.itemsize):
        _prefetch(array, i)  # type: ignore[call-arg]


@element
def searchsorted_right(ends, x):
    """Index of the first of the ascending `ends` above x; np.searchsorted takes much longer to compile."""
    low, high = 0, ends.size
    while low < high:
        middle = (low + high) // 2
        if ends[middle] > x:
            high = middle
        else:
            low = middle + 1
    return low


def to_fixed_tuple(array, n):
    """Tuple of the n elements of an array, n known when compiling."""
    return tuple(array[:n])


@overload(to_fixed_tuple, inline="always", prefer_literal=True)
def _to_fixed_tuple(array, n):
    return lambda array, n: _array_to_tuple(array, n)  # type: ignore[call-arg]
