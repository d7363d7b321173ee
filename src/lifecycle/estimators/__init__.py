"""Linear models in scikit-learn's manner, trained by any update rule."""

from ._linear import LinearClassifier, LinearRegressor

__all__ = ["LinearClassifier", "LinearRegressor"]
