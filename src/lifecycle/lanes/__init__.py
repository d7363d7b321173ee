"""Many linear models in one pass over X: the models of a task are trained together and share what can be shared."""

from ._epochs import by_epochs, first_rates, is_proximal, one_epoch
from ._exact import in_closed_form
from ._newton import by_newton
from ._outcome import Outcome, Settings
from ._rows import Rows
from ._steps import Steps, products
from ._task import Task
from ._weights import Weights

__all__ = [
    "Outcome", "Rows", "Settings", "Steps", "Task", "Weights", "by_epochs", "by_newton", "first_rates",
    "in_closed_form", "is_proximal", "one_epoch", "products",
]  # fmt: skip
