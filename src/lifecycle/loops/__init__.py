"""Loops over memory, one in each file: steps of optimizers, and epochs and losses of linear models (`linear_*`).

`elementwise`, `blockwise` and `norm` take a table of segments, so that any number of tensors is one kernel call:
  addresses : int64, (segments, columns)
      Addresses of parameter, gradient and slots, then of what else the loop names, of each segment: contiguous memory
      in the same order.
  lengths : int64, (segments,)
      Elements.
  scalars : float32 or float64, (segments, coefficients + 2)
      The rule's coefficients, the factor of the gradient, and the weight of the parameter in a step of its average;
      their dtype is that of the arithmetic.
  keys : uint32, (segments,)
      Of the stochastic rounding; the noise of an element depends on its segment's key and its index there alone.
"""
