"""Which solver trains a model, and what each of them can do."""

from typing import Any

import numpy as np

from lifecycle.linear import coordinate_descent, exact, newton
from lifecycle.linear.capabilities import STEP_ARGUMENTS, Capabilities, why_not
from lifecycle.linear.epochs import full_batch, minibatch_many
from lifecycle.linear.learning_rate import is_proximal
from lifecycle.optim import Optimizer

WITHOUT_STEPS = {  # by the argument `optimizer`; "auto" takes the first that serves
    "exact": exact.CAPABILITIES,
    "newton": newton.CAPABILITIES,
    "coordinate_descent": coordinate_descent.CAPABILITIES,
}
# multiplications and elements of the moments or singular vectors of "exact", beyond which "newton" takes less time
_MAX_EXACT_PRODUCTS, _MAX_EXACT_ELEMENTS = 1 << 37, 1 << 25
_AUTO_BATCH_SIZES = {"gd": None, "sgd": 1}  # of batch_size="auto"; None: all rows
_AUTO_BATCH_SIZE = 64  # of the other rules

# for the documentation: what selects a solver, and what it can do
SOLVERS: dict[str, Capabilities] = {
    '"exact"': exact.CAPABILITIES,
    '"newton"': newton.CAPABILITIES,
    '"coordinate_descent"': coordinate_descent.CAPABILITIES,
    '"gd", or a rule with batch_size ≥ rows': full_batch.CAPABILITIES,
    '"sgd" with batch_size 1, without momentum and average': minibatch_many.SGD_CAPABILITIES,
    'other rules, such as "adam", and other batch sizes': minibatch_many.MINIBATCH_CAPABILITIES,
}


def choose_solver(model: Any, loss: Any, penalty: Any, X: Any) -> str:
    """The solver of optimizer="auto": the first of "exact", "newton", "coordinate_descent" and "sgd" that serves the
    arguments and the data.

    Arguments that only steps have, such as early_stopping, ask for steps. Where the steps of "sgd" would make X dense,
    it is "gd", unless batch_size says otherwise.
    """
    if all(getattr(model, argument) == unset for argument, unset in STEP_ARGUMENTS):
        for name, capabilities in WITHOUT_STEPS.items():
            affordable = name != "exact" or _is_exact_affordable(*X.shape)
            if affordable and why_not(capabilities, model, loss, penalty) is None:
                return name
    has_l1 = model.alpha * penalty.l1_weight(model.l1_ratio) > 0
    makes_dense = not isinstance(X, np.ndarray) and (model.average or has_l1)
    return "gd" if makes_dense and model.batch_size == "auto" else "sgd"


def _is_exact_affordable(n_samples: int, n_features: int) -> bool:
    rank = min(n_samples, n_features)
    return n_samples * n_features * rank <= _MAX_EXACT_PRODUCTS and max(n_features, rank) * rank <= _MAX_EXACT_ELEMENTS


def resolve_batch_size(model: Any, optimizer: Optimizer, n_rows: int) -> int:
    """Rows in a step."""
    if not isinstance(model.batch_size, str):
        return min(model.batch_size, n_rows)
    auto = _AUTO_BATCH_SIZES.get(optimizer.rule.name, _AUTO_BATCH_SIZE)
    return n_rows if auto is None else min(auto, n_rows)


def rule_capabilities(model: Any, optimizer: Optimizer, batch_size: int, n_rows: int) -> Capabilities:
    """What the solver can do that makes epochs of a rule; `n_rows`: those that one step may take."""
    if batch_size >= n_rows:
        return full_batch.CAPABILITIES
    is_sgd = is_proximal(optimizer) and batch_size == 1 and not model.average
    return minibatch_many.SGD_CAPABILITIES if is_sgd else minibatch_many.MINIBATCH_CAPABILITIES
