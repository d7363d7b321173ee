"""What the core install must do without torch; run by .ci/run in an empty venv."""

import importlib
import importlib.util

import numpy as np

import lifecycle as lc

assert importlib.util.find_spec("torch") is None, "torch is installed here: this proves nothing"

x = np.ones(3)
optimizer = lc.Adam(lr=0.1)
optimizer.step(x, np.ones(3), optimizer.init(x))
assert np.allclose(x, 0.9)
assert lc.minimize(lambda z: float(z @ z), [1.0, 2.0], jac=lambda z: 2 * z, optimizer=lc.GD(lr=0.3)).success

says = ""
try:
    importlib.import_module("lifecycle.torch")
except ImportError as error:
    says = str(error)
assert "lifecycle-ml[torch]" in says, says
