"""Which solver trains a model, and what each of them can do."""

from typing import Any

from lifecycle.linear import coordinate_descent, exact, newton
from lifecycle.linear.capabilities import Capabilities
from lifecycle.linear.epochs import full_batch, minibatch_many
from lifecycle.linear.learning_rate import is_proximal
from lifecycle.optim import Optimizer

WITHOUT_STEPS = {  # by the argument `optimizer`
    "exact": exact.CAPABILITIES,
    "newton": newton.CAPABILITIES,
    "coordinate_descent": coordinate_descent.CAPABILITIES,
}
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
