"""Raw memory inside kernels: arrays at addresses and on the stack, atomic additions."""

import sys
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple as _to_fixed_tuple

from lifecycle._jit._compile import element

_I64 = ir.IntType(64)


@intrinsic
def _pointer(typingctx, address, start, dtype):
    pointer = types.CPointer(dtype.dtype)

    def codegen(context, builder, sig, args):
        return builder.gep(builder.inttoptr(args[0], context.get_value_type(pointer)), [args[1]])

    return pointer(address, types.int64, dtype), codegen


@element
def memory(address, start, size, dtype):
    """`size` elements of a dtype, from the element `start` of those at an address (compiled code only)."""
    return numba.carray(_pointer(address, start, dtype), size)  # type: ignore[call-arg]


# numba gives each intrinsic function a random name, and what the functions of a kernel's closure call is in its key for
# the disk cache: so they call intrinsic ones through their module, whose name is the same in every process
_here = sys.modules[__name__]


@intrinsic(prefer_literal=True)
def _on_stack(typingctx, dtype, size):
    count = size.literal_value

    def codegen(context, builder, sig, args):
        place = cgutils.alloca_once(builder, context.get_value_type(dtype.dtype), ir.Constant(_I64, count))
        place.align = 64
        return place

    return types.CPointer(dtype.dtype)(dtype, size), codegen


def scratch(size: int) -> Any:
    """A function (dtype) -> `size` elements on the stack, which a loop over them may keep in registers."""

    # inlined, or the memory would be that of a function that has returned
    @register_jitable(inline="always")
    def made(dtype):
        return numba.carray(_here._on_stack(dtype, size), size)

    return made


@intrinsic
def start(typingctx, address, arguments, begin, end):
    """Call the C function at an address (compiled code only)."""

    def codegen(context, builder, sig, args):
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [_I64] * 3).as_pointer())
        builder.call(function, args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic
def fetch_and_add(typingctx, address, n):
    """The int64 at an address, to which n is added in one indivisible operation (compiled code only)."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], _I64.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@element
def first_after(ends, place):
    """Index of the first of the rising numbers `ends` above `place` (numpy's searchsorted compiles much longer)."""
    low, high = 0, ends.size
    while low < high:
        middle = (low + high) // 2
        if ends[middle] > place:
            high = middle
        else:
            low = middle + 1
    return low


# array -> tuple of a length known when compiling; numba's type says nothing of how an intrinsic is called
to_fixed_tuple: Any = _to_fixed_tuple
