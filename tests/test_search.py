"""The searches against scikit-learn's, one by one and through fit_many."""

import pickle

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from scipy import stats
from scipy.sparse import csr_matrix
from sklearn import model_selection
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, scale
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import lifecycle as lc
from lifecycle._threads import num_threads

from .several import CALLS, SeveralClassifiers, SeveralRidges

IRIS = load_iris(return_X_y=True)


CANCER = scale(load_breast_cancer().data), load_breast_cancer().target


DIABETES = load_diabetes(return_X_y=True)


ALPHAS = [0.0, 0.1, 1.0]


@pytest.fixture(autouse=True)
def _forget_calls():
    CALLS.clear()


def same(ours, theirs, exact=True):
    """Both searches found the same."""
    assert set(ours.cv_results_) == set(theirs.cv_results_)
    for key, values in theirs.cv_results_.items():
        if key.startswith("param"):
            assert list(map(str, ours.cv_results_[key])) == list(map(str, values))
        elif not key.endswith("_time"):
            np.testing.assert_allclose(ours.cv_results_[key], values, rtol=0 if exact else 1e-9, err_msg=key)
    for name in ("best_index_", "best_score_", "n_splits_", "multimetric_"):
        np.testing.assert_equal(getattr(ours, name, None), getattr(theirs, name, None))
    assert str(getattr(ours, "best_params_", None)) == str(getattr(theirs, "best_params_", None))
    assert hasattr(ours, "best_estimator_") == hasattr(theirs, "best_estimator_")
    assert hasattr(ours, "refit_time_") == hasattr(theirs, "refit_time_")


def both(estimator, grid, X, y, exact=True, fit=None, **options):
    ours = lc.GridSearchCV(estimator, grid, **options).fit(X, y, **(fit or {}))
    theirs = model_selection.GridSearchCV(estimator, grid, **options).fit(X, y, **(fit or {}))
    same(ours, theirs, exact)
    return ours, theirs


def most_alpha(results):
    return int(np.argmax(results["param_alpha"].astype(float)))


ONE_BY_ONE = {
    "tree": (DecisionTreeClassifier(random_state=0), {"max_depth": [1, 3]}, IRIS, {"return_train_score": True}),
    "several metrics": (
        LogisticRegression(),
        {"C": [0.1, 1.0]},
        CANCER,
        {"scoring": ["accuracy", "roc_auc"], "refit": "roc_auc", "cv": 3},
    ),
    "list of grids": (SVC(), [{"kernel": ["linear"]}, {"kernel": ["rbf"], "gamma": [0.1, 1]}], IRIS, {}),
    "pipeline": (make_pipeline(PCA(), Ridge()), {"pca__n_components": [2, 5], "ridge__alpha": [0.1, 1]}, DIABETES, {}),
    "no refit": (Ridge(), {"alpha": ALPHAS}, DIABETES, {"refit": False}),
    "callable refit": (Ridge(), {"alpha": ALPHAS}, DIABETES, {"refit": most_alpha}),
    "pairwise": (SVC(kernel="precomputed"), {"C": [0.1, 1]}, (IRIS[0] @ IRIS[0].T, IRIS[1]), {}),
    "groups": (Ridge(), {"alpha": ALPHAS}, DIABETES, {"cv": lc.GroupKFold(3), "fit": {"groups": np.arange(442) % 9}}),
}


@pytest.mark.parametrize("name", ONE_BY_ONE)
@pytest.mark.parametrize("progress", [None, True])
def test_any_estimator_is_searched_as_by_scikit_learn(name, progress):
    estimator, grid, (X, y), options = ONE_BY_ONE[name]
    theirs = model_selection.GridSearchCV(estimator, grid, **{k: v for k, v in options.items() if k != "fit"})
    ours = lc.GridSearchCV(estimator, grid, progress=progress, **{k: v for k, v in options.items() if k != "fit"})
    same(ours.fit(X, y, **options.get("fit", {})), theirs.fit(X, y, **options.get("fit", {})))


class TwoFaced(TransformerMixin, BaseEstimator):
    """Gives its training rows otherwise when it is fitted, as TargetEncoder does."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def fit_transform(self, X, y=None):
        return 1.5 * self.fit(X).transform(X)

    def transform(self, X):
        return np.asarray(X)


TOGETHER = {
    "regressor": (SeveralRidges(), {"alpha": ALPHAS}, DIABETES, {"return_train_score": True}, [15]),
    "classifier": (SeveralClassifiers(), {"alpha": ALPHAS, "max_iter": [1, 9]}, CANCER, {"cv": 3}, [18]),
    "several metrics": (
        SeveralClassifiers(),
        {"alpha": ALPHAS},
        CANCER,
        {"scoring": {"a": "accuracy", "b": "roc_auc"}, "refit": "b", "return_train_score": True},
        [15],
    ),
    "callable refit": (SeveralRidges(), {"alpha": ALPHAS}, DIABETES, {"refit": most_alpha}, [15]),
    "weights": (SeveralRidges(), {"alpha": ALPHAS}, DIABETES, {"fit": {"sample_weight": np.arange(442) % 3}}, [15]),
    "masks as folds": (
        SeveralRidges(),
        {"alpha": ALPHAS},
        DIABETES,
        {"cv": [(np.arange(442) % 3 > 0, np.arange(442) % 3 == 0), (np.arange(442) > 99, np.arange(442) < 100)]},
        [6],
    ),
    "sparse": (SeveralRidges(), {"alpha": ALPHAS[1:]}, (csr_matrix(DIABETES[0]), DIABETES[1]), {}, [10]),
    "pipeline": (
        Pipeline([("scale", StandardScaler()), ("clf", SeveralClassifiers())]),
        {"clf__alpha": ALPHAS},
        CANCER,
        {"return_train_score": True},
        [3] * 5,
    ),
    "earlier steps vary": (
        Pipeline([("best", SelectKBest()), ("scale", StandardScaler()), ("clf", SeveralClassifiers())]),
        {"best__k": np.array([2, 9]), "scale": [StandardScaler(), "passthrough"], "clf__alpha": ALPHAS},
        CANCER,
        {"cv": 3},
        [3] * 12,
    ),
    "no earlier steps": (Pipeline([("clf", SeveralClassifiers())]), {"clf__lr": [0.01, 0.1]}, CANCER, {}, [2] * 5),
    "sparse from a step": (
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), SeveralRidges()),
        {"severalridges__alpha": [1.0, 9.0]},
        (DIABETES[0].round(2)[:, :4], DIABETES[1]),
        {"cv": 3},
        [2] * 3,
    ),
    "fit_transform is not transform": (
        make_pipeline(TwoFaced(), SeveralRidges()),
        {"severalridges__alpha": ALPHAS},
        DIABETES,
        {"cv": 3, "return_train_score": True},
        [3] * 3,
    ),
    "weights of the last step": (
        make_pipeline(StandardScaler(), SeveralRidges()),
        {"severalridges__alpha": ALPHAS},
        DIABETES,
        {"fit": {"severalridges__sample_weight": np.arange(442) % 3}},
        [3] * 5,
    ),
    "own scorer": (
        make_pipeline(StandardScaler(), SeveralClassifiers()),
        {"severalclassifiers__alpha": ALPHAS},
        CANCER,
        {"scoring": lambda e, X, y: e[:1].transform(X).shape[1] + e.score(X, y)},
        [3] * 5,
    ),
    "scorer made by make_scorer": (
        make_pipeline(StandardScaler(), SeveralClassifiers()),
        {"severalclassifiers__alpha": ALPHAS},
        CANCER,
        {"scoring": make_scorer(accuracy_score)},
        [3] * 5,
    ),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_fit_many_gives_what_scikit_learn_gives(name):
    estimator, grid, (X, y), options, models = TOGETHER[name]
    ours, theirs = both(estimator, grid, X, y, exact=False, **options)
    assert CALLS == [(n, False) for n in models]
    assert type(ours.best_estimator_) is type(theirs.best_estimator_)
    if name != "callable refit":
        np.testing.assert_allclose(ours.score(X, y), theirs.score(X, y), rtol=1e-9)
    assert ours.n_features_in_ == X.shape[1]
    assert getattr(ours, "classes_", [0])[0] == 0


def test_data_frames_stay_data_frames():
    pandas = pytest.importorskip("pandas")
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), SeveralRidges())
    ours, theirs = both(pipeline, {"severalridges__alpha": ALPHAS}, X, y, exact=False)
    assert CALLS == [(3, False)] * 5
    assert list(ours.best_estimator_[-1].feature_names_in_) == list(X.columns)
    bare, _ = both(SeveralRidges(), {"alpha": ALPHAS}, X, y, exact=False)
    assert list(bare.feature_names_in_) == list(theirs.feature_names_in_)
    assert isinstance(ours.to_frame(), pandas.DataFrame)


@pytest.mark.parametrize("pipeline", [False, True])
def test_random_search(pipeline):
    estimator, prefix = SeveralRidges(), ""
    if pipeline:
        estimator, prefix = make_pipeline(StandardScaler(), SeveralRidges()), "severalridges__"
    draws = {f"{prefix}alpha": stats.loguniform(1e-3, 1e3)}
    options = {"n_iter": 7, "cv": 3}
    ours = lc.RandomizedSearchCV(estimator, draws, random_state=np.random.RandomState(3), **options).fit(*DIABETES)
    theirs = model_selection.RandomizedSearchCV(estimator, draws, random_state=np.random.RandomState(3), **options)
    same(ours, theirs.fit(*DIABETES), exact=False)
    assert CALLS == ([(7, False)] * 3 if pipeline else [(21, False)])


class Needy(TransformerMixin, BaseEstimator):
    """Takes an argument of fit."""

    def fit(self, X, y=None, shift=0.0):
        self.shift_ = shift
        return self

    def transform(self, X):
        return X - self.shift_


def test_what_fit_many_cannot_take_goes_one_by_one():
    needy = make_pipeline(Needy(), SeveralRidges())
    both(needy, {"severalridges__alpha": ALPHAS}, *DIABETES, fit={"needy__shift": 2.0})
    either = Pipeline([("scale", StandardScaler()), ("last", SeveralRidges())])
    both(either, {"last": [Ridge(), SeveralRidges()]}, *DIABETES)
    with sklearn.config_context(enable_metadata_routing=True):
        both(
            SeveralRidges().set_fit_request(sample_weight=True).set_score_request(sample_weight=False),
            {"alpha": ALPHAS},
            *DIABETES,
            fit={"sample_weight": np.arange(442.0)},
        )
    assert CALLS == []


class Alone(BaseEstimator):
    """Refuses to be fitted twice, or by another's parameters."""

    def __init__(self, alpha=None, noted=None):
        self.alpha, self.noted = alpha, noted

    def fit(self, X, y):
        assert not hasattr(self, "fitted_")
        self.noted.append(self.alpha)  # which a clone has of its own
        self.fitted_ = True
        return self

    def score(self, X, y):
        assert self.noted == [self.alpha]
        return self.alpha


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_one_by_one_every_fit_has_an_estimator_of_its_own(backend):
    given = Alone(noted=[])
    with parallel_config(backend, n_jobs=2):
        found = lc.GridSearchCV(given, {"alpha": [3.0, 1.0, 2.0]}, cv=3, error_score="raise").fit(*IRIS)
    assert found.best_params_ == {"alpha": 3.0}
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], [3.0, 1.0, 2.0])
    assert given.noted == []


def test_a_bad_candidate_does_not_spoil_the_others():
    for estimator, name in (
        (SeveralRidges(), "alpha"),
        (make_pipeline(StandardScaler(), SeveralRidges()), "severalridges__alpha"),
    ):
        grid = {name: [1.0, -1.0, 2.0]}
        with pytest.warns() as told:
            ours, _ = both(estimator, grid, *DIABETES, exact=False, error_score=-7.0, return_train_score=True)
        assert np.isfinite(ours.cv_results_["mean_test_score"][[0, 2]]).all()
        assert (ours.cv_results_["split3_test_score"] == -7.0).tolist() == [False, True, False]
        assert {w.category for w in told} == {FitFailedWarning}
        with pytest.raises(ValueError, match="alpha must be at least 0"):
            lc.GridSearchCV(estimator, grid, error_score="raise").fit(*DIABETES)
        with pytest.raises(ValueError, match="All the 5 fits failed"):
            lc.GridSearchCV(estimator, {name: [-1.0]}).fit(*DIABETES)
        with pytest.raises(ValueError, match="Invalid parameter 'beta'"):
            lc.GridSearchCV(estimator, {name.replace("alpha", "beta"): [1.0]}).fit(*DIABETES)


@pytest.mark.filterwarnings(
    "ignore:Scoring failed", "ignore:One or more of the", "ignore::sklearn.exceptions.FitFailedWarning"
)
def test_a_fold_with_one_class_a_step_that_fails_and_a_scorer_that_raises():
    X, y = CANCER[0], CANCER[1].copy()
    order = np.argsort(y, kind="stable")
    folds = [(order[:200], order[300:]), (np.arange(400), np.arange(400, 569))]
    ours, _ = both(SeveralClassifiers(), {"alpha": ALPHAS}, X, y, exact=False, cv=folds)
    assert np.isnan(ours.cv_results_["split0_test_score"]).all()
    assert np.isfinite(ours.cv_results_["split1_test_score"]).all()

    def moody(estimator, X, y):
        if len(y) == 88 and estimator.get_params()["alpha"] > 0.5:
            raise ZeroDivisionError("no score today")
        return {"n": len(y), "r2": estimator.score(X, y)}

    ours, _ = both(
        SeveralRidges(),
        {"alpha": ALPHAS},
        *DIABETES,
        exact=False,
        scoring={"a": lambda e, X, y: moody(e, X, y)["r2"], "r2": "r2"},
        refit="r2",
        return_train_score=True,
    )
    assert np.isfinite(ours.cv_results_["split0_test_a"]).all()
    assert np.isnan(ours.cv_results_["split4_test_a"]).tolist() == [False, False, True]
    with pytest.raises(ZeroDivisionError):
        lc.GridSearchCV(SeveralRidges(), {"alpha": ALPHAS}, scoring=moody, refit="r2", error_score="raise").fit(
            *DIABETES
        )
    CALLS.clear()

    def sometimes(X):
        if len(X) == 353:
            raise RuntimeError("not these rows")
        return X

    pipeline = make_pipeline(FunctionTransformer(sometimes), SeveralRidges())
    both(pipeline, {"severalridges__alpha": ALPHAS}, *DIABETES, exact=False)
    assert CALLS == [(3, False)] * 3


def test_the_callers_objects_are_untouched():
    scaler, last = StandardScaler(), SeveralRidges()
    search = lc.GridSearchCV(make_pipeline(scaler, last), {"standardscaler": [scaler], "severalridges__alpha": ALPHAS})
    X = DIABETES[0].copy()
    search.fit(X, DIABETES[1])
    assert set(vars(scaler)) == set(vars(StandardScaler()))
    assert set(vars(last)) == {"alpha"}
    assert np.array_equal(X, DIABETES[0])


def test_n_jobs_is_the_number_of_kernel_threads():
    seen = []

    class Looks(SeveralRidges):
        def fit_many(self, *args, **options):
            seen.append(num_threads())
            return super().fit_many(*args, **options)

    for n_jobs in (3, 1):
        lc.GridSearchCV(Looks(), {"alpha": ALPHAS}, n_jobs=n_jobs).fit(*DIABETES)
        lc.cross_validate(Looks(), *DIABETES, n_jobs=n_jobs)
    with parallel_config(n_jobs=2):
        lc.GridSearchCV(Looks(), {"alpha": ALPHAS}).fit(*DIABETES)
    lc.GridSearchCV(Looks(), {"alpha": ALPHAS}).fit(*DIABETES)
    assert seen == [3, 3, 1, 1, 2, num_threads()]


def test_nested_cross_validation_is_one_pass_per_outer_fold():
    search = lc.GridSearchCV(SeveralRidges(), {"alpha": ALPHAS}, cv=4)
    ours = lc.cross_validate(search, *DIABETES, cv=3, return_estimator=True)
    assert CALLS == [(12, False)] * 3
    theirs = model_selection.cross_validate(
        model_selection.GridSearchCV(SeveralRidges(), {"alpha": ALPHAS}, cv=4), *DIABETES, cv=3
    )
    np.testing.assert_allclose(ours["test_score"], theirs["test_score"], rtol=1e-9)
    assert [type(e) for e in ours["estimator"]] == [lc.GridSearchCV] * 3


@pytest.mark.parametrize("estimator", [Ridge(), SeveralRidges(), make_pipeline(StandardScaler(), SeveralRidges())])
@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning", "ignore:One or more")
def test_the_bar_counts_every_model(estimator, bad, monkeypatch):
    bars = []

    class Bar:
        def __init__(self, total, desc, disable, **rest):
            self.total, self.desc, self.disable, self.n = total, desc, disable, 0
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n=1):
            assert 0 <= self.n + n <= self.total
            self.n += n

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    name = "severalridges__alpha" if isinstance(estimator, Pipeline) else "alpha"
    search = lc.GridSearchCV(estimator, {name: [*ALPHAS, *([-1.0] if bad else [])]}, progress=True)
    search.fit(*DIABETES)
    assert [(b.total, b.n, b.desc, b.disable) for b in bars] == [
        (20 if bad else 15, 20 if bad else 15, "GridSearchCV", False)
    ]
    clone(search).set_params(progress=None, verbose=0).fit(*DIABETES)
    assert bars[1].disable
    lc.cross_validate(estimator, *DIABETES, progress=True)
    assert (bars[2].n, bars[2].disable) == (5, False)


def test_scikit_learns_callbacks_are_called():
    callback = pytest.importorskip("sklearn.callback")
    told = []

    class Tells:
        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            told.append(context.task_name)

        def teardown(self, estimator, context):
            pass

    assert isinstance(Tells(), callback.FitCallback)
    lc.GridSearchCV(SeveralRidges(), {"alpha": ALPHAS}).set_callbacks(Tells()).fit(*DIABETES)
    assert told.count("candidate-split-evaluation") == 15


def test_bad_arguments():
    for wrong in ({"progress": "yes"}, {"error_score": "no"}, {"n_jobs": 1.5}):
        with pytest.raises(ValueError, match=f"The '{next(iter(wrong))}' parameter of GridSearchCV must be"):
            lc.GridSearchCV(SeveralRidges(), {"alpha": ALPHAS}, **wrong).fit(*DIABETES)
    with pytest.raises(NotFittedError):
        lc.GridSearchCV(SeveralRidges(), {"alpha": ALPHAS}).summary()

    class Forgets(SeveralRidges):
        def fit_many(self, *args, **options):
            return super().fit_many(*args, **options)[1:]

    with pytest.raises(ValueError, match="gave 14 models for 15; see check_fit_many"):
        lc.GridSearchCV(Forgets(), {"alpha": ALPHAS}, error_score="raise").fit(*DIABETES)
    odd = make_pipeline(FunctionTransformer(lambda X: memoryview(np.ascontiguousarray(X))), SeveralRidges())
    with pytest.raises(TypeError, match="the steps before the last give a memoryview"):
        lc.GridSearchCV(odd, {"severalridges__alpha": ALPHAS}, error_score="raise").fit(*DIABETES)


def searches():
    for estimator, grid in ((LogisticRegression(), {"C": [0.1, 1.0]}), (SeveralRidges(), {"alpha": [0.1, 1.0]})):
        yield lc.GridSearchCV(estimator, grid, cv=2, error_score="raise")
        yield lc.RandomizedSearchCV(estimator, grid, cv=2, n_iter=2, random_state=0, error_score="raise")


# as scikit-learn's own tests of its searches do
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(list(searches()))
def test_searches_are_estimators(estimator, check):
    check(estimator)


def test_a_fitted_search_travels():
    search = lc.GridSearchCV(SeveralRidges(), {"alpha": ALPHAS}).fit(*DIABETES)
    again = pickle.loads(pickle.dumps(search))
    assert again.summary() == search.summary()
    np.testing.assert_array_equal(again.predict(DIABETES[0]), search.predict(DIABETES[0]))
    assert isinstance(search, model_selection.GridSearchCV)
