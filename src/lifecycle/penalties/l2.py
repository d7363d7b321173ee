"""Ridge penalty w²/2 (Hoerl & Kennard, 1970)."""

from lifecycle._jit import element


@element
def value(w, l1_ratio):
    return 0.5 * w * w


@element
def slope(w, l1_ratio):
    return w


@element
def kink(l1_ratio):
    return 0.0


@element
def step(t, l1_ratio):
    return (1.0 / (1.0 + t),)


@element
def prox(w, s):
    return s[0] * w
