"""What the core install must do without torch; run by .ci/run in an empty venv."""

import importlib
import importlib.util
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris

import lifecycle as lc

assert importlib.util.find_spec("torch") is None, "torch is installed here: this proves nothing"

x = np.ones(3)
optimizer = lc.Adam(lr=0.1)
optimizer.step(x, np.ones(3), optimizer.init(x))
assert np.allclose(x, 0.9)
assert lc.minimize(lambda z: float(z @ z), [1.0, 2.0], jac=lambda z: 2 * z, optimizer=lc.GD(lr=0.3)).success

X, y = load_iris(return_X_y=True)
assert sum(len(test) for _, test in lc.KFold(5).split(X)) == len(X)
model = lc.LinearClassifier(random_state=0).fit(X, y)
folds = lc.cross_validate(model, X, y, cv=lc.StratifiedKFold(5, shuffle=True, random_state=0))
assert folds["test_score"].mean() > 0.9
assert lc.evaluate(model, X, y).metrics["accuracy"].value > 0.9
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "iris.safetensors"
    lc.save(lc.quantize(lc.prune(model, 0.25)), path)
    assert lc.load(path).score(X, y) > 0.8
    lc.report(Path(folder) / "report.html", folds, lc.evaluate(model, X, y))

for ask in (lambda: importlib.import_module("lifecycle.torch"), lambda: lc.torch.TorchClassifier):
    says = ""
    try:
        ask()
    except ImportError as error:
        says = str(error)
    assert "lifecycle-ml[torch]" in says, says
