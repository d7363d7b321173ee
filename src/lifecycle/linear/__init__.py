"""Linear models in scikit-learn's manner, trained by any update rule."""

from lifecycle.linear.classifier import LinearClassifier
from lifecycle.linear.regressor import LinearRegressor

__all__ = ["LinearClassifier", "LinearRegressor"]
