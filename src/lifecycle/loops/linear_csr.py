"""Products of sparse rows with many vectors: a walk over the numbers of a row serves all of them.

Indices are unsigned, because a signed one is compared with zero each time: half of the speed.
"""

from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import kernel, stack_array, wide_vectors

WIDTHS = (1, 8)  # vectors that are multiplied together; more are multiples of the last


@cache
def csr_products(width: int) -> Any:
    """Kernel (data, indices, indptr, vectors, out): add the products of CSR rows with vectors to out.

    vectors (features, n), out (rows, n); n is a multiple of `width`.
    """

    sums = stack_array(width)

    def loop(data, indices, indptr, vectors, out):
        wide_vectors()
        total = sums(out.dtype)
        for i in range(indptr.size - 1):
            for b in range(0, out.shape[1], width):
                for v in range(width):
                    total[v] = out[i, b + v]
                for e in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
                    x, j = data[e], np.uint64(indices[e])
                    for v in range(width):
                        total[v] += x * vectors[j, np.uint64(b + v)]
                for v in range(width):
                    out[i, b + v] = total[v]

    return kernel(loop, contract=True)


@cache
def csr_transposed_products(width: int) -> Any:
    """Kernel (data, indices, indptr, vectors, out): add the products of transposed CSR rows with vectors to out.

    vectors (rows, n), out (features, n); n is a multiple of `width`. Where all elements of the
    vectors for a row are zero, the row is skipped, whatever it holds.
    """

    elements = stack_array(width)

    def loop(data, indices, indptr, vectors, out):
        wide_vectors()
        factor = elements(out.dtype)
        for i in range(indptr.size - 1):
            for b in range(0, out.shape[1], width):
                any_nonzero = False
                for v in range(width):
                    factor[v] = vectors[i, b + v]
                    any_nonzero |= factor[v] != 0
                if any_nonzero:
                    for e in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
                        x, j = data[e], np.uint64(indices[e])
                        for v in range(width):
                            out[j, np.uint64(b + v)] += x * factor[v]

    return kernel(loop, contract=True)
