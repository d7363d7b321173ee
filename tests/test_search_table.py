"""The candidates of a search as a frame, a text table and a plot."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.svm import SVC

import lifecycle as lc

from .several import SeveralClassifiers, SeveralRidges

IRIS = load_iris(return_X_y=True)


CANCER = scale(load_breast_cancer().data), load_breast_cancer().target


DIABETES = load_diabetes(return_X_y=True)


ALPHAS = [0.0, 0.1, 1.0]


def test_the_table_of_candidates():
    pandas = pytest.importorskip("pandas")
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", SeveralClassifiers())])
    search = lc.GridSearchCV(pipeline, {"clf__alpha": [3.0, 0.0, 0.5]}).fit(*CANCER)
    frame = search.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["rank"].tolist() == [1, 2, 3]
    assert frame["mean"].tolist() == sorted(search.cv_results_["mean_test_score"], reverse=True)
    assert frame["param_clf__alpha"][0] == search.best_params_["clf__alpha"]
    best = lc.cross_validate(search.best_estimator_, *CANCER)
    np.testing.assert_allclose(frame[["low", "high"]].to_numpy()[0], best.interval(), rtol=1e-12)
    lines = search.summary().splitlines()
    assert lines[0].split() == ["rank", "score", "95", "%", "interval", "clf__alpha"]
    assert lines[1].startswith(f"1     {frame['mean'][0]:.4g}")
    many = lc.GridSearchCV(
        SeveralRidges(), {"alpha": np.geomspace(1e-3, 10, 13)}, scoring=["r2", "neg_max_error"], refit="r2"
    ).fit(*DIABETES)
    assert many.summary("r2").splitlines()[-1] == "and 3 more"
    with pytest.raises(ValueError, match="which metric: metric must be one of 'r2', 'neg_max_error'"):
        many.to_frame()
    single = lc.GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=lc.ShuffleSplit(1, random_state=0)).fit(*DIABETES)
    assert "none" in single.summary()


def test_the_plot_of_candidates():
    pytest.importorskip("matplotlib")
    import matplotlib.pyplot as plt

    alphas = np.geomspace(1e-3, 10, 5)
    search = lc.GridSearchCV(SeveralRidges(), {"alpha": alphas[::-1]}).fit(*DIABETES)
    axes = search.plot()
    line, chosen = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), alphas)
    np.testing.assert_array_equal(line.get_ydata(), search.cv_results_["mean_test_score"][::-1])
    assert chosen.get_xdata()[0] == search.best_params_["alpha"]
    assert axes.get_xscale() == "log"
    plt.close("all")
    two = lc.GridSearchCV(SeveralClassifiers(), {"alpha": ALPHAS, "max_iter": [1, 2]}).fit(*CANCER)
    with pytest.raises(ValueError, match="exactly one parameter that varies; these vary: alpha, max_iter"):
        two.plot()
    kinds = lc.GridSearchCV(SVC(), {"kernel": ["rbf", "linear"]}).fit(*IRIS)
    with pytest.raises(ValueError, match="a number, which kernel is not"):
        kinds.plot()
