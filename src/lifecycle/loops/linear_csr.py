"""Products of sparse rows with several vectors: a walk over the numbers of a row serves all of them.

Places are unsigned, because a signed one is compared with zero each time.
"""

from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import add_product, kernel, stack_array, wide_vectors

WIDTHS = (1, 8, 16)  # vectors that are multiplied together


@cache
def csr_products(width: int) -> Any:
    """Kernel (data, indices, indptr, begin, end, columns, out): products of the CSR rows begin to end with columns.

    columns (features * width,), feature by feature; out (n, rows) with n ≤ width, whose columns begin to end change.
    """

    sums, add = stack_array(width), add_product(width)

    def loop(data, indices, indptr, begin, end, columns, out):
        wide_vectors()
        total = sums(out.dtype)
        for i in range(begin, end):
            for v in range(width):
                total[v] = 0
            for e in range(np.uint64(indptr[i]), np.uint64(indptr[i + 1])):
                add(total, 0, data[e], columns, np.int64(indices[e]) * width)
            for v in range(out.shape[0]):
                out[v, i] = total[v]

    return kernel(loop, contract=True)
