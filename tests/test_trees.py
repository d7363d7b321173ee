"""The layout of tree ensembles, and predictions from it, against scikit-learn's own."""

import pickle
import tracemalloc

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_linnerud
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

import lifecycle as lc
from lifecycle.store.adapters import adapter_for
from lifecycle.trees import LeafTable, Splits, TreeEnsemble, decode, encode, preorder

CLASSIFIERS = [
    DecisionTreeClassifier(random_state=0),
    DecisionTreeClassifier(max_leaf_nodes=9, random_state=0),  # not grown depth first
    ExtraTreeClassifier(random_state=0),
    RandomForestClassifier(20, class_weight="balanced", random_state=0),
    ExtraTreesClassifier(20, random_state=0),
    GradientBoostingClassifier(n_estimators=15, random_state=0),
    HistGradientBoostingClassifier(max_iter=15, random_state=0),
]
REGRESSORS = [
    DecisionTreeRegressor(random_state=0),
    ExtraTreeRegressor(random_state=0),
    RandomForestRegressor(20, random_state=0),
    ExtraTreesRegressor(20, random_state=0),
    GradientBoostingRegressor(n_estimators=15, random_state=0),
    GradientBoostingRegressor(n_estimators=15, loss="quantile", init="zero", random_state=0),
    HistGradientBoostingRegressor(max_iter=15, random_state=0),
    HistGradientBoostingRegressor(max_iter=15, loss="poisson", random_state=0),
    HistGradientBoostingRegressor(max_iter=15, loss="gamma", random_state=0),
]


def flat(model):
    return adapter_for(model).first_trees(model, 1.0)


def name_of(model):
    changed = {k: v for k, v in model.get_params().items() if v != type(model)().get_params()[k]}
    return f"{type(model).__name__}({', '.join(changed)})"


def on_thresholds(model, X):
    """Rows whose values are those that the trees compare with, and their neighbours in float32 and float64."""
    ensemble = flat(model).ensemble
    rows = [X]
    for step in (0, 1, -1):
        for dtype in (np.float32, np.float64):
            changed = X.astype(dtype)
            for feature in range(X.shape[1]):
                at = ensemble.splits.threshold[ensemble.splits.feature == feature].astype(dtype)
                if len(at):
                    at = np.resize(at, len(X))
                    changed[:, feature] = np.nextafter(at, dtype(step * np.inf)) if step else at
            rows.append(changed.astype(np.float64))
    rows = np.concatenate(rows)
    return rows[np.isfinite(rows.astype(np.float32)).all(axis=1)]


@pytest.mark.parametrize("data", [load_iris, load_breast_cancer, load_digits], ids=lambda f: f.__name__)
@pytest.mark.parametrize("model", CLASSIFIERS, ids=name_of)
def test_probabilities_are_equal_to_the_last_bit(model, data):
    X, y = data(return_X_y=True)
    model.fit(X[::2], data().target_names[y[::2]])
    rows, ours = on_thresholds(model, X), flat(model)
    for part in (rows, rows[:1], rows[:7], rows.astype(np.float32), np.asfortranarray(rows), rows.tolist()[:20]):
        # the sums are equal to the last bit; numpy adds the terms of a softmax in another order along other strides
        rtol = 1e-14 if isinstance(model, HistGradientBoostingClassifier) and ours.link == "softmax" else 0
        np.testing.assert_allclose(ours.predict_proba(part), model.predict_proba(part), rtol=rtol, atol=0)
        np.testing.assert_array_equal(ours.predict(part), model.predict(part))
    assert ours.score(X, data().target_names[y]) == model.score(X, data().target_names[y])
    np.testing.assert_array_equal(ours.classes_, model.classes_)


@pytest.mark.parametrize("model", REGRESSORS, ids=name_of)
def test_values_are_equal_to_the_last_bit(model):
    X, y = load_diabetes(return_X_y=True)
    model.fit(X[::2], y[::2])
    rows, ours = on_thresholds(model, X), flat(model)
    for part in (rows, rows[:1], rows.astype(np.float32)):
        np.testing.assert_array_equal(ours.predict(part), model.predict(part))
    assert ours.score(X, y) == pytest.approx(model.score(X, y))


@pytest.mark.parametrize("model", [RandomForestRegressor(20, random_state=0), DecisionTreeRegressor()], ids=name_of)
def test_several_targets(model):
    X, y = load_linnerud(return_X_y=True)
    np.testing.assert_array_equal(flat(model.fit(X, y)).predict(X), model.predict(X))


@pytest.mark.parametrize("model", [ExtraTreesClassifier(20, random_state=0), DecisionTreeClassifier()], ids=name_of)
def test_several_targets_of_classes(model):
    X, y = load_digits(return_X_y=True)
    model.fit(X, np.stack([y, y % 3], axis=1))
    ours = flat(model)
    for mine, theirs in zip(ours.predict_proba(X), model.predict_proba(X), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(ours.predict(X), model.predict(X))


@pytest.mark.parametrize(
    "model",
    [RandomForestClassifier(20, random_state=0), DecisionTreeClassifier(), HistGradientBoostingClassifier(max_iter=15)],
    ids=name_of,
)
@pytest.mark.parametrize("missing_in_training", [True, False])
def test_missing_values_take_the_same_way(model, missing_in_training):
    X, y = load_breast_cancer(return_X_y=True)
    holes = np.where(np.random.RandomState(0).rand(*X.shape) < 0.2, np.nan, X)
    model.fit(holes if missing_in_training else X, y)
    np.testing.assert_array_equal(flat(model).predict_proba(holes), model.predict_proba(holes))


def categorical_table(seed=0, n=600):
    pd = pytest.importorskip("pandas")
    rng = np.random.RandomState(seed)
    table = pd.DataFrame(
        {
            "income": rng.gamma(2.0, 20.0, n),
            "town": pd.Categorical(rng.choice(["Kiel", "Jena", "Ulm", "Bonn", None], n)),
            "age": np.where(rng.rand(n) < 0.1, np.nan, rng.randint(18, 90, n)),
            "plan": pd.Categorical(rng.choice([3, 1, 7], n)),
        }
    )
    y = (table["income"] + 20 * (table["town"].isin(["Jena", "Ulm"])) + rng.randn(n) * 5 > 50).astype(int)
    return table, y


def test_categories_and_missing_values_of_a_table():
    table, y = categorical_table()
    model = HistGradientBoostingClassifier(max_iter=30, min_samples_leaf=5).fit(table, y)
    ours = flat(model)
    assert (ours.ensemble.splits.category_set >= 0).any()
    rows = categorical_table(1)[0]
    rows["town"] = rows["town"].cat.add_categories(["Rome"])
    rows.loc[:20, "town"] = "Rome"  # not among those of the training
    for part in (rows, rows[:1], rows.astype({"town": object})):
        np.testing.assert_array_equal(ours.predict_proba(part), model.predict_proba(part))
    with pytest.raises(ValueError, match="columns of X are not those"):
        ours.predict(rows[["town", "income", "age", "plan"]])


def test_categories_that_are_numbers_of_an_array():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.randint(0, 30, 900), rng.randn(900), rng.randint(5, 9, 900)]).astype(float)
    X[rng.rand(*X.shape) < 0.05] = np.nan
    y = np.nan_to_num(X[:, 0] * 7 % 11 + X[:, 1] + 3 * (X[:, 2] == 6))
    model = HistGradientBoostingRegressor(max_iter=30, categorical_features=[0, 2]).fit(X[:600], y[:600])
    rows = np.concatenate([X[600:], [[99, 0, 5.5], [-1, 0, 7], [3.5, 0, 6.5]]])
    np.testing.assert_array_equal(flat(model).predict(rows), model.predict(rows))


def test_sparse_rows():
    from scipy import sparse

    X, y = load_digits(return_X_y=True)
    model = RandomForestClassifier(10, random_state=0).fit(sparse.csr_array(X), y)
    np.testing.assert_array_equal(flat(model).predict_proba(sparse.csr_array(X)), model.predict_proba(X))
    boosted = HistGradientBoostingClassifier(max_iter=3).fit(X, y)
    with pytest.raises(ValueError, match="does not accept sparse rows"):
        flat(boosted).predict(sparse.csr_array(X))


def test_threads_do_not_change_a_bit():
    X, y = load_digits(return_X_y=True)
    ours, rows = flat(RandomForestClassifier(60, random_state=0).fit(X, y)), np.tile(X, (8, 1))
    with lc.threads(1):
        alone = ours.predict_proba(rows)
    with lc.threads(3):
        np.testing.assert_array_equal(ours.predict_proba(rows), alone)


def test_a_pipeline_keeps_its_steps():
    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0)).fit(X, y)
    ours = flat(model)
    np.testing.assert_array_equal(ours.predict_proba(X), model.predict_proba(X))
    assert type(model[-1]) is RandomForestClassifier


@pytest.mark.parametrize("model", [*CLASSIFIERS, *REGRESSORS], ids=name_of)
def test_encoded_and_decoded_is_the_same(model):
    X, y = load_digits(return_X_y=True)
    ours = flat(model.fit(X, y + 1))
    numbers, arrays = encode(ours.ensemble)
    back = decode(numbers, dict(arrays))
    for name in ("is_leaf", "leaf"):
        np.testing.assert_array_equal(getattr(back, name), getattr(ours.ensemble, name))
    for part in ("splits", "leaves"):
        for name, theirs in vars(getattr(ours.ensemble, part)).items():
            mine = getattr(getattr(back, part), name)
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype


def test_a_forest_takes_a_twentieth_of_its_pickle():
    X, y = load_digits(return_X_y=True)
    model = RandomForestClassifier(30, random_state=0).fit(X, y)
    _, arrays = encode(flat(model).ensemble)
    assert 20 * sum(a.nbytes for a in arrays.values()) < len(pickle.dumps(model))


def test_the_first_trees():
    X, y = load_digits(return_X_y=True)
    model = RandomForestClassifier(20, random_state=0).fit(X, y)
    shorter = adapter_for(model).first_trees(model, 0.25)
    model.estimators_ = model.estimators_[:5]
    np.testing.assert_array_equal(shorter.predict_proba(X), model.predict_proba(X))
    boosted = GradientBoostingClassifier(n_estimators=8, random_state=0).fit(X, y)
    shorter = adapter_for(boosted).first_trees(boosted, 0.5)
    assert shorter.n_trees == 4 * 10
    np.testing.assert_array_equal(shorter.predict_proba(X), list(boosted.staged_predict_proba(X))[3])


# -- malformed layouts -------------------------------------------------------------------------------------------------


def stump(**changed):
    """One split of feature 1 at 0.5, leaves of 2 and 3."""
    arrays = {
        "feature": np.array([1], np.int32), "threshold": np.array([0.5], np.float32),
        "missing_left": np.array([False]), "category_set": np.array([-1], np.int32),
        "categories": np.empty((0, 32), np.uint8),
    }  # fmt: skip
    leaves = {"start": np.array([0, 1, 2]), "output": np.zeros(2, np.int32), "value": np.array([2.0, 3.0])}
    whole = {"n_features": 2, "n_outputs": 1, "n_trees": 1, "is_leaf": np.array([False, True, True]),
             "leaf": np.array([0, 1], np.int32)}  # fmt: skip
    for name, value in changed.items():
        next(part for part in (arrays, leaves, whole) if name in part)[name] = value
    return TreeEnsemble(splits=Splits(**arrays), leaves=LeafTable(**leaves), **whole)


def test_a_stump():
    assert stump().links()[0].tolist() == [0]
    assert [side.tolist() for side in stump().links()[1:]] == [[-1], [-2]]


@pytest.mark.parametrize(
    "changed",
    [
        {"n_trees": 2},
        {"n_trees": 0},
        {"is_leaf": np.array([True, False, True])},
        {"is_leaf": np.array([True, True, False])},
        {"is_leaf": np.array([False, True, True, True]), "leaf": np.zeros(3, np.int32)},
        {"feature": np.array([2], np.int32)},
        {"feature": np.array([-1], np.int32)},
        {"threshold": np.array([np.nan], np.float32)},
        {"threshold": np.array([], np.float32)},
        {"leaf": np.array([0, 2], np.int32)},
        {"leaf": np.array([0, -1], np.int32)},
        {"category_set": np.array([0], np.int32)},
        {"output": np.array([0, 1], np.int32)},
        {"value": np.array([2.0, np.inf])},
        {"value": np.array([2.0])},
        {"start": np.array([0, 3, 2])},
        {"start": np.array([1, 1, 2])},
        {"categories": np.zeros((1, 31), np.uint8)},
    ],
    ids=str,
)
def test_malformed_ensembles_are_refused(changed):
    with pytest.raises(ValueError):  # noqa: PT011 - each has a sentence of its own
        stump(**changed)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([1, 0, -1], [2, 2, -1]),  # back to the root
        ([1, -1, -1], [1, -1, -1]),  # a node reached twice
        ([1, -1, -1], [7, -1, -1]),  # outside
        ([1, -1, -1], [-1, -1, -1]),  # one child
        ([-1, -1], [-1, -1]),  # a node that is not reached
        ([], []),
    ],
)
def test_links_that_make_no_tree_are_refused(left, right):
    with pytest.raises(ValueError, match="do not make a tree"):
        preorder(np.array(left, np.int64), np.array(right, np.int64))


def test_preorder():
    assert preorder(np.array([2, -1, 3, -1, -1]), np.array([1, -1, 4, -1, -1])).tolist() == [0, 2, 3, 4, 1]


def test_mutated_encodings_are_refused_or_describe_trees():
    X, y = load_iris(return_X_y=True)
    numbers, arrays = encode(flat(RandomForestClassifier(5, random_state=0).fit(X, y)).ensemble)
    rng, refused, rows = np.random.RandomState(0), 0, X.astype(np.float32)
    for _ in range(300):
        changed = {name: array.copy() for name, array in arrays.items()}
        name = rng.choice(list(changed))
        kind = rng.randint(4)
        if kind == 0:
            raw = changed[name].view(np.uint8).reshape(-1)
            raw[rng.randint(len(raw))] ^= 1 << rng.randint(8)
        elif kind == 1:
            changed[name] = changed[name][: rng.randint(len(changed[name]))]
        elif kind == 2:
            changed[name] = changed[name].astype(rng.choice([np.int64, np.float32, np.uint16]))
        else:
            numbers_now = {**numbers, rng.choice(list(numbers)): int(rng.choice([0, -1, 3, 2**31, 2**40]))}
        try:
            ensemble = decode(numbers_now if kind == 3 else numbers, changed)
        except (ValueError, KeyError):
            refused += 1
            continue
        ours = flat(RandomForestClassifier(1).fit(X, y))
        ours.ensemble, ours._nodes = ensemble, None
        ours.baseline = np.zeros(ensemble.n_outputs)
        if ensemble.n_features == 4:
            assert ours._raw_predictions(rows).shape == (150, ensemble.n_outputs)
    assert refused > 100


@pytest.mark.parametrize(
    ("number", "array", "value"),
    [
        ("n_outputs", None, 10**9),
        ("n_features", None, -1),
        ("n_nodes", None, 2**30),
        ("bits", None, 16),
        (None, "leaf", np.full(8, 2**31 - 1, np.uint32)),
        (None, "leaf_size", np.full(3, 2**31 - 1, np.uint32)),
        (None, "leaf_value_code", np.full(9, 200, np.uint8)),
    ],
)
def test_numbers_of_an_encoding_do_not_decide_what_is_allocated(number, array, value):
    X, y = load_diabetes(return_X_y=True)
    y = y.round(-2)  # leaves that repeat
    numbers, arrays = encode(flat(RandomForestRegressor(2, max_depth=2, random_state=0).fit(X, y)).ensemble)
    numbers, arrays = (
        {**numbers, **({number: value} if number else {})},
        {**arrays, **({array: value} if array else {})},
    )
    tracemalloc.start()
    with pytest.raises((ValueError, KeyError)):  # what `load` translates
        decode(numbers, arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_outputs_within_a_leaf_ascend():
    two = {"n_outputs": 2, "start": np.array([0, 2, 3]), "value": np.ones(3)}
    assert stump(**two, output=np.array([0, 1, 0], np.int32)).n_outputs == 2
    for output in ([1, 0, 0], [0, 0, 1]):
        with pytest.raises(ValueError, match="do not ascend"):
            stump(**two, output=np.array(output, np.int32))


# -- input -------------------------------------------------------------------------------------------------------------


def test_bad_rows_are_named():
    X, y = load_iris(return_X_y=True)
    ours = flat(GradientBoostingClassifier(n_estimators=3).fit(X, y))
    for bad, text in ((np.nan, "row 7 of X has NaN, infinity"), (1e39, "row 7 of X has"), (-np.inf, "row 7")):
        rows = X.copy()
        rows[7, 2] = bad
        with pytest.raises(ValueError, match=text):
            ours.predict(rows)
    with pytest.raises(ValueError, match="X has 3 features; this model was trained on 4"):
        ours.predict(X[:, :3])
    with pytest.raises(ValueError, match="two dimensions"):
        ours.predict(X[0])


def test_models_that_are_not_supported_say_so():
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(lc.UnsupportedModel, match="not fitted"):
        flat(RandomForestRegressor())
    with pytest.raises(lc.UnsupportedModel, match="starts from the predictions of LinearRegression"):
        flat(GradientBoostingRegressor(init=LinearRegression(), n_estimators=2).fit(X, y))
    with pytest.raises(lc.UnsupportedModel, match="no weight"):
        lc.prune(RandomForestRegressor(3).fit(X, y), 0.5)


# -- compress ----------------------------------------------------------------------------------------------------------


def test_compress_leaves_trees_out_with_a_certificate():
    X, y = load_digits(return_X_y=True)
    model = RandomForestClassifier(100, random_state=0).fit(X[:600], y[:600])
    result = lc.compress(model, X[600:], y[600:], max_drop=0.03, random_state=0, progress=False)
    assert result.certificate.holds
    assert result.model.n_trees < 100
    assert result.size_after < result.size_before
    assert "% of the trees" in repr(result)
    assert abs(result.model.score(X[600:], y[600:]) - model.score(X[600:], y[600:])) < 0.03


def test_compress_returns_the_same_predictions_where_nothing_passes():
    X, y = load_digits(return_X_y=True)
    model = GradientBoostingClassifier(n_estimators=2, max_depth=2, random_state=0).fit(X[:500], y[:500])
    result = lc.compress(model, X[500:], y[500:], max_drop=0.01, random_state=0, progress=False)
    assert result.best is None
    np.testing.assert_array_equal(result.model.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="leave objective"):
        lc.compress(model, X, y, max_drop=0.2, objective="latency")


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [*CLASSIFIERS, *REGRESSORS], ids=name_of)
def test_a_loaded_model_is_the_saved_one(model, tmp_path):
    X, y = load_diabetes(return_X_y=True) if model in REGRESSORS else load_digits(return_X_y=True)
    model.fit(X[::2], y[::2] if model in REGRESSORS else np.array(list("abcdefghij"))[y[::2]])
    lc.save(model, tmp_path / "model.lc")
    back = lc.load(tmp_path / "model.lc")
    assert type(back) is type(model)
    assert back.get_params() == model.get_params()
    rows = on_thresholds(model, X)
    np.testing.assert_array_equal(back.predict(rows), model.predict(rows))
    if hasattr(model, "apply"):
        np.testing.assert_array_equal(back.apply(X), model.apply(X))
    if hasattr(model, "predict_proba"):
        np.testing.assert_array_equal(back.predict_proba(rows), model.predict_proba(rows))
    if hasattr(model, "staged_predict"):
        for mine, theirs in zip(back.staged_predict(X), model.staged_predict(X), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    lc.save(back, tmp_path / "again.lc")
    assert (tmp_path / "again.lc").read_bytes() == (tmp_path / "model.lc").read_bytes()
    assert type(back.fit(X, y)) is type(model)


@pytest.mark.parametrize("model", [*CLASSIFIERS, *REGRESSORS], ids=name_of)
def test_the_flat_model_in_a_file(model, tmp_path):
    X, y = load_digits(return_X_y=True)
    ours = flat(model.fit(X, y + 1))
    lc.save(ours, tmp_path / "model.lc")
    back = lc.load(tmp_path / "model.lc")
    assert type(back) is type(ours)
    np.testing.assert_array_equal(back.predict(X), model.predict(X))
    assert lc.size_of(ours) < (tmp_path / "model.lc").stat().st_size < lc.size_of(ours) + 6000
    assert type(back).__name__ in repr(lc.inspect(tmp_path / "model.lc"))


def test_tables_with_categories_in_a_file(tmp_path):
    table, y = categorical_table()
    model = HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=5).fit(table, y)
    rows = categorical_table(1)[0]
    for one in (model, flat(model)):
        lc.save(one, tmp_path / "model.lc")
        back = lc.load(tmp_path / "model.lc")
        np.testing.assert_array_equal(back.predict_proba(rows), model.predict_proba(rows))
        assert back.feature_names_in_.tolist() == list(table.columns)


def test_several_targets_in_a_file(tmp_path):
    X, y = load_digits(return_X_y=True)
    words = np.array([["a", "zero"], ["b", "one"], ["c", "two"]])  # of two widths
    for targets in (np.stack([y, y % 3], axis=1), words[y % 3]):
        model = RandomForestClassifier(5, random_state=0).fit(X, targets)
        for one in (model, flat(model)):
            lc.save(one, tmp_path / "model.lc")
            np.testing.assert_array_equal(lc.load(tmp_path / "model.lc").predict(X), model.predict(X))


def test_a_forest_in_a_pipeline_in_a_file(tmp_path):
    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=5)).fit(X, y)
    for one in (model, flat(model)):
        lc.save(one, tmp_path / "model.lc")
        np.testing.assert_array_equal(lc.load(tmp_path / "model.lc").predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("loss", ["log_loss", "exponential"])
@pytest.mark.parametrize("init", [None, "zero"])
def test_what_boosting_starts_from_is_restored(loss, init, tmp_path):
    X, y = load_breast_cancer(return_X_y=True)
    model = GradientBoostingClassifier(loss=loss, init=init, n_estimators=4, max_leaf_nodes=4, learning_rate=0.7)
    lc.save(model.fit(X, y), tmp_path / "model.lc")
    back = lc.load(tmp_path / "model.lc")
    np.testing.assert_array_equal(back.decision_function(X), model.decision_function(X))
    more = [one.set_params(warm_start=True, n_estimators=6, random_state=0).fit(X, y) for one in (model, back)]
    np.testing.assert_allclose(more[1].predict_proba(X), more[0].predict_proba(X))


def test_a_loaded_hist_gradient_boosting_does_not_go_on_from_bins_that_are_not_stored(tmp_path):
    X, y = load_breast_cancer(return_X_y=True)
    lc.save(HistGradientBoostingClassifier(max_iter=3).fit(X, y), tmp_path / "model.lc")
    back = lc.load(tmp_path / "model.lc").set_params(warm_start=True, max_iter=5)
    with pytest.raises(AttributeError):
        back.fit(X, y)
    assert back.set_params(warm_start=False).fit(X, y).n_iter_ == 5


def test_a_file_fills_an_estimator_that_has_what_is_not_stored(tmp_path):
    X, y = load_iris(return_X_y=True)
    model = RandomForestClassifier(3, random_state=np.random.RandomState(0)).fit(X, y)
    lc.save(model, tmp_path / "model.lc")
    with pytest.raises(lc.UnsupportedModel, match="random_state"):
        lc.load(tmp_path / "model.lc")
    own = RandomForestClassifier(random_state=np.random.RandomState(1))
    assert lc.load(tmp_path / "model.lc", into=own) is own
    np.testing.assert_array_equal(own.predict_proba(X), model.predict_proba(X))


def test_tables_whose_columns_have_numbers_for_names(tmp_path):
    table, y = categorical_table()
    table.columns = range(4)
    model = HistGradientBoostingClassifier(max_iter=10, min_samples_leaf=5).fit(table, y)
    lc.save(model, tmp_path / "model.lc")
    for one in (flat(model), lc.load(tmp_path / "model.lc")):
        np.testing.assert_array_equal(one.predict_proba(table), model.predict_proba(table))


def test_nullable_columns():
    table, y = categorical_table()
    table = table.drop(columns=["town", "plan"]).convert_dtypes()
    assert table["age"].isna().any()
    for model in (HistGradientBoostingClassifier(max_iter=5), RandomForestClassifier(5, random_state=0)):
        model.fit(table, y)
        np.testing.assert_array_equal(flat(model).predict_proba(table), model.predict_proba(table))


def test_statistics_of_the_training_are_not_invented(tmp_path):
    X, y = load_iris(return_X_y=True)
    lc.save(RandomForestClassifier(3).fit(X, y), tmp_path / "model.lc")
    back = lc.load(tmp_path / "model.lc")
    assert np.isnan(back.feature_importances_).all()
    assert not hasattr(back, "_n_samples")


def test_a_drop_is_certified_for_one_target():
    X, y = load_digits(return_X_y=True)
    model = RandomForestClassifier(3).fit(X, np.stack([y, y % 3], axis=1))
    with pytest.raises(lc.UnsupportedModel, match="one target"):
        lc.compress(model, X, np.stack([y, y % 3], axis=1))


@pytest.mark.parametrize("steps", [(), (StandardScaler(),)], ids=["alone", "pipeline"])
def test_compress_boosting_for_regression(steps):
    X, y = load_diabetes(return_X_y=True)
    model = make_pipeline(*steps, HistGradientBoostingRegressor(max_iter=60, learning_rate=0.3)).fit(X[:200], y[:200])
    model = model if steps else model[-1]
    result = lc.compress(model, X[200:], y[200:], max_drop=0.65, random_state=0, progress=False)
    assert result.certificate.holds
    assert result.size_after < result.size_before
