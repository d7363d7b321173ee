"""Ridge penalty w²/2 (Hoerl & Kennard, 1970)."""

from lifecycle._jit import element


@element
def value(w, l1_ratio):
    return 0.5 * w * w


@element
def gradient(w, l1_ratio):
    return w


@element
def l1_weight(l1_ratio):
    return 0.0


@element
def prox_params(step_size, l1_ratio):
    return (1.0 / (1.0 + step_size),)


@element
def prox(w, params):
    (shrinkage,) = params
    return shrinkage * w
