"""One update of the coefficients of linear models, the same for one model and for many, in kernels and on arrays.

A rule moves a coefficient w along the gradient g of the mean loss, and the penalty α P(w) enters in one of these ways:

* smooth penalty: w ← rule(w, g + α P'(w));
* proximal step, where the rule is w - lr g: w ← prox(rule(w, g)), the minimizer over u of lr α P(u) + (u - w)²/2;
* the same with a diagonal preconditioner d: w ← prox(w - lr d g), of lr d α P;
* orthant-wise step (Andrew & Gao, 2007), which brings an l1 term into any rule: w ← project(rule(w, d)), where d is
  the pseudo-gradient and the projection stops at zero a coefficient that would change its sign.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from lifecycle._jit import element, like, maximum, minimum, sign, where
from lifecycle.loops._update import three_slot_update

SMOOTH, PROXIMAL, ORTHANT, PRECONDITIONED = 0, 1, 2, 3


def update_kind(is_proximal: bool, l1_weight: float, is_preconditioned: bool = False) -> int:
    """How the penalty enters; `is_proximal`: the rule is -lr g; `l1_weight`: alpha times the weight of |w|."""
    return PRECONDITIONED if is_preconditioned else PROXIMAL if is_proximal else ORTHANT if l1_weight > 0 else SMOOTH


@element
def pseudo_gradient(w, g, l1_weight):
    """Gradient at w with the subgradient of l1_weight |w| of least size; zero where it holds w at zero."""
    held = where(w == like(w, 0.0), minimum(maximum(g, -l1_weight), l1_weight), like(w, 0.0))
    return g + l1_weight * sign(w) - held


@element
def project_orthant(new, w, d):
    """The new coefficient, or 0 if it left the orthant of w (of -d, where w is zero)."""
    zero = like(w, 0.0)
    return where(new * where(w == zero, -sign(d), sign(w)) > zero, new, zero)


class CoefficientUpdates(NamedTuple):
    """Functions of (w, g, slots, e, s, …), for element e with its slots and the coefficients s of a rule's step.

    smooth (…, alpha, l1_ratio), proximal (…, prox_params), orthant (…, alpha, l1_ratio, l1_weight).
    """

    smooth: Callable
    proximal: Callable
    orthant: Callable


def coefficient_updates(rule_update: Callable, penalty_gradient: Callable, prox: Callable) -> CoefficientUpdates:
    """The three updates; `rule_update` (w, g, slots, e, s) -> w."""

    def smooth(w, g, slots, e, s, alpha, l1_ratio):
        return rule_update(w, g + alpha * penalty_gradient(w, l1_ratio), slots, e, s)

    def proximal(w, g, slots, e, s, prox_params):
        return prox(rule_update(w, g, slots, e, s), prox_params)

    def orthant(w, g, slots, e, s, alpha, l1_ratio, l1_weight):
        d = pseudo_gradient(w, g + alpha * penalty_gradient(w, l1_ratio), l1_weight)
        return project_orthant(rule_update(w, d, slots, e, s), w, d)

    return CoefficientUpdates(smooth, proximal, orthant)


@cache
def compiled_updates(update: Callable, n_slots: int, penalty_gradient: Callable, prox: Callable) -> tuple:
    """(rule_update, smooth, proximal, orthant) for kernels, in which slots (n_slots, elements) change in place."""
    apply = three_slot_update(update, n_slots)

    def rule_update(p, g, slots, e, s):
        a = slots[0, e] if n_slots > 0 else p
        b = slots[1, e] if n_slots > 1 else p
        c = slots[2, e] if n_slots > 2 else p
        p, a, b, c = apply(p, g, a, b, c, s)
        if n_slots > 0:
            slots[0, e] = a
        if n_slots > 1:
            slots[1, e] = b
        if n_slots > 2:
            slots[2, e] = c
        return p

    rule_update = element(rule_update)
    updates = coefficient_updates(rule_update, penalty_gradient, prox)
    return rule_update, *map(element, updates)


@cache
def sample_loss(functions: tuple) -> Callable:
    """(targets, scores, epsilon, dloss) -> loss of one sample; its derivatives by the scores go to `dloss`.

    `functions`: those of `Loss.functions`. Outside kernels, elements of targets, scores and dloss may be arrays with an
    element per sample.
    """
    if len(functions) == 3:
        multinomial_exp, multinomial_dloss, multinomial_value = functions

        def loss(y, z, epsilon, dloss):
            z_max = z[0]
            for k in range(1, len(z)):
                z_max = maximum(z_max, z[k])
            sum_exp, z_true = 0.0 * z_max, 0.0 * z_max
            for k in range(len(z)):
                dloss[k] = multinomial_exp(z[k], z_max)
                sum_exp = sum_exp + dloss[k]
                z_true = z_true + y[k] * (z[k] - z_max)
            for k in range(len(z)):
                dloss[k] = multinomial_dloss(y[k], dloss[k], sum_exp)
            return multinomial_value(z_true, sum_exp)

    else:
        derivative, value = functions

        def loss(y, z, epsilon, dloss):
            total = 0.0
            for k in range(len(z)):
                dloss[k] = derivative(y[k], z[k], epsilon)
                total += value(y[k], z[k], epsilon)
            return total

    return element(loss)


@element
def weighted(weight, value):
    """weight * value, and 0 for a row of weight 0, whose value may be infinite."""
    zero = like(value, 0.0)
    return where(weight != zero, weight * value, zero)


@element
def _number(y, label):
    return y


@element
def _plus_or_minus_one(y, label):
    return where(y == label, like(y, 1.0), like(y, -1.0))


@element
def one_hot(y, label):
    """1 if the class code y is this label, else 0."""
    return where(y == label, like(y, 1.0), like(y, 0.0))


def target_encoder(task: str) -> Callable:
    """(y, label of the model) -> target of a loss: y holds numbers, or class codes."""
    return _number if task == "regression" else _plus_or_minus_one


def strided_tuple(n: int) -> Callable:
    """(a, i, stride) -> (a[i], a[i + stride], …), n numbers."""
    if n == 0:
        return element(lambda a, i, stride: ())
    first, last = strided_tuple(n - 1), n - 1
    return element(lambda a, i, stride: first(a, i, stride) + (a[i + last * stride],))


def rule_arguments(defaults: tuple) -> tuple[Callable, int]:
    """(row of numbers) -> arguments of a rule's `step` after t, of the types of its defaults; and how many numbers."""
    if not defaults:
        return element(lambda row: ()), 0
    first, i = rule_arguments(defaults[:-1])
    last = defaults[-1]
    if isinstance(last, tuple):
        if len(last) != 2:
            raise ValueError(f"a hyperparameter of a rule is a number, a flag or a pair of numbers; got {last!r}")
        return element(lambda row: first(row) + ((row[i], row[i + 1]),)), i + 2
    if isinstance(last, bool):
        return element(lambda row: first(row) + (row[i] != 0.0,)), i + 1
    return element(lambda row: first(row) + (row[i],)), i + 1


def flatten_hyperparameters(defaults: dict[str, Any], hyper: dict[str, Any]) -> list[float]:
    """The hyperparameters of a model as numbers, in the order of the rule's defaults."""
    values = (hyper[name] for name in defaults)
    return [float(x) for value in values for x in (value if isinstance(value, tuple) else (value,))]
