"""Vectors of many numbers inside kernels, where the compiler does not find them by itself."""

import sys
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lifecycle._jit._compile import element, stamp

_I32 = ir.IntType(32)
_here = sys.modules[__name__]  # as in _memory


@intrinsic
def _wide_vectors(typingctx):

    def codegen(context, builder, sig, args):
        # llvmlite lets in the attributes that it knows, of which this is none
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


# (): have the loops of the kernel in which this stands use the widest vectors of the machine (compiled code only); LLVM
# keeps to half of them on many, where a program that uses them now and then is slowed down
wide_vectors: Any = _wide_vectors


@intrinsic(prefer_literal=True)
def _add_product(typingctx, out, i, x, a, j, width):
    if not all(isinstance(array, types.Array) and array.layout == "C" and array.ndim == 1 and array.dtype == x
               for array in (out, a)):  # fmt: skip
        return None  # what else could be read as numbers of another kind
    count = width.literal_value

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(x)
        vector, size = ir.VectorType(kind, count), context.get_abi_sizeof(kind)

        def place(array, of, index):
            data = cgutils.create_struct_proxy(of)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        factor = builder.insert_element(ir.Constant(vector, ir.Undefined), args[2], ir.Constant(_I32, 0))
        factor = builder.shuffle_vector(factor, factor, ir.Constant(ir.VectorType(_I32, count), [0] * count))
        there = place(args[0], out, args[1])
        product = builder.fmul(factor, builder.load(place(args[3], a, args[4]), align=size), flags=("contract",))
        builder.store(builder.fadd(builder.load(there, align=size), product, flags=("contract",)), there, size)
        return context.get_dummy_value()

    return types.void(out, types.int64, x, a, types.int64, width), codegen


def add_product(width: int) -> Any:
    """A function (out, i, x, a, j): out[i : i + width] += x * a[j : j + width], of one dtype (compiled code only)."""

    def add(out, i, x, a, j):
        _here._add_product(out, i, x, a, j, width)

    return element(add, stamp(width))
