"""Half the squared error, as in scikit-learn's SGDRegressor: (z - y)² / 2."""

from lifecycle._jit import element

task = "regression"
steepest = 1.0


@element
def value(y, z, epsilon):
    return 0.5 * (z - y) ** 2


@element
def slope(y, z, epsilon):
    return z - y


@element
def curvature(y, z, epsilon):
    return 0.0 * z + 1.0
