"""Half the squared error, as in scikit-learn's SGDRegressor: (z - y)² / 2."""

from lifecycle._jit import element, like

task = "regression"
steepest = 1.0


@element
def value(y, z, epsilon):
    return like(z, 0.5) * (z - y) * (z - y)


@element
def slope(y, z, epsilon):
    return z - y


@element
def curvature(y, z, epsilon):
    return like(z, 0.0) * z + like(z, 1.0)
