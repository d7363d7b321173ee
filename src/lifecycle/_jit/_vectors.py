"""Vectors of many numbers in kernels, where the compiler does not find them by itself."""

import sys
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from lifecycle._jit._compile import INLINED, stamped

_I32 = ir.IntType(32)
_this_module = sys.modules[__name__]  # as in _memory


@intrinsic
def _wide_vectors(typingctx):

    def codegen(context, builder, sig, args):
        # llvmlite's own `add` refuses the attributes that it does not know
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


def wide_vectors() -> None:
    """Let the loops of the calling kernel use the widest vectors of the machine.

    LLVM uses half of the width on many machines, as a program that uses all of it now and then is slowed down.
    """


# inlined by numba, or the attribute would be that of another function
@overload(wide_vectors, inline="always")
def _wide_vectors_of_kernel():
    return lambda: _this_module._wide_vectors()


@intrinsic(prefer_literal=True)
def _add_product(typingctx, out, i, x, a, j, width):
    arrays = [isinstance(array, types.Array) and (array.ndim, array.layout, array.dtype) for array in (out, a)]
    if arrays != [(1, "C", x)] * 2:
        return None
    count = width.literal_value

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(x)
        vector, size = ir.VectorType(kind, count), context.get_abi_sizeof(kind)

        def address(array, type_, index):
            data = cgutils.create_struct_proxy(type_)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        factor = builder.insert_element(ir.Constant(vector, ir.Undefined), args[2], ir.Constant(_I32, 0))
        factor = builder.shuffle_vector(factor, factor, ir.Constant(ir.VectorType(_I32, count), [0] * count))
        target = address(args[0], out, args[1])
        product = builder.fmul(factor, builder.load(address(args[3], a, args[4]), align=size), flags=("contract",))
        builder.store(builder.fadd(builder.load(target, align=size), product, flags=("contract",)), target, size)
        return context.get_dummy_value()

    return types.void(out, types.int64, x, a, types.int64, width), codegen


def add_product(width: int) -> Any:
    """A function (out, i, x, a, j): out[i : i + width] += x * a[j : j + width], of one dtype."""

    def add(out, i, x, a, j):
        out[i : i + width] += x * a[j : j + width]

    @overload(add, jit_options=INLINED)
    def _add(out, i, x, a, j):
        return stamped(lambda out, i, x, a, j: _this_module._add_product(out, i, x, a, j, width))

    return add
