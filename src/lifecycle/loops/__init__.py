"""Ways to walk memory with any rule, one per file.

A walk takes a table of segments, so that any number of tensors is one kernel call:
  addresses : int64, (segments, columns)
      Where parameter, gradient, slots, then what else the walk names, of a segment lie; contiguous, in the same order.
  lengths : int64, (segments,)
  scalars : float32 or float64, (segments, coefficients + 2)
      The rule's coefficients, the factor of the gradient, and the share by which an average of the parameter moves
      towards it; their dtype is that in which is computed.
  keys : uint32, (segments,)
      Of the stochastic rounding; the noise of an element depends on its segment's key and its place there alone.
"""
