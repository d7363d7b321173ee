"""No penalty: zero."""

from lifecycle._jit import element, like


@element
def value(w, l1_ratio):
    return 0.0 * w


@element
def gradient(w, l1_ratio):
    return like(w, 0.0) * w


@element
def l1_weight(l1_ratio):
    return 0.0


@element
def prox_params(step_size, l1_ratio):
    return (1.0,)


@element
def prox(w, params):
    return w
