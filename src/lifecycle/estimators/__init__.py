"""Linear models in scikit-learn's manner, trained by any update rule."""

from ._classifier import LinearClassifier
from ._regressor import LinearRegressor

__all__ = ["LinearClassifier", "LinearRegressor"]
