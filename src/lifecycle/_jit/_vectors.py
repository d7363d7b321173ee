"""Vectors of many numbers inside kernels, where the compiler does not find them by itself."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_I32 = ir.IntType(32)


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


def add_product(width: int) -> Any:
    """A function (out, i, x, a, j): out[i : i + width] += x * a[j : j + width], contiguous (compiled code only)."""

    @intrinsic
    def add(typingctx, out, i, x, a, j):
        def codegen(context, builder, sig, args):
            kind = context.get_value_type(out.dtype)
            vector, size = ir.VectorType(kind, width), context.get_abi_sizeof(kind)

            def place(array, of, index):
                data = cgutils.create_struct_proxy(of)(context, builder, array).data
                return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

            factor = builder.insert_element(ir.Constant(vector, ir.Undefined), args[2], ir.Constant(_I32, 0))
            everywhere = ir.Constant(ir.VectorType(_I32, width), [0] * width)
            factor = builder.shuffle_vector(factor, factor, everywhere)
            there = place(args[0], out, args[1])
            product = builder.fmul(factor, builder.load(place(args[3], a, args[4]), align=size), flags=("contract",))
            builder.store(builder.fadd(builder.load(there, align=size), product, flags=("contract",)), there, size)
            return context.get_dummy_value()

        return types.void(out, types.int64, out.dtype, a, types.int64), codegen

    return add
