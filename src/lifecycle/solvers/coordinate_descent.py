"""Coordinate descent for a convex quadratic function with an l1 and an l2 penalty.

Minimizes over x, from where it is,

    m(x) = cᵀx + ½ xᵀHx + λ₁ ‖x‖₁ + λ₂ ‖x‖²/2,    q = c + Hx the gradient of the first two terms.

A step in coordinate j is x_j ← S(H_jj x_j − q_j, λ₁) / (H_jj + λ₂) with soft thresholding S. Where coordinates are
correlated, their steps are short: so sweeps alternate with Newton steps on the coordinates that are not zero. Sources:
Friedman, Hastie & Tibshirani (2010); for the bound of the gap, `penalty_gap`, Fenchel's inequality.
"""

from typing import Any, NamedTuple

import numpy as np

from lifecycle._jit import absolute, element, kernel, maximum, minimum

_SWEEPS, _MAX_SWEEPS = 8, 500  # between two Newton steps
_SWEEP_ELEMENTS = 1 << 21  # of H that sweeps read between two Newton steps, if these are more than _SWEEPS
_DAMPING = 1e-5  # of Newton steps, relative to the diagonal of H
_TRIALS = 10  # lengths of a Newton step
_ROUNDS = 60  # of sweeps and a Newton step
_INTERCEPT_EVERY = 128  # coordinates
_FULL_SWEEP = 5  # sweeps over columns: each fifth visits the coordinates that are zero, too


class Quadratic(NamedTuple):
    """λ₁, λ₂, the value of the quadratic function above its minimum, and the gap at which the minimization ends."""

    l1: float
    l2: float
    value: float
    tolerance: float


@element
def coordinate_step(x, q, h, l1, l2):
    """The minimizer in one coordinate; where nothing depends on it, the coordinate as it is."""
    u = h * x - q
    return (u - minimum(maximum(u, -l1), l1)) / (h + l2) if h + l2 > 0.0 else x


@element
def gap_terms(x, q, l1, l2):
    """What one coordinate adds to the sums of `bound_gap`; of the last, the largest counts."""
    over, slope = maximum(absolute(q) - l1, 0.0), q + l2 * x
    by_l2 = q * x + l1 * absolute(x) + 0.5 * (l2 * x * x + (over * over / l2 if l2 > 0.0 else 0.0))
    return by_l2, l1 * absolute(x), slope * x, 0.5 * l2 * x * x, absolute(slope)


@element
def bound_gap(by_l2, size, slope, square, largest, l1, l2, value, smooth_value):
    """The smaller of two duality gaps.

    One, where λ₂ > 0: qᵀu + λ₁‖u‖₁ + λ₂‖u‖²/2 falls by Σ (|q_j| − λ₁)₊² / 2λ₂ at most. The other has the l2 penalty as
    a part of f, and c q as its dual point, c = min(1, λ₁ / max |q_j|).
    """
    c = l1 / largest if largest > l1 else 1.0
    gap = size + c * slope + (1.0 - c) * (value + square - c * (smooth_value + square))
    return maximum(minimum(gap, by_l2) if l2 > 0.0 else gap, 0.0)


@element
def sum_gap(x, q, l1, l2, value, smooth_value):
    by_l2, size, slope, square, largest = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(x.size):
        terms = gap_terms(x[j], q[j], l1, l2)
        by_l2, size, slope, square = by_l2 + terms[0], size + terms[1], slope + terms[2], square + terms[3]
        largest = maximum(largest, terms[4])
    return bound_gap(by_l2, size, slope, square, largest, l1, l2, value, smooth_value)


def _penalty_gap(x, q, l1, l2, value, smooth_value):
    return sum_gap(x, q, l1, l2, value, smooth_value)


# (x, q, λ₁, λ₂, value, smooth_value): a bound of f(x) + λ₁‖x‖₁ + λ₂‖x‖²/2 less its minimum, for f(x) = Σ s_i ℓ_i(z_i)
# of scores z = Ax + b with the gradient q and convex ℓ_i ≥ 0; `value` is f(x), `smooth_value` Σ s_i ℓ_i'² / 2L, where L
# is the largest curvature of ℓ, or zero. At the dual point c ℓ_i' the conjugate of ℓ is at most c ℓ*(ℓ_i') −
# c (1 − c) ℓ_i'² / 2L, because it is strongly convex, and Fenchel's equality gives ℓ*(ℓ_i') = ℓ_i' z_i − ℓ_i.
penalty_gap: Any = kernel(_penalty_gap, contract=True)


def _gram_sweeps(hessian, gradient, x, l1, l2, value, tolerance, max_sweeps):
    gap = np.inf
    for _ in range(max_sweeps):
        decrease = 0.0
        for j in range(x.size):
            row = hessian[j]
            delta = coordinate_step(x[j], gradient[j], row[j], l1, l2) - x[j]
            if delta != 0.0:
                x[j] += delta
                decrease += (row[j] + l2) * delta * delta
                for i in range(x.size):
                    gradient[i] += delta * row[i]
        gap = sum_gap(x, gradient, l1, l2, value, value)
        if l1 + l2 == 0.0:
            gap = decrease  # no bound without a penalty
        if gap <= tolerance or decrease == 0.0:
            break
    return gap


gram_sweeps: Any = kernel(_gram_sweeps, contract=True)


def minimize_gram(hessian: np.ndarray, gradient: np.ndarray, x: np.ndarray, quadratic: Quadratic) -> None:
    """Minimize by sweeps over the rows of H (m, m); x (m,) and its gradient q (m,) change in place."""
    l1, l2, value, tolerance = quadratic
    n_sweeps = max(_SWEEPS, min(_MAX_SWEEPS, _SWEEP_ELEMENTS // max(1, x.size**2)))
    for _ in range(_ROUNDS):
        if gram_sweeps(hessian, gradient, x, l1, l2, value, tolerance, n_sweeps) <= tolerance:
            return
        if not _newton_on_support(hessian, gradient, x, l1, l2):
            return


def _newton_on_support(hessian: np.ndarray, gradient: np.ndarray, x: np.ndarray, l1: float, l2: float) -> bool:
    """A Newton step of the coordinates that are not zero, shortened where one would change its sign; False: none."""
    support = np.flatnonzero(x)
    at, block = x[support], hessian[np.ix_(support, support)]
    slopes = gradient[support] + l2 * at + l1 * np.sign(at)
    block.ravel()[:: len(support) + 1] += l2
    scale = 1.0 / np.sqrt(np.maximum(block.diagonal(), np.finfo(float).tiny))
    try:
        step = -scale * np.linalg.solve(block * scale * scale[:, None] + _DAMPING * np.eye(len(at)), scale * slopes)
    except np.linalg.LinAlgError:
        return True  # sweeps go on
    slope = float(slopes @ step)
    if not np.isfinite(step).all() or slope >= 0.0:
        return True
    step *= min(1.0, -slope / max(float(step @ block @ step), np.finfo(float).tiny))
    if l1 > 0.0:
        step = _best_in_orthant(at, step, slopes, block)
    x[support] = at + step
    gradient += step @ hessian[support]
    return bool(np.abs(step).max(initial=0.0) > 0.0)


def _best_in_orthant(at: np.ndarray, step: np.ndarray, slopes: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Of parts of the step, with zero for coordinates that would change their sign, the one that lowers m most."""
    shares = 0.5 ** np.arange(_TRIALS)
    with np.errstate(divide="ignore"):
        ratios = np.where(step * at < 0.0, -at / step, np.inf)
    shares = np.append(shares, min(1.0, ratios.min()))  # up to the first change of a sign
    ends = at + shares[:, None] * step
    changes = np.where((ratios <= shares[:, None]) | (ends * at <= 0.0), -at, ends - at)
    values = changes @ slopes + 0.5 * ((changes @ block) * changes).sum(axis=1)
    return changes[values.argmin()]


def _dense_dot(data, indices, indptr, j, a, d, s):
    total, begin = 0.0, indptr[j]
    for i in range(a.size):
        total += data[begin + i] * a[i] * (d[i] - s[i])
    return total


def _dense_add(data, indices, indptr, j, delta, pi, d, s):
    begin = indptr[j]
    for i in range(d.size):
        change = delta * data[begin + i]
        d[i] += change
        s[i] += pi[i] * change


def _sparse_dot(data, indices, indptr, j, a, d, s):
    total = 0.0
    for e in range(indptr[j], indptr[j + 1]):
        i = indices[e]
        total += data[e] * a[i] * (d[i] - s[i])
    return total


def _sparse_add(data, indices, indptr, j, delta, pi, d, s):
    for e in range(indptr[j], indptr[j + 1]):
        i = indices[e]
        change = delta * data[e]
        d[i] += change
        s[i] += pi[i] * change


def _dense_sums(data, indices, indptr, j, weights):
    first, second, begin = 0.0, 0.0, indptr[j]
    for i in range(weights.size):
        product = data[begin + i] * weights[i]
        first += product
        second += product * data[begin + i]
    return first, second


def _sparse_sums(data, indices, indptr, j, weights):
    first, second = 0.0, 0.0
    for e in range(indptr[j], indptr[j + 1]):
        product = data[e] * weights[indices[e]]
        first += product
        second += product * data[e]
    return first, second


def _make_column_sums(sums):
    sums = element(sums)

    def column_sums(data, indices, indptr, columns, outputs, weights, first, second):
        for e in range(columns.size):
            first[e], second[e] = sums(data, indices, indptr, columns[e], weights[outputs[e]])

    return kernel(column_sums, reassociate=True, contract=True)


def _make_column_sweeps(dot, add):
    dot, add = element(dot), element(add)

    def intercept_steps(a, pi, d, s, gradient, diagonal):
        decrease = 0.0
        for k in range(diagonal.size):
            if diagonal[k] > 0.0:
                total = gradient[k]
                for i in range(s.size):
                    total += a[k, i] * (d[k, i] - s[i])
                delta = -total / diagonal[k]
                decrease += total * total / diagonal[k]
                for i in range(s.size):
                    d[k, i] += delta
                    s[i] += pi[k, i] * delta
        return decrease

    intercept_steps = element(intercept_steps)

    def column_sweeps(data, indices, indptr, columns, outputs, a, pi, d, s, gradient, diagonal, mixed, x,
                      intercept_gradient, intercept_diagonal, l1, l2, value, tolerance, max_sweeps):  # fmt: skip
        is_full, is_single, shift = True, intercept_diagonal.size == 1, 0.0
        for sweep in range(max_sweeps):
            is_full = is_full or sweep % _FULL_SWEEP == 0
            imbalance = intercept_steps(a, pi, d, s, intercept_gradient, intercept_diagonal)
            by_l2, size, slope, square, largest, decrease, n_visited = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0
            for e in range(x.size):
                if not (is_full or x[e] != 0.0):
                    continue
                n_visited += 1
                if not is_single and n_visited % _INTERCEPT_EVERY == 0:
                    imbalance += intercept_steps(a, pi, d, s, intercept_gradient, intercept_diagonal)
                j, k, h = columns[e], outputs[e], diagonal[e]
                q = gradient[e] + dot(data, indices, indptr, j, a[k], d[k], s) + shift * mixed[e]
                terms = gap_terms(x[e], q, l1, l2)
                by_l2, size, slope, square = by_l2 + terms[0], size + terms[1], slope + terms[2], square + terms[3]
                largest = maximum(largest, terms[4])
                delta = coordinate_step(x[e], q, h, l1, l2) - x[e]
                if delta != 0.0:
                    x[e] += delta
                    decrease += (h + l2) * delta * delta
                    add(data, indices, indptr, j, delta, pi[k], d[k], s)
                    if is_single and intercept_diagonal[0] > 0.0:
                        shift -= delta * mixed[e] / intercept_diagonal[0]
            if is_single:
                for i in range(s.size):
                    d[0, i] += shift
                shift = 0.0
            gap = bound_gap(by_l2, size, slope, square, largest, l1, l2, value, value) + imbalance
            if l1 + l2 == 0.0:
                gap = decrease + imbalance
            if gap <= tolerance:
                if is_full:
                    break
                is_full = True
            else:
                is_full = False
        if not is_single:
            intercept_steps(a, pi, d, s, intercept_gradient, intercept_diagonal)

    return kernel(column_sweeps, reassociate=True, contract=True)


# Kernels (data, indices, indptr, columns (m,), outputs (m,), a, pi, d (outputs, n), s (n,), gradient, diagonal, mixed,
# x (m,), intercept_gradient, intercept_diagonal (outputs,), l1, l2, value, tolerance, max_sweeps): sweeps over columns
# of a matrix, one after the other in `data`, or compressed. The gradient is that at the start plus
# Σ_i x_ij a_ki (d_ki − s_i) with the change d of the scores and s_i = Σ_k pi_ki d_ki. They change x, d and s. With one
# output the intercept follows each step of a coordinate, with `mixed` = Σ_i x_ij a_i; with more there are steps of the
# intercepts in between.
dense_column_sweeps: Any = _make_column_sweeps(_dense_dot, _dense_add)
sparse_column_sweeps: Any = _make_column_sweeps(_sparse_dot, _sparse_add)
# (data, indices, indptr, columns, outputs, weights (outputs, n), first, second (m,)): Σ_i w_i x_ij and Σ_i w_i x_ij²
dense_column_sums: Any = _make_column_sums(_dense_sums)
sparse_column_sums: Any = _make_column_sums(_sparse_sums)
