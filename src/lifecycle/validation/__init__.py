"""Cross-validation and searches that return fold scores, out-of-fold predictions, and intervals of the mean score."""

from lifecycle.validation._compare import Comparison, compare
from lifecycle.validation._corrected_t_interval import Interval
from lifecycle.validation._cross_validate import cross_validate
from lifecycle.validation._fit_many_protocol import check_fit_many
from lifecycle.validation._one_standard_error import OneStandardError
from lifecycle.validation._result import CVResult
from lifecycle.validation._search import GridSearchCV, RandomizedSearchCV

__all__ = [
    "CVResult",
    "Comparison",
    "GridSearchCV",
    "Interval",
    "OneStandardError",
    "RandomizedSearchCV",
    "check_fit_many",
    "compare",
    "cross_validate",
]
