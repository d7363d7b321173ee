"""Progress bars: which are shown, and that they change nothing."""

from unittest import mock

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lifecycle as lc

IRIS = load_iris(return_X_y=True)


def logistic():
    return make_pipeline(StandardScaler(), LogisticRegression())


@pytest.mark.parametrize(
    ("progress", "watched", "shown"),
    [(True, False, True), (False, True, False), (None, True, True), (None, False, False)],
)
def test_bars_are_shown_when_asked_and_change_nothing(progress, watched, shown, monkeypatch):
    """Every bar of the library is tqdm's, and is told whether to show itself."""
    lt = pytest.importorskip("lifecycle.torch")
    told = []

    def bar(**options):
        told.append((options["desc"], not options["disable"]))
        return mock.MagicMock()

    monkeypatch.setattr("tqdm.auto.tqdm", bar)
    monkeypatch.setattr("sys.stderr.isatty", lambda: watched, raising=False)
    result = lc.cross_validate(logistic(), *IRIS, progress=progress)
    lc.evaluate(logistic().fit(*IRIS), *IRIS, progress=progress)
    lc.LinearClassifier(max_iter=1, tol=None, progress=progress).fit(*IRIS)
    lt.TorchClassifier(max_epochs=1, progress=progress).fit(IRIS[0].astype(np.float32), IRIS[1])
    names = ["cross_validate", "evaluate: ROC curves", "LinearClassifier", "TorchClassifier"]
    assert told == [(name, shown) for name in names]
    monkeypatch.undo()
    np.testing.assert_array_equal(result["test_score"], lc.cross_validate(logistic(), *IRIS)["test_score"])
